"""RoboTAP's clustering of tracks into rigid bodies on made scenes: adjusted Rand index and time.

    python benchmarks/rigid_clusters.py [--objects 2 3 4] [--seeds 5] [--steps 200]

Scenes are those of the tests (tests/apps/servo/bodies.py): planar things that shift, turn and come nearer, each by
itself, over a background, in three demonstrations of 30 frames; 0.2 % of the picture's width of noise, 15 % of the
positions hidden. As the specification asks, tracks seen on at most a tenth of the frames are left out, and there are as
many clusters as bodies in the end. The bar is an index above 0.95. Printed, and stored in
benchmarks/results/rigid_clusters.json scene by scene; a second call goes on where the first one ended.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "apps" / "servo"))
from bodies import adjusted_rand, moving_bodies  # noqa: E402

from tapkit.apps.servo import RigidOptions, cluster_rigid  # noqa: E402
from tapkit.apps.servo.learning import SEEN  # noqa: E402

RESULTS = HERE / "results" / "rigid_clusters.json"
BETWEEN = 5
"""Clusters in between, more than in the end: as `tapkit servo learn` has them."""


def measure(objects: int, seed: int, steps: int) -> dict[str, float]:
    """Index and CPU time of one scene."""
    xy, visible, body = moving_bodies(objects, seed)
    often = visible.mean(1) > SEEN
    options = RigidOptions(objects + 1, objects + 1 + BETWEEN, steps, seed=seed)
    began = time.process_time()
    found = cluster_rigid(xy[often], visible[often], [30, 30, 30], options)
    return {"index": adjusted_rand(body[often], found), "cpu_s": time.process_time() - began}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row for each scene, and the least index."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--objects", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=RigidOptions().steps)
    parser.add_argument("--output", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    stored = json.loads(chosen.output.read_text()) if chosen.output.is_file() else {}
    print("| things | seed | steps | index | CPU s |\n|---|---|---|---|---|")
    least = 1.0
    for objects in chosen.objects:
        for seed in range(chosen.seeds):
            label = f"{objects} things, seed {seed}, {chosen.steps} steps"
            if label not in stored:
                stored[label] = measure(objects, seed, chosen.steps)
                chosen.output.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")
            row = stored[label]
            least = min(least, row["index"])
            print(f"| {objects} | {seed} | {chosen.steps} | {row['index']:.3f} | {row['cpu_s']:.0f} |", flush=True)
    print(f"least index: {least:.3f} (bar: above 0.95)")


if __name__ == "__main__":
    main()

"""What a generated frame costs: seconds of computing and memory, by size and samples.

    python benchmarks/generate_cost.py [--scenes outdoor,indoor] [--assets FOLDER] [--sizes 256x256,512x288,960x540]
                                       [--samples 4,16,64] [--threads 2] [--seed 0] [--out FILE]

Films two frames of one scene of each kind for each size and number of samples, denoised, picture and data passes
together, and takes the second; the first also loads what is kept for the others. Where a frame has more than 2.5
million rays (samples times pixels), only the first is filmed, so that these include one or two seconds of loading.
Times are the computing time of all threads of Blender's process, which other programs disturb little; on N idle cores
a frame takes about an N-th of it. "build" is the time until the first frame begins: scene, physics, armatures. "finish"
is what tapkit does afterwards: points, tracks, flow, checks, files. Memory is the most that Blender's process held.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

from tapkit import storage
from tapkit.generate import program
from tapkit.generate.batch import plan
from tapkit.generate.settings import GenerateSettings, parse_kinds
from tapkit.generate.video import make_video
from tapkit.parsing import parse_size

RESULTS = Path(__file__).parent / "results" / "generate_cost.json"
MANY = 2_500_000
"""Rays of a frame above which one frame is filmed, not two."""


def measure(kind: str, seed: int, settings: GenerateSettings, blender: Path) -> dict[str, Any]:
    """The last frame of a scene."""
    events: list[dict[str, Any]] = []
    marks: list[float] = []

    def report(event: dict[str, Any]) -> None:
        events.append(event)
        marks.append(time.process_time())

    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        job = plan([kind], 1, seed, Path(folder), settings)[0]
        result = make_video(job, blender, report)
        wall = time.monotonic() - began
    frames = [event for event in events if event["what"] == "frame"]
    return {
        "scene": f"{kind} {seed}",
        "frames": len(frames),
        "size": f"{settings.size[0]}x{settings.size[1]}",
        "samples": settings.samples,
        "cpu_seconds_per_frame": round(frames[-1]["cpu"], 2),
        "build_cpu_seconds": round(next(e["cpu"] for e in events if e["what"] == "blender"), 2),
        "finish_cpu_seconds_per_frame": round((time.process_time() - marks[-1]) / len(frames), 2),
        "memory_mib": round(max(event["memory"] for event in frames) / 2**20),
        "wall_seconds": round(wall, 1),
        "checks_passed": result.passed,
    }


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", default="outdoor,indoor")
    parser.add_argument("--assets", type=Path)
    parser.add_argument("--sizes", default="256x256,512x288,960x540")
    parser.add_argument("--samples", default="4,16,64")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    blender, rows = program.find_blender(), []
    print("| scene | size | samples | CPU s per frame | build CPU s | finish CPU s per frame | memory MiB |")
    print("|---|---|---|---|---|---|---|")
    for kind in parse_kinds(chosen.scenes):
        for size in chosen.sizes.split(","):
            for samples in map(int, chosen.samples.split(",")):
                height, width = parse_size(size, "--sizes")
                settings = GenerateSettings(
                    frames=1 if width * height * samples > MANY else 2,
                    size=(width, height),
                    assets=chosen.assets,
                    samples=samples,
                    threads=chosen.threads,
                    device="cpu",
                )
                row = measure(kind, chosen.seed, settings, blender)
                rows.append(row)
                print(
                    f"| {row['scene']} | {row['size']} | {samples} | {row['cpu_seconds_per_frame']} | "
                    f"{row['build_cpu_seconds']} | {row['finish_cpu_seconds_per_frame']} | {row['memory_mib']} |",
                    flush=True,
                )
    facts = {"threads": chosen.threads, "machine": platform.processor() or platform.machine(), "rows": rows}
    storage.write_text(chosen.out, json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""What strand-clip costs beside strand: processor time, and memory of the features it keeps.

    python benchmarks/strand_clip.py [--weights FILE] [--points 100 400] [--pairs 2]

The sample clip "blocks" (640x360), a grid of points on its first frame, decoding included, one thread. strand and
strand-clip take turns in one process, and processor time is what counts, so that a busy machine changes little. Stored
in benchmarks/results/strand_clip.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

import tapkit
from tapkit.types import Queries
from tapkit.video.samples import sample

RESULTS = Path(__file__).parent / "results" / "strand_clip.json"
MODELS = ("strand", "strand-clip")


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="other weights than those of the package")
    parser.add_argument("--points", type=int, nargs="+", default=[100, 400])
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    trackers = {name: tapkit.load(name, arguments.weights, device="cpu") for name in MODELS}
    with tapkit.open_video(sample("blocks")) as source:
        size = source.info.size
    rows = []
    for count in arguments.points:
        queries = Queries.grid(size, round(count**0.5))
        spent: dict[str, list[float]] = {name: [] for name in MODELS}
        for _ in range(arguments.pairs):
            for name, tracker in trackers.items():
                began = time.process_time()
                tracks = tracker.track(sample("blocks"), queries)
                spent[name].append(1e3 * (time.process_time() - began) / tracks.frames)
        row = {name: round(median(times), 1) for name, times in spent.items()}
        row |= {"points": len(queries), "times": round(row["strand-clip"] / row["strand"], 2)}
        rows.append(row)
        print(json.dumps(row), flush=True)
    model: Any = trackers["strand-clip"].model
    kept = model.frame_bytes(size) / 2**20
    result = {"cpu_ms_a_frame": rows, "mib_kept_of_a_frame": round(kept, 2), "date": time.strftime("%Y-%m-%d")}
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()

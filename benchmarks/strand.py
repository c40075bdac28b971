"""Speed of strand on a processor: 256x256, 100 points, decoding included, and the time to a first answer.

    python benchmarks/strand.py [--weights FILE] [--threads 2] [--points 100]

A clip is written to a file first (the sample clip at 256x256, forwards and backwards, 300 frames). Each run is a fresh
process with `--threads` threads that opens the file and steps a session through it, in float32 and, where the
processor multiplies in it, in bfloat16. "Start" is from the first line of that process to its first answer with torch
imported (which alone takes a second or two, whatever is loaded with it). Times are also given in multiples of the fixed
workload (`tapkit.evaluation.calibrate`), timed before and after. Stored in benchmarks/results/strand.json.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from long_clips import in_child, make

RESULTS = Path(__file__).parent / "results" / "strand.json"
FRAMES, SIDE, SKIP = 300, 256, 10

CHILD = """
import time
import_began = time.perf_counter()
import torch
began = time.perf_counter()
import json, sys
from pathlib import Path
clip, precision, threads, points, weights = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
torch.set_num_threads(threads)
import tapkit
from tapkit.types import Queries

tracker = tapkit.load("strand", Path(weights) if weights else None, device="cpu", precision=precision)
with tapkit.open_video(clip) as source:
    session = tracker.start(source.info, Queries.grid(source.info.size, round(points ** 0.5)))
    marks, answers, process = [], 0, time.process_time()
    for frame in source.frames():
        answers += len(session.step(frame.image)[0].ids)
        marks.append(time.perf_counter())
skip = int(sys.argv[6])
spent = marks[-1] - marks[skip]
print(json.dumps({"points": answers // len(marks), "frames": len(marks), "fps": (len(marks) - 1 - skip) / spent,
                  "start_s": marks[0] - began, "second_frame_ms": 1e3 * (marks[1] - marks[0]),
                  "import_torch_s": began - import_began,
                  "cpu_ms_per_frame": 1e3 * (time.process_time() - process) / len(marks)}))
"""


def measure(clip: Path, precision: str, threads: int, points: int, weights: str) -> dict:
    """One run in a fresh process."""
    row, unit = in_child(CHILD, [clip, precision, threads, points, weights, SKIP], {"OMP_NUM_THREADS": str(threads)})
    row["multiples_per_frame"] = 1 / row["fps"] / unit
    return {"precision": precision, "threads": threads, **row, "calibrate_s": unit, "load": os.getloadavg()[0]}


def main() -> None:
    """Measure, print, store."""
    import torch

    from tapkit.nn.precision import has_bfloat16

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="", help="other weights than those of the package")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--points", type=int, default=100)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        clip = Path(name) / "clip.mp4"
        make(clip, FRAMES, SIDE, SIDE, quality="high")
        for precision in ("bfloat16", "float32"):
            if precision == "bfloat16" and not has_bfloat16(torch.device("cpu")):
                print("this processor does not multiply in bfloat16")
                continue
            row = measure(clip, precision, arguments.threads, arguments.points, arguments.weights)
            rows.append(row)
            print(
                f"{precision}: {row['fps']:.1f} frames/s ({row['multiples_per_frame']:.3f} x a frame, "
                f"{row['cpu_ms_per_frame']:.0f} ms of CPU), first answer after {row['start_s']:.2f} s "
                f"(import torch: {row['import_torch_s']:.1f} s before that)",
                flush=True,
            )
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"date": time.strftime("%Y-%m-%d"), "runs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

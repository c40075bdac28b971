"""Speed of strand on a processor, decoding included: of whole files, of a session, and the time to a first answer.

    python benchmarks/strand.py [--weights FILE] [--threads 2] [--points 100]

Clips are written to files first (the sample clip, forwards and backwards, 300 frames). Each run is a fresh process with
`--threads` threads, in float32 and, where the processor multiplies in it, in bfloat16.
- file: `tapkit.load("strand").track(FILE, GRID)` at the sizes and numbers of points of `FILES`; the second of two;
- session: the file of 256x256 is stepped through as it is (`enlarge` 1), `--points` points. "Start" is from the first
  line of that process to its first answer with torch imported (which alone takes a second or two).
Times are also given in multiples of the fixed workload (`tapkit.evaluation.calibrate`), timed before and after. Stored
in benchmarks/results/strand.json.
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
FILES = ((256, 256, 100, 1), (256, 256, 100, 2), (640, 360, 100, 2), (640, 360, 400, 2), (1280, 720, 100, 2))
"""Width, height, points, and the option `enlarge` (2: the default; 1: small frames are taken as they are)."""

ROAD = """
import json, sys, time
from pathlib import Path
import torch
clip, precision, threads, points, weights = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
torch.set_num_threads(threads)
import tapkit
from tapkit.types import Queries

enlarge = float(sys.argv[6])
tracker = tapkit.load("strand", Path(weights) if weights else None, device="cpu", precision=precision, enlarge=enlarge)
with tapkit.open_video(clip) as source:
    queries = Queries.grid(source.info.size, round(points ** 0.5))
for _ in range(2):
    began, process = time.perf_counter(), time.process_time()
    tracks = tracker.track(clip, queries)
    spent, process = time.perf_counter() - began, time.process_time() - process
frames = tracks.xy.shape[1]
print(json.dumps({"points": len(tracks.ids), "frames": frames, "fps": frames / spent,
                  "cpu_ms_per_frame": 1e3 * process / frames}))
"""

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

tracker = tapkit.load("strand", Path(weights) if weights else None, device="cpu", precision=precision, enlarge=1)
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


def measure(code: str, clip: Path, precision: str, threads: int, points: int, weights: str, last: int) -> dict:
    """One run of `code` in a fresh process; `last` is its last argument."""
    load = os.getloadavg()[0]
    row, unit = in_child(code, [clip, precision, threads, points, weights, last], {"OMP_NUM_THREADS": str(threads)})
    row["multiples_per_frame"] = 1 / row["fps"] / unit
    return {"precision": precision, "threads": threads, **row, "calibrate_s": unit, "load": load}


def main() -> None:
    """Measure, print, store."""
    import torch

    from tapkit.evaluation.speed import device_name
    from tapkit.nn.precision import has_bfloat16

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="", help="other weights than those of the package")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--points", type=int, default=100)
    arguments = parser.parse_args()
    precisions = ["bfloat16"] if has_bfloat16(torch.device("cpu")) else []
    files, sessions = [], []
    with tempfile.TemporaryDirectory() as name:
        for width, height, points, enlarge in FILES:
            clip = Path(name) / f"{width}x{height}.mp4"
            if not clip.is_file():
                make(clip, FRAMES, width, height, quality="high")
            for precision in [*precisions, "float32"]:
                row = measure(ROAD, clip, precision, arguments.threads, points, arguments.weights, enlarge)
                files.append({"width": width, "height": height, "enlarge": enlarge, **row})
                print(
                    f"file {width}x{height} (enlarge {enlarge}), {row['points']} points, {precision}: "
                    f"{row['fps']:.1f} frames/s "
                    f"({row['multiples_per_frame']:.3f} x a frame, {row['cpu_ms_per_frame']:.0f} ms of CPU)",
                    flush=True,
                )
        for precision in [*precisions, "float32"]:
            clip = Path(name) / f"{SIDE}x{SIDE}.mp4"
            row = measure(CHILD, clip, precision, arguments.threads, arguments.points, arguments.weights, SKIP)
            sessions.append(row)
            print(
                f"session, {precision}: {row['fps']:.1f} frames/s ({row['multiples_per_frame']:.3f} x a frame, "
                f"{row['cpu_ms_per_frame']:.0f} ms of CPU), first answer after {row['start_s']:.2f} s "
                f"(import torch: {row['import_torch_s']:.1f} s before that)",
                flush=True,
            )
    content = {
        "date": time.strftime("%Y-%m-%d"),
        "processor": device_name(torch.device("cpu")),
        "files": files,
        "runs": sessions,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()

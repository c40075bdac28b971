"""Speed and memory of `tapkit track` on a 1080p clip and on a clip of 10,000 frames (made by repeating a real one).

    python benchmarks/long_clips.py [--model lucas-kanade] [--points 256] [--frames 10000]

Each run is a fresh process, as a user would start it, tracks to a file, and notes its resident memory while it works;
times are also given in multiples of the fixed workload (`tapkit.evaluation.calibrate`), timed before and after.
Stored in benchmarks/results/long_clips.json. Linux only (resident memory comes from /proc).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "long_clips.json"

CHILD = """
import json, sys, time
from tapkit.api import load, open_video
from tapkit.types import Queries

clip, out, model, points, skip = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])

def resident():
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmRSS")) / 1024

marks = {}
def progress(now):
    if now.done in (skip, now.total) or now.done % 1000 == 0:
        marks[now.done] = resident()

tracker = load(model)
with open_video(clip) as source:
    side = round(points ** 0.5)
    queries = Queries.grid(source.info.size, side)
    started, cpu = time.perf_counter(), time.process_time()
    tracker.track_to(out, source, queries, progress=progress)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    frames, size = source.info.frames, (source.info.width, source.info.height)
peak = next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmHWM")) / 1024
print(json.dumps({"frames": frames, "size": size, "points": len(queries), "seconds": seconds, "cpu_seconds": cpu,
                  "resident_mib": marks, "peak_mib": peak}))
"""


def make(path: Path, frames: int, width: int, height: int, quality: str = "small") -> None:
    """A clip of `frames` frames: the sample clip forwards and backwards, again and again, at that size."""
    from fractions import Fraction

    from tapkit.api import open_video
    from tapkit.types import VideoInfo
    from tapkit.video.samples import sample
    from tapkit.video.writer import VideoWriter

    with open_video(sample()) as source:
        pictures = [frame.image for frame in source.frames(size=(height, width))]
    loop = pictures + pictures[-2:0:-1]
    with VideoWriter(path, VideoInfo(width, height, Fraction(30), frames=frames), quality=quality) as writer:
        for t in range(frames):
            writer.write(loop[t % len(loop)], t / 30)


def in_child(code: str, arguments: list, environment: dict | None = None) -> tuple[dict, float]:
    """What a fresh process prints last, as JSON, and the seconds of the fixed workload before and after it."""
    from tapkit.evaluation.calibrate import calibrate

    before = calibrate()
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(environment or {})})
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1]), (before + calibrate()) / 2


def measure(clip: Path, folder: Path, model: str, points: int, skip: int) -> dict:
    """One run of `tapkit track`, in a fresh process with as many threads as there are cores."""
    row, unit = in_child(CHILD, [clip, folder / "out.npz", model, points, skip])
    known = {int(k): v for k, v in row["resident_mib"].items()}
    row["growth_after_skip_mib"] = max(known.values()) - known[min(skip, max(known))]
    row["frames_per_second"] = row["frames"] / row["seconds"]
    row["multiples_per_frame"] = row["seconds"] / row["frames"] / unit
    return {"model": model, **row, "load": os.getloadavg()[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lucas-kanade")
    parser.add_argument("--points", type=int, default=256)
    parser.add_argument("--frames", type=int, default=10000)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for frames, width, height, skip in ((300, 1920, 1080, 50), (arguments.frames, 640, 360, 500)):
            clip = folder / f"{height}.mp4"
            make(clip, frames, width, height)
            row = measure(clip, folder, arguments.model, arguments.points, skip)
            rows.append(row)
            print(
                f"{row['size'][0]}x{row['size'][1]}, {row['frames']} frames, {row['points']} points: "
                f"{row['frames_per_second']:.1f} frames/s ({row['multiples_per_frame']:.3f} x a frame, "
                f"{row['cpu_seconds']:.0f} CPU s), peak {row['peak_mib']:.0f} MiB, "
                f"growth after frame {skip}: {row['growth_after_skip_mib']:.1f} MiB",
                flush=True,
            )
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"date": time.strftime("%Y-%m-%d"), "runs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

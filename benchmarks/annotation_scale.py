"""How quick a project of many points on a long clip is: what the page of the studio asks for, on this machine.

    python benchmarks/annotation_scale.py [--points 500] [--frames 10000] [--database postgresql://...]

A clip is made, predictions of all points on all frames are stored as a tracker gives them (in parts of 64 frames),
every point gets five keyframes and one hidden span. Timed are: the points, a summary for a timeline of 600 bins,
positions of all points on 120 frames and of one point on all, the places to look at (for the first time, and after one
edit), one edit, one undo, and one part of a run. Medians of five, in milliseconds of the clock and of the processor
(they differ where others use the machine too); stored in benchmarks/results/annotation_scale.json, with the fixed
workload (`tapkit.evaluation.calibrate`) in the same run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tapkit.annotate import Project
from tapkit.evaluation.calibrate import calibrate
from tapkit.types import VideoInfo
from tapkit.video.writer import VideoWriter

RESULTS = Path(__file__).parent / "results" / "annotation_scale.json"
PART = 64


def filled(project: Project, folder: Path, points: int, frames: int) -> int:
    """A clip with predictions, keyframes and spans."""
    path = folder / "long.mp4"
    with VideoWriter(path, VideoInfo(64, 64)) as writer:
        for t in range(frames):
            writer.write(np.full((64, 64, 3), t % 200, np.uint8))
    clip = project.add_clip(path).id
    random = np.random.default_rng(0)
    add = {"op": "add_point", "t": 0, "x": 30.0, "y": 30.0}
    ids = [each.id for each in project.edit(clip, [add] * points).points]
    run = None
    at = np.full((points, 2), 32.0)
    for start in range(0, frames, PART):
        stop = min(start + PART, frames)
        walk = at[:, None] + random.normal(0, 0.2, (points, stop - start, 2)).cumsum(1)
        at = walk[:, -1].clip(10, 50)
        visible, confidence = random.uniform(0.6, 1, (2, points, stop - start))
        run = project.store_span(clip, ids, start, stop, walk, visible, confidence, "strand", run=run).run
    edits = []
    for point in ids:
        for t in random.choice(np.arange(1, frames), 5, replace=False).tolist():
            edits.append({"op": "set_keyframe", "point": point, "t": t, "x": 30.0, "y": 31.0})
        first = int(random.integers(0, frames - 200))
        span = {"start": first, "stop": first + 150, "state": "occluded"}
        edits.append({"op": "set_visibility", "point": point, **span})
    for start in range(0, len(edits), 300):
        project.edit(clip, edits[start : start + 300])
    return clip


def timed(what: Callable[[], object], times: int = 5) -> list[float]:
    """Milliseconds of the clock and of the processor, the medians."""
    found = []
    for _ in range(times):
        began = time.perf_counter(), time.process_time()
        what()
        found.append((time.perf_counter() - began[0], time.process_time() - began[1]))
    return (1000 * np.median(found, 0)).round(1).tolist()


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=500)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--database", default="")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = asked.database or Path(folder) / "scale.tapproj"
        with Project.create(place) as project:
            began = time.process_time()
            clip = filled(project, Path(folder), asked.points, asked.frames)
            made = time.process_time() - began
            ids = [point.id for point in project.points(clip).points]
            middle = asked.frames // 2
            key = {"op": "set_keyframe", "point": ids[0], "t": middle, "x": 30.0, "y": 30.0}
            part = np.full((asked.points, 16, 2), 30.0)
            some = np.ones((asked.points, 16))
            figures = {
                "points": timed(lambda: project.points(clip)),
                "summary_600": timed(lambda: project.summary(clip, 600)),
                "positions_all_120": timed(lambda: project.positions(clip, None, middle, middle + 120)),
                "positions_one_whole": timed(lambda: project.positions(clip, ids[:1])),
                "doubtful_first": timed(lambda: project.doubtful(clip), 1),
                "edit": timed(lambda: project.edit(clip, [key])),
                "doubtful_after_edit": timed(lambda: project.doubtful(clip), 1),
                "undo": timed(lambda: project.undo(clip)),
                "store_16_frames": timed(lambda: project.store_span(clip, ids, 64, 80, part, some, some, "s")),
            }
        size = 0 if asked.database else sum(p.stat().st_size for p in Path(place).iterdir())
    result = {
        "points": asked.points, "frames": asked.frames, "megabytes": round(size / 1e6, 1),
        "made_seconds": round(made, 1),
        "milliseconds": figures,
        "workload_milliseconds": [
            round(1000 * calibrate(clock=clock), 1) for clock in (time.perf_counter, time.process_time)
        ],
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    if not asked.database and (asked.points, asked.frames) == (500, 10_000):
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

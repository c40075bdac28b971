"""How long an edit takes on full HD frames, beside tracking and decoding.

    python benchmarks/edits.py                     # the table, and benchmarks/results/edits.json
    python benchmarks/edits.py --frames 20         # fewer frames

300 points of a surface that bends and turns, a quarter of the frame's width and height wide, on 1920 x 1080 frames; the
picture follows as a mesh. Measured on one core: the motion of the surface, and for each frame the warp, its mesh, what
stands in front (a bar sweeps across) and the compositing in linear light. Frames are made beforehand and not written.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch

from tapkit._version import __version__
from tapkit.apps.edit import Look, Support, Warp, fit_motion, prepare, sampling
from tapkit.apps.edit.artwork import Still
from tapkit.apps.edit.colour import Curve
from tapkit.apps.edit.composite import Painter
from tapkit.evaluation.calibrate import calibrate
from tapkit.types import Queries, Tracks, VideoInfo
from tapkit.video.base import DeepFrame

SIZE = (1080, 1920)
RESULT = Path(__file__).with_name("results") / "edits.json"


def scene(frames: int, points: int, share: float) -> tuple[Tracks, np.ndarray]:
    """Tracks of a surface `share` of the frame wide and high, and its corners on frame 0."""
    dice = np.random.default_rng(0)
    size = np.array([SIZE[1], SIZE[0]]) * share
    low = (np.array([SIZE[1], SIZE[0]]) - size) / 2
    quad = low + np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * size
    start = low + dice.uniform(0, 1, (points, 2)) * size
    middle = low + size / 2
    path = []
    for t in range(frames):
        angle = 0.1 * np.sin(t / 20)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        bend = np.stack([6 * np.sin(t / 15) * np.sin(start[:, 1] / 60), np.zeros(points)], 1)
        path.append((start - middle + bend) @ turn.T + middle + (3.0 * t, 40 * np.sin(t / 25)))
    xy = np.stack(path, 1)
    xy[:, 1:] += dice.normal(0, 0.3, xy[:, 1:].shape)
    left = np.linspace(low[0] - 200, low[0] + size[0] + 250, frames)
    seen = (xy[..., 0] < left) | (xy[..., 0] > left + 120)
    info = VideoInfo(SIZE[1], SIZE[0], frames=frames)
    one = np.ones((points, frames))
    seen[:, 0] = True
    return Tracks(xy, seen.astype(float), one, one > 0, Queries.at(0, xy[:, 0]), info), quad


def measure(frames: int, points: int, share: float, occlusion: str) -> dict[str, float]:
    """Milliseconds a frame, by CPU time of one thread."""
    tracks, quad = scene(frames, points, share)
    dice = np.random.default_rng(1)
    image = np.asarray(dice.integers(0, 255, (*SIZE, 3)), np.uint8)
    art = dice.integers(0, 255, (540, 960, 4)).astype(np.uint8)
    begin = time.process_time()
    prepared = prepare(tracks)
    motion = fit_motion(prepared, np.arange(points), quad, 0, "homography")
    fitted = time.process_time()
    warp = Warp(motion, prepared)
    curve = Curve(None)
    support = Support(prepared, warp, occlusion, None, image)  # type: ignore[arg-type]
    corners = np.array([(0, 0), (960, 0), (960, 540), (0, 540)], float)
    from tapkit.apps.edit.models import through

    place = through(corners, quad)
    assert place is not None
    painter = Painter(Still(art, curve), place, warp, support, Look(), curve)
    spent = 0.0
    for t in range(frames):
        frame = DeepFrame(t, t / 25, image.copy())
        started = time.process_time()
        painter(frame)
        spent += time.process_time() - started
    return {
        "motion_ms": round(1000 * (fitted - begin) / frames, 2),
        "render_ms": round(1000 * spent / frames, 2),
        "ms_a_frame": round(1000 * (fitted - begin + spent) / frames, 2),
    }


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=90)
    parser.add_argument("--points", type=int, default=300)
    parser.add_argument("--no-store", action="store_true", help="print only")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for library in ("OpenCV", "PyTorch"):
        if library == "PyTorch":
            sampling.opencv = lambda: None  # type: ignore[assignment]
        elif sampling.opencv() is None:
            continue
        for share, occlusion in ((0.25, "none"), (0.25, "sharp"), (0.5, "none"), (0.5, "sharp")):
            found = measure(asked.frames, asked.points, share, occlusion)
            rows.append({"sampling": library, "share": share, "occlusion": occlusion, **found})
            print(rows[-1], flush=True)
    result = {
        "command": f"python benchmarks/edits.py --frames {asked.frames} --points {asked.points}",
        "version": __version__, "size": [SIZE[1], SIZE[0]], "cores": os.cpu_count(),
        "calibration_seconds": round(calibrate(), 3), "rows": rows,
    }  # fmt: skip
    if not asked.no_store:
        RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

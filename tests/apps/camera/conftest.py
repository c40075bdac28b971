"""Makes `camera_scenes` importable, and estimates what several tests look at."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
import camera_scenes

from tapkit.apps.camera import Trajectory, estimate_cameras
from tapkit.apps.camera.intrinsics import rays
from tapkit.apps.camera.rigid import apply, inverse
from tapkit.types import Queries, Tracks, VideoInfo


@pytest.fixture(scope="session")
def moving_scene() -> tuple[camera_scenes.Points, Trajectory]:
    """30 % of the points move; what is estimated of it without being told."""
    scene = camera_scenes.points(3, moving=0.3)
    return scene, estimate_cameras(camera_scenes.observed(scene), camera_scenes.CAMERA)


@pytest.fixture(scope="session")
def exact() -> tuple[Trajectory, Tracks]:
    """Eight exact cameras with a lens off the centre, of which the sixth was not placed, and tracks of 20 points."""
    random = np.random.default_rng(0)
    pose = camera_scenes.handheld(random, 8, reach=0.4, turn=0.25)
    lens = np.array([300.0, 300.0, 170.0, 85.0])
    start = random.uniform(20, 160, (20, 2)) + [60, 0]
    points = apply(inverse(pose)[0], rays(start, lens) * random.uniform(1, 3, (20, 1)))
    at = apply(pose[None], points[:, None])
    xy = at[..., :2] / at[..., 2:] * lens[:2] + lens[2:]
    seen = (at[..., 2] > 0.1) & (xy > 0).all(-1) & (xy < (320, 180)).all(-1)
    video = VideoInfo(320, 180, fps=30, frames=8)  # type: ignore[arg-type]
    ones = np.ones((20, 8))
    tracks = Tracks(xy, ones, ones, seen, Queries.at(0, start), video)
    valid = seen.sum(1) >= 3
    cameras = Trajectory(pose, points, valid, np.tile(lens, (8, 1)), seen & valid[:, None], np.arange(8) != 5, video)
    return cameras, tracks

"""A picture that moves as known, and teachers that know it: honest, or wrong in one way each."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tapkit import registry
from tapkit.types import Provenance, Queries, Tracks, VideoInfo
from tapkit.video.writer import VideoWriter

SPEED = np.array([2.0, 1.0], np.float32)
"""Pixels a frame."""
HEIGHT, WIDTH = 120, 160


def panned(frames: int = 16, seed: int = 0) -> np.ndarray:
    """Random blocks [T,H,W,3] that move by SPEED a frame, without a change."""
    rng = np.random.default_rng(seed)
    picture = np.kron(rng.integers(0, 255, (40, 40, 3)), np.ones((6, 6, 1))).astype(np.uint8)
    cuts = [(60 - int(SPEED[0] * t), 60 - int(SPEED[1] * t)) for t in range(frames)]
    return np.stack([picture[y : y + HEIGHT, x : x + WIDTH] for x, y in cuts])


class Teacher:
    """Answers as `Tracker.track`: points move by SPEED, changed by what it gets wrong.

    `wrong(xy [N,T,2], visible [N,T], direction, rows)` returns both as this teacher says them.
    """

    def __init__(self, model: str = "strand", wrong: Callable | None = None) -> None:
        self.card, self.wrong = registry.card(model), wrong

    def track(self, video: np.ndarray, rows: np.ndarray, direction: str) -> Tracks:
        """See `Tracker.track`."""
        queries = Queries.of(rows)
        times = np.arange(len(video))
        xy = queries.xy[:, None] + SPEED * (times - queries.t[:, None])[..., None]
        asked = times >= queries.t[:, None] if direction == "forward" else times <= queries.t[:, None]
        visible = np.ones(asked.shape, np.float32)
        if self.wrong is not None:
            xy, visible = self.wrong(xy, visible, direction, rows)
        info = VideoInfo(video.shape[2], video.shape[1], frames=len(video))
        made = Provenance.of(self.card, "0")
        return Tracks(xy.astype(np.float32), visible, np.ones_like(visible), asked, queries, info, source=made)


@pytest.fixture
def teacher() -> type[Teacher]:
    return Teacher


@pytest.fixture
def pan() -> Callable[..., np.ndarray]:
    return panned


@pytest.fixture
def write() -> Callable[[Path, np.ndarray], Path]:
    def write_video(path: Path, frames: np.ndarray) -> Path:
        info = VideoInfo(width=frames.shape[2], height=frames.shape[1], fps=Fraction(24), frames=len(frames))
        with VideoWriter(path, info, quality="high") as writer:
            for frame in frames:
                writer.write(frame)
        return path

    return write_video

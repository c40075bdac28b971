"""What is said of a frame while results come in is what is said of whole tracks."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tapkit.motion.watch import DELAY, JUMPED, UNSURE, Watch, codes
from tapkit.types import FrameResult, Queries, Tracks, VideoInfo


def random_tracks(seed: int, frames: int, count: int = 12) -> Tracks:
    """Walks with jumps, gaps, hidden stretches, and confidence that comes and goes."""
    dice = np.random.default_rng(seed)
    moved = dice.normal(0, 1, (count, frames, 2)) + (dice.random((count, frames, 1)) < 0.05) * dice.normal(0, 60, 2)
    xy = (100 + np.cumsum(moved, 1)).astype(np.float32)
    unsure = np.repeat(dice.random((count, frames // 3 + 1)), 3, 1)[:, :frames] < 0.4
    confidence = np.where(unsure & (dice.random((count, frames)) < 0.8), 0.2, 0.9)
    visible = np.where(dice.random((count, frames)) < 0.1, 0.1, 0.9)
    valid = dice.random((count, frames)) < 0.95
    info = VideoInfo(320, 240, Fraction(25), frames=frames, pixel_aspect=Fraction(4, 3))
    return Tracks(xy, visible, confidence, valid, Queries.at(0, xy[:, 0].clip(0, 200)), info)


@pytest.mark.parametrize("frames", [1, 3, DELAY, DELAY + 1, 90])
def test_frame_by_frame_as_in_whole_tracks(frames: int) -> None:
    seen = set()
    for seed in range(6):
        tracks = random_tracks(seed, frames)
        watch = Watch(len(tracks), tracks.video, tracks.source)
        said = []
        for t in range(frames):
            rows = np.flatnonzero(tracks.valid[:, t])
            parts = (part[rows, t] for part in (tracks.xy, tracks.visible, tracks.confidence))
            said += watch.take(FrameResult(t, rows, *parts))
            assert len(said) == max(t + 1 - DELAY, 0)
        said += watch.finish()
        whole = codes(tracks)
        assert [result.frame for result, _ in said] == list(range(frames))
        for result, marks in said:
            np.testing.assert_array_equal(marks, whole[result.rows, result.frame])
            seen |= set(marks.tolist())
    assert frames < 90 or seen == {0, UNSURE, JUMPED}

"""Points for a camera: where they are chosen, and long videos in parts."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from PIL import Image

from tapkit import api
from tapkit.apps.camera import follow, track_camera
from tapkit.engine.control import Control, Progress
from tapkit.errors import UsageError


@pytest.fixture(scope="module")
def panned() -> np.ndarray:
    """22 frames of 48 x 64 pixels over a textured plane that moves by (1, 0.5) pixels a frame."""
    random = np.random.default_rng(0)
    small = Image.fromarray(random.integers(0, 255, (30, 40, 3), dtype=np.uint8))
    wide = np.asarray(small.resize((320, 240), Image.Resampling.BICUBIC))
    return (
        np.stack([wide[t : t + 96, 2 * t : 2 * t + 128] for t in range(22)])
        .reshape(22, 48, 2, 64, 2, 3)
        .mean((2, 4))
        .astype(np.uint8)
    )


def test_corners_are_spread_over_what_has_texture() -> None:
    image = np.full((120, 160, 3), 90, np.uint8)
    random = np.random.default_rng(0)
    image[:, :80] = np.asarray(Image.fromarray(random.integers(0, 255, (30, 20, 3), dtype=np.uint8)).resize((80, 120)))
    found = follow.spread_corners(image, 48)
    assert 20 <= len(found) <= 28 and found[:, 0].max() < 82
    cells = {(int(x // 20), int(y // 20)) for x, y in found}
    assert len(cells) >= len(found) - 4, "one in each cell"
    assert len(follow.spread_corners(np.zeros((120, 160, 3), np.uint8), 48)) == 0


def test_spans_are_as_they_say() -> None:
    assert doctest.testmod(follow).failed == 0
    for frames in (121, 160, 161, 200, 999):
        spans = follow._spans(frames)
        asked = [t for _, _, first, last in spans for t in range(first, last)]
        assert asked == list(range(frames))
        assert all(start <= first and last <= stop for start, stop, first, last in spans)


def test_long_videos_are_tracked_in_parts_that_are_one_to_the_caller(
    panned: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "CLIP", 8)
    said: list[Progress] = []
    with api.open_video(panned) as source:
        tracks = follow.follow_scene(source, api.load("lucas-kanade"), 12, 4, Control(said.append))
    assert tracks.frames == 22 and sorted(set(tracks.queries.t.tolist())) == [0, 4, 8, 12, 16, 20]
    spans = follow._spans(22)
    for row, t in enumerate(tracks.queries.t.tolist()):
        start, stop = next((a, b) for a, b, first, last in spans if first <= t < last)
        assert np.flatnonzero(tracks.valid[row]).tolist() == list(range(start, stop))
        assert np.abs(tracks.xy[row, t] - tracks.queries.xy[row]).max() < 1e-4
    moved = tracks.xy - tracks.queries.xy[:, None] + (np.arange(22) - tracks.queries.t[:, None])[..., None] * [1, 0.5]
    assert np.median(np.abs(moved[tracks.visible_at()])) < 0.2
    done = [each.done for each in said]
    assert done == sorted(done) and done[-1] == said[-1].total


def test_a_run_can_be_cancelled(panned: np.ndarray) -> None:
    from tapkit.engine.control import Cancelled

    control = Control()
    control.cancel()
    with pytest.raises(Cancelled):
        track_camera(panned, tracker="lucas-kanade", control=control)


def test_what_has_no_camera_to_find_is_a_sentence(panned: np.ndarray) -> None:
    with pytest.raises(UsageError, match="has one"):
        track_camera(panned[:1], tracker="lucas-kanade")
    with pytest.raises(UsageError, match="must be recorded"):
        track_camera(iter(panned), tracker="lucas-kanade")
    with pytest.raises(UsageError, match="flat"):
        track_camera(np.full_like(panned, 80), tracker="lucas-kanade")

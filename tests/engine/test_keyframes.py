"""Tracks of whole clips pass through every position that a human set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pixel_mover import PixelMover, clip

from tapkit.engine.tracker import Tracker
from tapkit.errors import QueryError
from tapkit.sinks import Callback
from tapkit.types import Keyframes, Queries, Tracks

MOVES = [(0, 0), (1, 0), (0, 1), (1, -1), (-1, 1), (1, 1)] * 3
FRAMES = clip(MOVES)
ASKED = Queries.of([(2, 10, 10), (5, 20, 12)], ["nose", "tail"])
KEYS = Keyframes.of([("nose", 9, 30.0, 20.0), ("nose", 14, 12.0, 13.0), ("tail", 5, 22.5, 12.25)])


def alone(t: int, xy: tuple[float, float]) -> np.ndarray:
    """The track of one point that is asked for there."""
    return Tracker(PixelMover()).track(FRAMES, [(t, *xy)]).xy[0]


def sureness(t: int, xy: tuple[float, float]) -> np.ndarray:
    """How sure it is on each frame."""
    tracks = Tracker(PixelMover()).track(FRAMES, [(t, *xy)])
    return tracks.visible[0] * tracks.confidence[0]


def test_a_track_passes_through_all_its_keyframes_and_is_cross_faded_between_them() -> None:
    tracks = Tracker(PixelMover()).track(FRAMES, ASKED, keyframes=KEYS)
    nose, tail = tracks.xy
    for t, xy in ((2, (10, 10)), (9, (30, 20)), (14, (12, 13))):
        assert nose[t].tolist() == list(xy)
    assert tail[5].tolist() == [22.5, 12.25] and tracks.queries.xy[1].tolist() == [22.5, 12.25]
    first, second, third = alone(2, (10, 10)), alone(9, (30, 20)), alone(14, (12, 13))
    np.testing.assert_array_equal(nose[:3], first[:3])
    np.testing.assert_array_equal(nose[14:], third[14:])
    one, two, three = sureness(2, (10, 10)), sureness(9, (30, 20)), sureness(14, (12, 13))
    assert len(np.unique(np.concatenate([one, two, three]))) > 1  # the surer side counts more
    for begin, end, left, right, a, b in ((2, 9, first, second, one, two), (9, 14, second, third, two, three)):
        for t in range(begin, end):
            weights = ((end - t) * (a[t] + 1e-3)) ** 2, ((t - begin) * (b[t] + 1e-3)) ** 2
            expected = (weights[0] * left[t] + weights[1] * right[t]) / sum(weights)
            np.testing.assert_allclose(nose[t], expected, rtol=1e-5)
    np.testing.assert_array_equal(tail, alone(5, (22.5, 12.25)))
    assert np.argwhere(tracks.keyframe).tolist() == [[0, 9], [0, 14], [1, 5]]
    assert tracks.visible[0, [2, 9, 14]].tolist() == [1, 1, 1]
    assert tracks.source.options["keyframes"] == 3


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_in_one_direction_each_stretch_belongs_to_one_keyframe(direction) -> None:
    tracks = Tracker(PixelMover()).track(FRAMES, ASKED, direction, keyframes=KEYS)
    nose, valid = tracks.xy[0], tracks.valid[0]
    if direction == "forward":
        assert valid.tolist() == [t >= 2 for t in range(len(FRAMES))]
        np.testing.assert_array_equal(nose[2:9], alone(2, (10, 10))[2:9])
        np.testing.assert_array_equal(nose[9:14], alone(9, (30, 20))[9:14])
    else:
        assert valid.tolist() == [t <= 14 for t in range(len(FRAMES))]
        np.testing.assert_array_equal(nose[3:10], alone(9, (30, 20))[3:10])


def test_on_disk_by_frame_and_through_a_file_it_is_the_same(tmp_path: Path) -> None:
    expected, seen = Tracker(PixelMover()).track(FRAMES, ASKED, keyframes=KEYS), []
    path = Tracker(PixelMover()).track_to(
        tmp_path / "out.npz", FRAMES, ASKED, keyframes=KEYS, memory=1000, sinks=[Callback(seen.append)]
    )
    stored = Tracks.load(path)
    for name in ("xy", "visible", "confidence", "valid", "keyframe"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(expected, name))
    for result in seen:
        np.testing.assert_array_equal(result.xy, expected.xy[:, result.frame])
        marks = np.zeros(2, bool) if result.keyframe is None else result.keyframe
        np.testing.assert_array_equal(marks, expected.keyframe[:, result.frame])
    again = Tracker(PixelMover()).track(FRAMES, stored)  # tracks in: their points, through their keyframes
    np.testing.assert_array_equal(again.xy, expected.xy)
    np.testing.assert_array_equal(again.keyframe, expected.keyframe)


def test_keyframes_that_cannot_be_are_refused_in_one_sentence() -> None:
    tracker = Tracker(PixelMover())
    with pytest.raises(QueryError, match="'ear'"):
        tracker.track(FRAMES, ASKED, keyframes=Keyframes.of([("ear", 3, 1, 1)]))
    with pytest.raises(QueryError, match=r"nose \(keyframe 0\) is at \(99, 1\)"):
        tracker.track(FRAMES, ASKED, keyframes=Keyframes.of([("nose", 3, 99, 1)]))
    with pytest.raises(QueryError, match="2 keyframes on frame 3"):
        Keyframes.of([("nose", 3, 1, 1), ("nose", 3, 2, 2)])

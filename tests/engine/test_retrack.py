"""Corrected tracks: what is next to a changed keyframe is computed again, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pixel_mover import PixelMover, clip

from tapkit.engine.control import Progress
from tapkit.engine.retrack import plan_retrack, retrack, with_keyframes
from tapkit.engine.tracker import Tracker
from tapkit.errors import QueryError, UsageError
from tapkit.types import Keyframes, Queries, Tracks

MOVES = [(0, 0), (1, 0), (0, 1), (1, -1), (-1, 1), (1, 1)] * 5
FRAMES = clip(MOVES)
LAST = len(MOVES) - 1
ASKED = Queries.of([(2, 10, 10), (5, 20, 12), (0, 3, 4)], ["nose", "tail", "ear"])
KEYS = Keyframes.of([("nose", 9, 30.0, 20.0), ("nose", 20, 12.0, 13.0), ("tail", 15, 22.5, 12.25)])
NEW = Keyframes.of([("nose", 14, 25.0, 17.0)])
PARTS = ("xy", "visible", "confidence", "valid")


def first() -> Tracks:
    return Tracker(PixelMover()).track(FRAMES, ASKED, keyframes=KEYS)


def corrected(tracks: Tracks, keys: Keyframes) -> tuple[Tracks, int]:
    """And how many frames the model was handed."""
    model = PixelMover()
    return retrack(Tracker(model), FRAMES, with_keyframes(tracks, keys)), model.seen


def same(one: Tracks, other: Tracks, rows: object, frames: object) -> None:
    for name in PARTS:
        np.testing.assert_array_equal(getattr(one, name)[rows, frames], getattr(other, name)[rows, frames])


def test_only_the_spans_on_both_sides_of_a_new_keyframe_are_computed_again() -> None:
    tracks = first()
    better, seen = corrected(tracks, NEW)
    # 9..14 and 14..20, each in both directions, and one point in each.
    assert seen == 2 * (14 - 9 + 1) + 2 * (20 - 14 + 1)
    same(better, tracks, [1, 2], slice(None))
    same(better, tracks, 0, [*range(10), *range(20, LAST + 1)])
    assert (better.xy[0, 10:20] != tracks.xy[0, 10:20]).any(1).all()
    for t, xy in ((2, (10, 10)), (9, (30, 20)), (14, (25, 17)), (20, (12, 13))):
        assert better.xy[0, t].tolist() == list(xy)
    assert better.keyframe is not None and np.flatnonzero(better.keyframe[0]).tolist() == [9, 14, 20]


def test_the_result_is_that_of_tracking_all_again() -> None:
    better, _ = corrected(first(), NEW)
    keys = better.keyframes()
    whole = Tracker(PixelMover()).track(FRAMES, ASKED, keyframes=keys)
    np.testing.assert_allclose(better.xy, whole.xy, rtol=1e-6)
    np.testing.assert_allclose(better.visible, whole.visible, rtol=1e-6)
    assert better.source.to_dict() == whole.source.to_dict()


def test_nothing_changed_nothing_computed() -> None:
    tracks = first()
    again, seen = corrected(tracks, Keyframes.of([]))
    assert seen == 0 and plan_retrack(tracks).stretches == ()
    same(again, tracks, slice(None), slice(None))
    _, seen = corrected(corrected(tracks, NEW)[0], Keyframes.of([]))
    assert seen == 0


def test_a_file_keeps_what_the_tracks_pass_through(tmp_path: Path) -> None:
    for name in ("a.npz", "a.csv"):
        assert plan_retrack(Tracks.load(first().save(tmp_path / name))).stretches == ()


def test_a_keyframe_on_the_query_moves_it_and_both_its_sides() -> None:
    tracks = first()
    better, seen = corrected(tracks, Keyframes.of([("ear", 0, 5.0, 6.0)]))
    assert seen == 1 + LAST or seen == 2 + LAST  # forwards; backwards there is nothing but the frame itself
    assert better.xy[2, 0].tolist() == [5, 6] and better.queries.xy[2].tolist() == [5, 6]
    np.testing.assert_allclose(better.xy[2] - better.xy[2, 0], tracks.xy[2] - tracks.xy[2, 0])
    same(better, tracks, [0, 1], slice(None))


def test_before_the_first_and_after_the_last_anchor() -> None:
    tracks = first()
    better, _ = corrected(tracks, Keyframes.of([("tail", 25, 9.0, 8.0), ("ear", 12, 7.0, 7.0)]))
    same(better, tracks, 1, slice(0, 16))
    assert better.xy[1, 25].tolist() == [9, 8] and (better.xy[1, 16:] != tracks.xy[1, 16:]).any(1).all()
    earlier, _ = corrected(tracks, Keyframes.of([("nose", 1, 11.0, 11.0)]))
    same(earlier, tracks, 0, slice(2, None))
    assert earlier.xy[0, 1].tolist() == [11, 11] and earlier.xy[0, 0].tolist() != tracks.xy[0, 0].tolist()


def test_a_keyframe_that_is_gone_joins_its_spans() -> None:
    tracks = first()
    assert tracks.keyframe is not None
    marks = tracks.keyframe.copy()
    marks[0, 9] = False
    model = PixelMover()
    better = retrack(Tracker(model), FRAMES, tracks.with_(keyframe=marks))
    same(better, tracks, 0, [*range(3), *range(20, LAST + 1)])
    whole = Tracker(PixelMover()).track(FRAMES, ASKED, keyframes=better.keyframes())
    np.testing.assert_allclose(better.xy, whole.xy, rtol=1e-6)
    assert model.seen == 2 * (20 - 2 + 1)


def test_one_direction_stays_one_direction() -> None:
    tracks = Tracker(PixelMover()).track(FRAMES, ASKED, "forward", keyframes=KEYS)
    better, _ = corrected(tracks, NEW)
    whole = Tracker(PixelMover()).track(FRAMES, ASKED, "forward", keyframes=better.keyframes())
    np.testing.assert_array_equal(better.valid, whole.valid)
    np.testing.assert_allclose(better.xy, whole.xy, rtol=1e-6)


def test_progress_ends_at_all_of_it() -> None:
    told: list[Progress] = []
    retrack(Tracker(PixelMover()), FRAMES, with_keyframes(first(), NEW), progress=told.append)
    assert [now.done for now in told] == sorted(now.done for now in told)
    assert told[-1].done == told[-1].total == 6 + 7


def test_what_cannot_be_is_said() -> None:
    tracks = first()
    with pytest.raises(QueryError, match="no such point"):
        with_keyframes(tracks, Keyframes.of([("chin", 3, 1.0, 1.0)]))
    with pytest.raises(QueryError, match="outside"):
        with_keyframes(tracks, Keyframes.of([("nose", 99, 1.0, 1.0)]))
    with pytest.raises(UsageError, match="48x32"):
        retrack(Tracker(PixelMover()), clip(MOVES, 32, 40), with_keyframes(tracks, NEW))
    with pytest.raises(UsageError, match="the same clip"):
        retrack(Tracker(PixelMover()), FRAMES[:20], with_keyframes(tracks, NEW))


def test_a_tracker_with_another_rule_of_visibility_does_not_change_what_is_kept() -> None:
    from dataclasses import replace

    tracks = first()
    old = tracks.with_(source=replace(tracks.source, model="other", visible_threshold=0.1))
    with pytest.raises(UsageError, match="different rules"):
        retrack(Tracker(PixelMover()), FRAMES, with_keyframes(old, NEW))
    old = tracks.with_(source=replace(tracks.source, model="other"))
    better = retrack(Tracker(PixelMover()), FRAMES, with_keyframes(old, NEW))
    assert better.source.options["kept_from"] == ["other"]


def test_two_queries_of_one_point_are_two_keyframes_of_it(tmp_path: Path) -> None:
    keys = Keyframes.of([("nose", 9, 30.0, 20.0), ("ear", 0, 3.0, 4.0), ("nose", 2, 10.0, 10.0)])
    assert list(keys.queries()) == [(2, 10, 10), (0, 3, 4)] and keys.queries().ids.tolist() == ["nose", "ear"]
    tracks = Tracker(PixelMover()).track(FRAMES, keys)
    assert tracks.ids.tolist() == ["nose", "ear"]
    assert tracks.xy[0, 2].tolist() == [10, 10] and tracks.xy[0, 9].tolist() == [30, 20]
    file = tmp_path / "points.csv"
    file.write_text("id,t,x,y\nnose,9,30,20\near,0,3,4\nnose,2,10,10\n")
    queries, own = Keyframes.read_csv(file)
    assert own is not None and own.ids.tolist() == ["nose", "nose"] and own.t.tolist() == [9, 2]
    assert queries.ids.tolist() == ["nose", "ear"] and queries.t.tolist() == [2, 0]
    file.write_text("id,t,x,y\nnose,9,30,20\nnose,9,10,10\n")
    with pytest.raises(QueryError, match="2 keyframes on frame 9"):
        Keyframes.read_csv(file)
    file.write_text("t,x,y\n9,30,20\n9,10,10\n")
    assert Keyframes.read_csv(file)[1] is None

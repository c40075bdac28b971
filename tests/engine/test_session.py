"""Sessions: frames in, results out, points coming and going."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pixel_mover import PixelMover, clip

from tapkit.engine.tracker import Tracker
from tapkit.errors import QueryError, ShapeError, UsageError
from tapkit.types import Queries, VideoInfo

MOVES = [(0, 0), (1, 0), (0, 2), (3, -1), (-2, 1), (1, 1)]
FRAMES = clip(MOVES)
INFO = VideoInfo(48, 32, frames=len(MOVES))


def session(queries=(), size=None):
    return Tracker(PixelMover(size)).start(INFO, queries)


def test_every_step_answers_for_its_own_frame() -> None:
    running = session([(0, 10, 10)])
    seen = [running.step(image) for image in FRAMES]
    assert [len(results) for results in seen] == [1] * len(FRAMES)
    expected = np.array([10, 10]) + np.cumsum(MOVES, 0)
    np.testing.assert_allclose([results[0].xy[0] for results in seen], expected)
    assert running.finish() == []


def test_the_answer_at_the_query_frame_is_the_query_itself() -> None:
    running = session([(2, 10.25, 11.5)], size=(20, 30))
    results = [running.step(image) for image in FRAMES[:3]]
    assert results[0] == results[1] == []
    np.testing.assert_array_equal(results[2][0].xy, np.array([[10.25, 11.5]], np.float32))
    assert results[2][0].visible.tolist() == [1.0]


def test_points_are_scaled_to_the_frames_the_model_sees_and_back() -> None:
    running = session([(0, 24, 16)], size=(16, 24))
    running.step(FRAMES[0])
    moved = running.step(FRAMES[1])[0].xy[0]  # one pixel of the small frame is two of the video
    np.testing.assert_allclose(moved, [26, 16])


def test_a_point_added_on_the_frame_just_seen_joins_there() -> None:
    running = session([(0, 10, 10)])
    running.step(FRAMES[0])
    running.step(FRAMES[1])
    ids = running.add([(1, 20, 20)])
    results = running.step(FRAMES[2])
    assert results[0].frame == 1 and results[0].ids.tolist() == ids.tolist()
    np.testing.assert_allclose(results[0].xy, [[20, 20]])
    np.testing.assert_allclose(results[1].xy, [[11, 12], [20, 22]])


def test_a_point_can_be_announced_for_a_later_frame() -> None:
    running = session()
    running.add([(3, 5, 6)])
    counts = [sum(len(r.ids) for r in running.step(image)) for image in FRAMES]
    assert counts == [0, 0, 0, 1, 1, 1]


def test_removed_points_are_not_answered_for_and_the_others_go_on() -> None:
    running = session([(0, 1, 1), (0, 2, 2), (0, 3, 3)])
    running.step(FRAMES[0])
    running.remove(["1"])
    result = running.step(FRAMES[1])[0]
    assert result.ids.tolist() == ["0", "2"]
    np.testing.assert_allclose(result.xy, [[2, 1], [4, 3]])
    running.add([(1, 9, 9)])
    running.remove(["0"])
    result = running.step(FRAMES[2])[-1]
    assert result.ids.tolist() == ["2", "3"]
    np.testing.assert_allclose(result.xy, [[4, 5], [9, 11]])


def test_a_saved_session_goes_on_where_it_was() -> None:
    whole = session([(0, 4, 4), (4, 7, 7)])
    expected = [whole.step(image) for image in FRAMES]
    first = session([(0, 4, 4), (4, 7, 7)])
    for image in FRAMES[:3]:
        first.step(image)
    second = session()
    second.load_state_dict({name: tensor.clone() for name, tensor in first.state_dict().items()})
    rest = [second.step(image) for image in FRAMES[3:]]
    for ours, theirs in zip(rest, expected[3:], strict=True):
        np.testing.assert_array_equal(ours[0].xy, theirs[0].xy)
        assert ours[0].ids.tolist() == theirs[0].ids.tolist()


def test_a_saved_session_still_owes_what_it_owed() -> None:
    first = session([(0, 4, 4)])
    for image in FRAMES[:3]:
        first.step(image)
    first.add([(2, 20, 21)])  # on the frame stepped last: its answer there comes with the next step
    second = session()
    second.load_state_dict(first.state_dict())
    for running in (first, second):
        owed, now = running.step(FRAMES[3])
        assert (owed.frame, owed.ids.tolist(), owed.xy.tolist()) == (2, ["1"], [[20, 21]])
        np.testing.assert_allclose(now.xy, [[8, 5], [23, 20]])


def test_what_a_removed_point_was_owed_is_not_given() -> None:
    running = session([(0, 4, 4)])
    running.step(FRAMES[0])
    running.add(Queries.at(0, [(5, 5)], ["late"]))
    running.remove(["late"])
    assert [result.ids.tolist() for result in running.step(FRAMES[1])] == [["0"]]


def test_another_kind_of_tracker_is_another_entry_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from pixel_mover import CARD

    from tapkit.engine.driver import DRIVERS

    model = PixelMover(card=replace(CARD, streaming="pairwise"))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="kind 'pairwise'"):
        Tracker(model).start(INFO)
    monkeypatch.setitem(DRIVERS, "pairwise", DRIVERS["causal"])
    assert Tracker(model).track(FRAMES, [(2, 4, 4)]).valid.all()


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([(0, 100, 3)], "outside the 48x32 frame"),
        ([(6, 3, 3)], "outside frames 0..5"),
        ([(-1, 3, 3)], "frame -1"),
        ([(0, float("nan"), 3)], "finite"),
        ([(0, 16, 40)], "swapped"),
        ([(0.5, 1, 1)], "whole numbers"),
    ],
)
def test_queries_outside_are_refused_in_one_sentence(points, message) -> None:
    with pytest.raises(QueryError, match=message):
        session(points)


def test_points_on_frames_no_longer_held_are_refused() -> None:
    running = session()
    for image in FRAMES[:3]:
        running.step(image)
    with pytest.raises(QueryError, match="from frame 2 on"):
        running.add([(1, 3, 3)])


def test_ids_must_not_be_in_use() -> None:
    running = session(Queries.at(0, [(1, 1)], ["nose"]))
    with pytest.raises(QueryError, match="nose"):
        running.add(Queries.at(0, [(2, 2)], ["nose"]))
    with pytest.raises(QueryError, match="tail"):
        running.remove(["tail"])


def test_frames_of_another_kind_are_refused() -> None:
    running = session()
    for wrong in (FRAMES[0][:10], FRAMES[0].astype(complex), FRAMES[0][..., :2], FRAMES, None, "frame", [[1, 2]]):
        with pytest.raises(ShapeError):
            running.step(wrong)
    running.step(torch.from_numpy(FRAMES[0]).permute(2, 0, 1))
    running.finish()
    with pytest.raises(UsageError, match="finished"):
        running.step(FRAMES[0])


def test_mirrored_views_are_frames() -> None:
    running, mirrored = session([(0, 10, 10)]), session([(0, 10, 10)])
    bgr = np.ascontiguousarray(FRAMES[..., ::-1])
    for image, turned in zip(FRAMES, bgr, strict=True):
        np.testing.assert_array_equal(running.step(image)[0].xy, mirrored.step(turned[..., ::-1])[0].xy)
    with pytest.raises(UsageError, match="VideoInfo"):
        Tracker(PixelMover()).start(None)  # type: ignore[arg-type]
    assert not len(Tracker(PixelMover()).start(VideoInfo(64, 48), None).finish()), "None: no points yet"


def test_a_session_without_points_runs() -> None:
    running = session()
    assert [running.step(image) for image in FRAMES] == [[]] * len(FRAMES)


def test_steps_do_not_change_the_state_they_start_from() -> None:
    model = PixelMover()
    frame = torch.from_numpy(FRAMES[1]).permute(2, 0, 1)
    state, _ = model.step(model.start((32, 48)), frame, torch.tensor([[1.0, 2.0]]))
    once, twice = (model.step(state, frame, torch.zeros(0, 2))[1].xy for _ in range(2))
    assert torch.equal(once, twice)

"""Whole clips: both directions, chunks, results on disk, resuming."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pixel_mover import CARD, PixelMover, clip

import tapkit.engine.run as running
from tapkit.engine.tracker import Tracker
from tapkit.errors import MemoryBudgetError, QueryError, StorageError, UsageError
from tapkit.sinks import Callback
from tapkit.types import Queries, Tracks
from tapkit.video import open_video

MOVES = [(0, 0), (1, 0), (0, 2), (3, -1), (-2, 1), (1, 1)] * 3
FRAMES = clip(MOVES)
POINTS = [(0, 10, 10), (5, 20, 12), (17, 30, 15)]


def forward_truth(queries=POINTS) -> np.ndarray:
    """Where the points of forward tracking are, NaN before their query: [N,T,2]."""
    path = np.cumsum(MOVES, 0).astype(float)
    xy = np.stack([path - path[t] + (x, y) for t, x, y in queries])
    for row, (t, _, _) in enumerate(queries):
        xy[row, :t] = np.nan
    return xy


def test_the_offline_result_is_that_of_the_session() -> None:
    tracks = Tracker(PixelMover()).track(FRAMES, POINTS, direction="forward")
    np.testing.assert_allclose(tracks.xy, forward_truth())
    np.testing.assert_array_equal(tracks.valid, ~np.isnan(forward_truth()[..., 0]))
    session = Tracker(PixelMover()).start(open_video(FRAMES).info, POINTS)
    for t, image in enumerate(FRAMES):
        for result in session.step(image):
            rows = [list(tracks.ids).index(name) for name in result.ids]
            np.testing.assert_array_equal(result.xy, tracks.xy[rows, t])
            np.testing.assert_array_equal(result.visible, tracks.visible[rows, t])


def test_backward_runs_from_the_query_to_the_beginning() -> None:
    tracks = Tracker(PixelMover()).track(FRAMES, POINTS, direction="backward")
    # The mover is told about frame t when it arrives there: going back it repeats the moves in reverse order.
    for row, (t, x, y) in enumerate(POINTS):
        path = np.cumsum([(0, 0), *MOVES[:t][::-1]], 0)[::-1] + (x, y)
        np.testing.assert_allclose(tracks.xy[row, : t + 1], path)
        assert not tracks.valid[row, t + 1 :].any()


def test_a_backward_result_is_as_long_as_the_clip() -> None:
    tracks = Tracker(PixelMover(card=replace(CARD, uses_past=False))).track(FRAMES, [(5, 9, 9)], direction="backward")
    assert tracks.frames == len(FRAMES) and tracks.valid.sum() == 6


def test_both_directions_join_at_the_query() -> None:
    both = Tracker(PixelMover()).track(FRAMES, POINTS)
    forward = Tracker(PixelMover()).track(FRAMES, POINTS, direction="forward")
    backward = Tracker(PixelMover()).track(FRAMES, POINTS, direction="backward")
    assert both.valid.all()
    np.testing.assert_array_equal(both.xy, np.where(forward.valid[..., None], forward.xy, backward.xy))
    for row, (t, x, y) in enumerate(POINTS):
        assert both.xy[row, t].tolist() == [x, y]


def test_frames_before_the_first_query_are_skipped_where_they_do_not_matter() -> None:
    model = PixelMover(card=replace(CARD, uses_past=False))
    tracks = Tracker(model).track(FRAMES, [(12, 20, 20)], direction="forward")
    assert model.seen == len(FRAMES) - 12
    np.testing.assert_allclose(tracks.xy, forward_truth([(12, 20, 20)]))


def test_points_in_chunks_give_the_same_result() -> None:
    whole = Tracker(PixelMover()).track(FRAMES, POINTS)
    model = PixelMover()
    parts = Tracker(model).track(FRAMES, POINTS, memory=1000)
    np.testing.assert_array_equal(whole.xy, parts.xy)
    assert model.seen == 5 * len(FRAMES)  # three chunks forwards, two of them (t > 0) backwards as well
    with pytest.raises(MemoryBudgetError, match="raise memory"):
        Tracker(PixelMover()).track(FRAMES, POINTS, memory=10)


def test_an_iterator_is_tracked_forwards_only() -> None:
    tracks = Tracker(PixelMover()).track(iter(FRAMES), POINTS[:1])
    np.testing.assert_allclose(tracks.xy, forward_truth(POINTS[:1]))
    with pytest.raises(UsageError, match="only plays forwards"):
        Tracker(PixelMover()).track(iter(FRAMES), POINTS)


def test_a_single_frame_and_no_points_are_fine() -> None:
    one = Tracker(PixelMover()).track(FRAMES[:1], [(0, 3, 4)])
    assert one.xy.tolist() == [[[3, 4]]]
    none = Tracker(PixelMover()).track(FRAMES, [])
    assert none.xy.shape == (0, len(FRAMES), 2)


def test_queries_outside_the_clip_are_refused_before_anything_runs() -> None:
    model = PixelMover()
    with pytest.raises(QueryError, match=r"outside frames 0\.\.17"):
        Tracker(model).track(FRAMES, [(18, 3, 3)])
    assert model.seen == 0
    with pytest.raises(UsageError, match="direction"):
        Tracker(model).track(FRAMES, POINTS, direction="sideways")  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", [".npz", ".zarr"])
def test_results_on_disk_are_those_in_memory(tmp_path: Path, suffix: str) -> None:
    path = Tracker(PixelMover()).track_to(tmp_path / f"out{suffix}", FRAMES, POINTS)
    stored, expected = Tracks.load(path), Tracker(PixelMover()).track(FRAMES, POINTS)
    for name in ("xy", "visible", "confidence", "valid"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(expected, name))
    assert os.listdir(tmp_path) == [path.name]  # nothing is left over


def test_frames_are_reported_complete_once_and_in_order(tmp_path: Path) -> None:
    seen, expected = [], Tracker(PixelMover()).track(FRAMES, POINTS)

    def complete(result) -> None:
        seen.append(result.frame)
        assert result.ids.tolist() == expected.ids.tolist()
        np.testing.assert_array_equal(result.xy, expected.xy[:, result.frame])

    Tracker(PixelMover()).track_to(tmp_path / "out.npz", FRAMES, POINTS, sinks=[Callback(complete)])
    assert seen == list(range(len(FRAMES)))


@pytest.mark.parametrize("stop_after", [3, 20, 30])
def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path, stop_after: int) -> None:
    expected = Tracker(PixelMover()).track(FRAMES, POINTS)

    def interrupt(progress) -> None:
        if progress.done == stop_after:
            os.kill(os.getpid(), signal.SIGINT)

    first = PixelMover()
    with pytest.raises(KeyboardInterrupt):
        Tracker(first).track_to(tmp_path / "out.npz", FRAMES, POINTS, progress=interrupt)
    assert first.seen == stop_after and not (tmp_path / "out.npz").exists()
    second, frames = PixelMover(), []
    Tracker(second).track_to(tmp_path / "out.npz", FRAMES, POINTS, sinks=[Callback(lambda r: frames.append(r.frame))])
    assert second.seen == 2 * len(FRAMES) - stop_after
    assert frames == list(range(len(FRAMES)))
    np.testing.assert_array_equal(Tracks.load(tmp_path / "out.npz").xy, expected.xy)


def test_a_crash_loses_only_what_came_after_the_last_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(running, "SAVE_SHARE", float("inf"))
    first = PixelMover()
    first.fail_at = 25
    with pytest.raises(RuntimeError):
        Tracker(first).track_to(tmp_path / "out.npz", FRAMES, POINTS)
    second = PixelMover()
    Tracker(second).track_to(tmp_path / "out.npz", FRAMES, POINTS)
    assert second.seen == 2 * len(FRAMES) - 25
    expected = Tracker(PixelMover()).track(FRAMES, POINTS)
    np.testing.assert_array_equal(Tracks.load(tmp_path / "out.npz").xy, expected.xy)


def test_a_second_process_on_the_same_output_is_refused(tmp_path: Path) -> None:
    refused = []

    def try_as_well(result) -> None:
        with pytest.raises(StorageError, match=r"another process is at work on .*out\.npz"):
            Tracker(PixelMover()).track_to(tmp_path / "out.npz", FRAMES, POINTS)
        refused.append(result.frame)

    Tracker(PixelMover()).track_to(tmp_path / "out.npz", FRAMES, POINTS, sinks=[Callback(try_as_well)])
    assert len(refused) == len(FRAMES) and os.listdir(tmp_path) == ["out.npz"]


def test_another_job_does_not_take_up_the_work_of_this_one(tmp_path: Path) -> None:
    first = PixelMover()
    first.fail_at = 4
    with pytest.raises(RuntimeError):
        Tracker(first).track_to(tmp_path / "out.npz", FRAMES, POINTS)
    second = PixelMover()
    Tracker(second).track_to(tmp_path / "out.npz", FRAMES, POINTS[:1])
    assert second.seen == len(FRAMES)
    np.testing.assert_allclose(Tracks.load(tmp_path / "out.npz").xy, forward_truth(POINTS[:1]))


def test_empty_queries_may_be_joined_with_ids() -> None:
    assert Queries.join([Queries.of([]), Queries.of(POINTS)]).ids.tolist() == ["0", "1", "2"]

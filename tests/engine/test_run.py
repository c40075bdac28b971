"""The one loop: sinks, progress, pause, cancel, stop, corrections, and what is kept when something fails."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from pixel_mover import PixelMover, clip

from tapkit.engine.control import Cancelled, Control
from tapkit.engine.run import run
from tapkit.engine.tracker import Tracker
from tapkit.errors import QueryError, StorageError, UsageError
from tapkit.sinks import Callback, MemoryTable, Recorder
from tapkit.types import FrameResult, Provenance, Queries, Tracks, VideoInfo
from tapkit.video import open_video
from tapkit.video.base import Frame

MOVES = [(0, 0), (1, 0), (0, 2), (3, -1), (-2, 1), (1, 1)] * 3
FRAMES = clip(MOVES)
INFO = VideoInfo(48, 32)
POINTS = [(0, 10, 10), (2, 20, 12)]


def frames(until: int | None = None):
    for index, image in enumerate(FRAMES[:until]):
        yield Frame(index, index / 25, image)


class Log:
    """A sink that notes every call."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.calls: list[tuple[str, int]] = []
        self.fail_at = fail_at

    def frame(self, frame: Frame) -> None:
        self.calls.append(("frame", frame.index))

    def result(self, result: FrameResult) -> None:
        if result.frame == self.fail_at:
            raise StorageError("the sink is full")
        self.calls.append(("result", result.frame))

    def finish(self) -> None:
        self.calls.append(("finish", -1))


def test_sinks_get_each_frame_then_what_became_known_and_one_end() -> None:
    log, table = Log(), MemoryTable()
    run(Tracker(PixelMover()).start(INFO, POINTS), frames(3), [log, table])
    expected = [("frame", 0), ("result", 0), ("frame", 1), ("result", 1), ("frame", 2), ("result", 2), ("finish", -1)]
    assert log.calls == expected
    np.testing.assert_allclose(table.at(2).xy, [[11, 12], [20, 12]])


def test_a_failing_sink_ends_the_run_and_the_others_have_everything_and_are_finished() -> None:
    failing, other = Log(fail_at=4), Log()
    with pytest.raises(StorageError, match="the sink is full"):
        run(Tracker(PixelMover()).start(INFO, POINTS), frames(), [failing, other])
    assert other.calls[-2:] == [("result", 4), ("finish", -1)]
    assert failing.calls[-1] == ("finish", -1)


def test_cancel_from_another_thread_ends_the_run_between_two_frames() -> None:
    control, log = Control(), Log()

    def slow():
        for frame in frames():
            yield frame
            time.sleep(0.02)

    timer = threading.Timer(0.07, control.cancel)
    timer.start()
    with pytest.raises(Cancelled):
        run(Tracker(PixelMover()).start(INFO, POINTS), slow(), [log], control)
    seen = sum(what == "frame" for what, _ in log.calls)
    assert 0 < seen < len(FRAMES) and log.calls[-1] == ("finish", -1)
    assert sum(what == "result" for what, _ in log.calls) == seen


def test_stop_ends_the_video_there_and_the_run_returns() -> None:
    control, log = Control(), Log()
    control.progress = lambda now: control.stop() if now.done == 5 else None
    run(Tracker(PixelMover()).start(INFO, POINTS), frames(), [log], control)
    assert sum(what == "frame" for what, _ in log.calls) == 5


@pytest.mark.parametrize("end", ["resume", "cancel"])
def test_a_paused_run_waits_until_it_is_resumed_or_cancelled(end: str) -> None:
    control, log = Control(), Log()
    control.progress = lambda now: control.pause() if now.done == 4 else None
    failures = []

    def work() -> None:
        try:
            run(Tracker(PixelMover()).start(INFO, POINTS), frames(), [log], control)
        except Cancelled as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    deadline = time.monotonic() + 5
    while not control.paused and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert sum(what == "frame" for what, _ in log.calls) == 4 and thread.is_alive()
    getattr(control, end)()
    thread.join(5)
    assert not thread.is_alive()
    assert len(failures) == (end == "cancel")
    assert sum(what == "frame" for what, _ in log.calls) == (4 if failures else len(FRAMES))


def test_a_signal_stops_a_live_run_and_ends_a_pause() -> None:
    control, log = Control(interrupt="stop"), Log()

    def progress(now) -> None:
        if now.done == 3:
            control.pause()
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    control.progress = progress
    run(Tracker(PixelMover()).start(INFO, POINTS), frames(), [log], control)
    assert sum(what == "frame" for what, _ in log.calls) == 3 and log.calls[-1] == ("finish", -1)


def test_a_correction_enters_the_running_session() -> None:
    control, table, futures = Control(), MemoryTable(), []

    def progress(now) -> None:
        if now.done == 6:  # frame 5 is on the screen
            futures.append(control.correct("0", 5, 30, 20))
            futures.append(control.correct("nobody", 5, 30, 20))
            futures.append(control.correct("0", 1, 30, 20))

    control.progress = progress
    run(Tracker(PixelMover()).start(INFO, POINTS), frames(), [table], control)
    assert futures[0].result(0) is None
    assert isinstance(futures[1].exception(0), QueryError) and isinstance(futures[2].exception(0), QueryError)
    path = np.cumsum(MOVES, 0)
    block = table.points(slice(0, 2))
    np.testing.assert_allclose(block["xy"][0, :5], path[:5] + [10, 10])
    np.testing.assert_allclose(block["xy"][0, 5:], path[5:] - path[5] + [30, 20])
    np.testing.assert_allclose(block["xy"][1, 2:], path[2:] - path[2] + [20, 12])
    assert np.argwhere(block["keyframe"]).tolist() == [[0, 5]]
    assert table.count == 2


def test_a_correction_may_be_announced_for_a_frame_to_come() -> None:
    session, table = Tracker(PixelMover()).start(INFO, POINTS[:1]), MemoryTable()
    session.correct(Queries.at(7, [(30, 20)], ["0"]))
    session.correct(Queries.at(3, [(5, 6)], ["0"]))
    run(session, frames(), [table])
    path = np.cumsum(MOVES, 0)
    xy = table.points(slice(0, 1))["xy"][0]
    np.testing.assert_allclose(xy[:3], path[:3] + [10, 10])
    np.testing.assert_allclose(xy[3:7], path[3:7] - path[3] + [5, 6])
    np.testing.assert_allclose(xy[7:], path[7:] - path[7] + [30, 20])


def test_removing_a_corrected_point_ends_it() -> None:
    session = Tracker(PixelMover()).start(INFO, POINTS[:1])
    session.step(FRAMES[0])
    session.correct(Queries.at(0, [(30, 20)], ["0"]))
    session.correct(Queries.at(4, [(31, 20)], ["0"]))
    session.remove(["0"])
    assert [session.step(image) for image in FRAMES[1:7]] == [[]] * 6 and len(session) == 0


def test_the_recorder_keeps_points_that_were_added_on_the_way(tmp_path: Path) -> None:
    tracker = Tracker(PixelMover())
    session = tracker.start(INFO, Queries.at(0, [(10, 10)], ["nose"]))

    def on_frame(frame: Frame) -> None:
        if frame.index == 4:
            session.add(Queries.at(4, [(3, 4)], ["tail"]))
        if frame.index == 9:
            session.remove(["nose"])

    run(session, frames(), [Recorder(tmp_path / "out.npz", INFO, Provenance("m")), Callback(on_frame=on_frame)])
    tracks = Tracks.load(tmp_path / "out.npz")
    path = np.cumsum(MOVES, 0)
    assert tracks.ids.tolist() == ["nose", "tail"] and tracks.frames == len(FRAMES)
    assert tracks.queries.t.tolist() == [0, 4] and tracks.queries.xy[1].tolist() == [3, 4]
    np.testing.assert_allclose(tracks["tail"].xy[0, 4:], path[4:] - path[4] + [3, 4])
    assert tracks["nose"].valid[0].sum() == 10
    assert [file.name for file in tmp_path.iterdir()] == ["out.npz"]


def test_the_recorder_stores_what_came_before_an_error(tmp_path: Path) -> None:
    model = PixelMover()
    model.fail_at = 7
    with pytest.raises(RuntimeError):
        run(Tracker(model).start(INFO, POINTS), frames(), [Recorder(tmp_path / "a.npz", INFO, Provenance())])
    assert Tracks.load(tmp_path / "a.npz").frames == 7


# -- whole clips ------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["progress", "sink", "cancel"])
def test_whatever_ends_a_run_its_work_is_kept_to_the_frame(tmp_path: Path, what: str) -> None:
    def breaks(now) -> None:
        if now.done == 20:
            if what == "cancel":
                control.cancel()
            elif what == "progress":
                raise ValueError("a fault of the caller")

    control = Control(breaks)
    sinks = [Log(fail_at=1)] if what == "sink" else []  # frame 1 is complete when frame 2 is answered: step 20
    first = PixelMover()
    with pytest.raises((Cancelled, ValueError, StorageError)):
        Tracker(first).track_to(tmp_path / "out.npz", FRAMES, [(17, 30, 15), (0, 9, 9)], control=control, sinks=sinks)
    done = first.seen
    assert done in (20, 21)
    second = PixelMover()
    Tracker(second).track_to(tmp_path / "out.npz", FRAMES, [(17, 30, 15), (0, 9, 9)])
    assert second.seen == 2 * len(FRAMES) - done
    expected = Tracker(PixelMover()).track(FRAMES, [(17, 30, 15), (0, 9, 9)])
    np.testing.assert_array_equal(Tracks.load(tmp_path / "out.npz").xy, expected.xy)


def test_sinks_follow_a_clip_in_order_and_corrections_of_one_are_refused() -> None:
    control, log, said = Control(), Log(), []
    control.progress = lambda now: said.append(control.correct("0", 3, 1, 1)) if now.done == 9 else None
    Tracker(PixelMover()).track(FRAMES, [(9, 10, 10)], sinks=[log], control=control)
    assert [t for what, t in log.calls if what == "result"] == list(range(len(FRAMES)))
    assert isinstance(said[0].exception(0), UsageError)


def test_frames_handed_in_at_full_size_give_the_tracks_of_the_offline_run() -> None:
    rng = np.random.default_rng(0)
    video = rng.integers(0, 255, (5, 96, 130, 3), dtype=np.uint8)

    class Reader(PixelMover):
        """Moves by what it sees in the middle of the frame."""

        def step(self, state, frame, new_xy):
            return super().step(state, (frame[:, 9:10, 20:21].int() // 8 + 90).to(frame.dtype).expand(3, 4, 4), new_xy)

    points = [(0, 60.0, 50.0), (1, 20.0, 30.0)]
    offline = Tracker(Reader(size=(40, 52))).track(video, points, "forward")
    session = Tracker(Reader(size=(40, 52))).start(open_video(video).info, points)
    table = MemoryTable()
    run(session, (Frame(t, t / 25, image) for t, image in enumerate(video)), [table])
    np.testing.assert_array_equal(table.points(slice(0, 2))["xy"], offline.xy)

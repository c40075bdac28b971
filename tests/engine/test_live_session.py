"""What a session knows of a camera: dropped frames, scene cuts; who may use it, and how it ends."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pixel_mover import PixelMover, clip

import tapkit
from tapkit.engine.tracker import Tracker
from tapkit.errors import QueryError, UsageError
from tapkit.types import ModelCard, VideoInfo
from tapkit.video.samples import sample

MOVES = [(0, 0), (1, 0), (0, 2), (3, -1), (-2, 1), (1, 1)]
FRAMES = clip(MOVES)
INFO = VideoInfo(48, 32)


def session(**options: Any) -> Any:
    return Tracker(PixelMover()).start(INFO, [(0, 10, 10)], **options)


# -- numbers and times --------------------------------------------------------------------------------


def test_frames_left_out_are_known_by_their_numbers() -> None:
    running = session()
    for image, number in zip(FRAMES, (100, 101, 104, 105, 109, 110), strict=True):
        running.step(image, number=number)
    assert running.dropped == 5
    assert [tuple(gap) for gap in running.gaps] == [(2, 2), (4, 3)]
    assert [running.number_of(frame) for frame in range(6)] == [100, 101, 104, 105, 109, 110]
    with pytest.raises(QueryError, match="has had 6"):
        running.number_of(6)


def test_frames_left_out_are_known_by_their_times_which_may_jitter() -> None:
    running = session()
    for image, time in zip(FRAMES, (3.0, 3.05, 3.08, 3.20, 3.24, 3.361), strict=True):  # periods of 0.04 s
        running.step(image, time=time)
    assert running.dropped == 4 and [gap.missing for gap in running.gaps] == [2, 2]
    assert running.number_of(5) == 9


@pytest.mark.parametrize(
    ("first", "then", "match"),
    [
        ({"number": 5}, {"number": 5}, "cannot follow number 5"),
        ({"number": 5}, {"number": 4}, "numbers must rise"),
        ({"number": 5}, {}, "came with number=, this one with neither"),
        ({"time": 1.0}, {"time": 1.0}, "times must rise"),
        ({"time": 1.0}, {"number": 2}, "came with time="),
        ({"time": 1.0}, {"time": float("nan")}, "in seconds"),
        ({"number": 1}, {"number": 1.5}, "whole number"),
    ],
)
def test_a_number_or_time_that_cannot_be_is_refused_and_nothing_is_stepped(first: Any, then: Any, match: str) -> None:
    running = session()
    running.step(FRAMES[0], **first)
    with pytest.raises(UsageError, match=match):
        running.step(FRAMES[3], **then)
    assert running.frame == 1 and running.dropped == 0
    good = {name: value + 1 for name, value in first.items()}
    np.testing.assert_allclose(running.step(FRAMES[1], **good)[0].xy, [[11, 10]])


def test_a_saved_session_goes_on_counting() -> None:
    running, later = session(), session()
    for image, number in zip(FRAMES[:3], (7, 9, 10), strict=True):
        running.step(image, number=number)
    later.load_state_dict(running.state_dict())
    later.step(FRAMES[3], number=14)
    assert later.dropped == 4 and [later.number_of(frame) for frame in range(4)] == [7, 9, 10, 14]


def test_days_of_dropped_frames_take_no_more_memory() -> None:
    from tapkit.engine.frame_clock import KEPT, FrameClock

    clock = FrameClock(25)
    for number in range(0, 4 * KEPT, 2):
        clock.take(clock.missing(number, None), number, None)
    assert clock.dropped == 2 * KEPT - 1 and len(clock.gaps) == KEPT
    assert clock.number_of(2 * KEPT - 1) == 4 * KEPT - 2
    for number in range(4 * KEPT, 4 * KEPT + 200, 2):
        clock.take(clock.missing(number, None), number, None)
    assert clock.number_of(8000) == 16000
    with pytest.raises(QueryError, match="too long ago"):
        clock.number_of(3)


# -- threads ------------------------------------------------------------------------------------------


class Halting(PixelMover):
    """Stops within a step until it is let go on."""

    def __init__(self) -> None:
        super().__init__()
        self.within, self.go_on = threading.Event(), threading.Event()

    def step(self, *arguments: Any) -> Any:
        self.within.set()
        assert self.go_on.wait(10)
        return super().step(*arguments)


def test_every_call_of_a_second_thread_is_refused_while_the_first_is_within_a_step() -> None:
    model = Halting()
    running = Tracker(model).start(INFO, [(0, 10, 10)])
    said: list[Any] = []
    thread = threading.Thread(target=lambda: said.extend(running.step(FRAMES[0])), name="camera")
    thread.start()
    assert model.within.wait(10)
    calls: list[Callable[[], Any]] = [
        lambda: running.step(FRAMES[1]),
        lambda: running.add([(0, 1, 1)]),
        lambda: running.remove(["0"]),
        lambda: running.correct(tapkit.Queries.at(0, [(1, 1)], ["0"])),
        running.finish,
        running.state_dict,
        lambda: running.load_state_dict({}),
        running.close,
    ]
    for call in calls:
        with pytest.raises(UsageError, match=r"used by thread 'camera'.*nothing was changed"):
            call()
    model.go_on.set()
    thread.join()
    assert [result.frame for result in said] == [0] and running.ids == ["0"] and running.frame == 1
    np.testing.assert_allclose(running.step(FRAMES[1])[0].xy, [[11, 10]])  # and it is free again


def test_a_thousand_interleavings_of_two_threads_never_give_a_wrong_frame() -> None:
    rng = np.random.default_rng(0)
    moves = [(int(x), int(y)) for x, y in rng.integers(-3, 4, (1000, 2))]
    frames = clip(moves, 8, 8)
    info = VideoInfo(8, 8)
    taken: dict[int, tuple[int, np.ndarray]] = {}
    refused = [0, 0]
    running = Tracker(PixelMover()).start(info, [(0, 4, 4)])
    barrier = threading.Barrier(2)

    def use(which: int) -> None:
        barrier.wait()
        for number in range(which, 1000, 2):
            try:
                (result,) = running.step(frames[number])
            except UsageError as error:
                refused[which] += "at the same time" in str(error)
            else:
                assert result.frame not in taken, "two steps answered for one frame"
                taken[result.frame] = (number, result.xy.copy())

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=use, args=(which,)) for which in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert len(taken) + sum(refused) == 1000 and sum(refused) > 0, "the two were never at work at once"
    assert sorted(taken) == list(range(running.frame))
    alone = Tracker(PixelMover()).start(info, [(0, 4, 4)])
    for frame in range(len(taken)):
        number, xy = taken[frame]
        np.testing.assert_array_equal(alone.step(frames[number])[0].xy, xy)


def test_a_session_may_be_handed_from_one_thread_to_another() -> None:
    running = session()
    for image in FRAMES:
        thread = threading.Thread(target=running.step, args=(image,))
        thread.start()
        thread.join()
    assert running.frame == len(FRAMES)


# -- the end ------------------------------------------------------------------------------------------


def test_a_session_is_closed_at_the_end_of_its_block() -> None:
    with session() as running:
        running.step(FRAMES[0])
    with pytest.raises(UsageError, match="finished"):
        running.step(FRAMES[1])
    running.close()


def test_answers_that_a_block_leaves_owing_are_mentioned() -> None:
    late = ModelCard("late", "", "", "", "", "", True, "", latency=2)
    with (
        pytest.warns(UserWarning, match="before finish"),
        Tracker(PixelMover(card=late)).start(INFO, [(0, 10, 10)]) as running,
    ):
        running.step(FRAMES[0])
    with Tracker(PixelMover(card=late)).start(INFO, [(0, 10, 10)]) as running:
        running.step(FRAMES[0])
        running.finish()


# -- what frames are ----------------------------------------------------------------------------------


def test_what_a_first_frame_settles_holds_for_those_that_follow() -> None:
    running = session()
    running.step(FRAMES[0].astype(np.float32) / 255)
    with pytest.raises(UsageError, match=r"a float32 frame has values in .*, but black and white are taken"):
        running.step(FRAMES[1].astype(np.float32))
    later = session()
    later.load_state_dict(running.state_dict())
    with pytest.raises(UsageError, match="black and white are taken"):
        later.step(FRAMES[1].astype(np.float32))


def test_an_order_of_colours_or_a_range_that_cannot_be_is_refused() -> None:
    for wrong in ({"colors": "yuv"}, {"value_range": "white"}, {"value_range": (5, 1)}, {"cuts": "maybe"}):
        with pytest.raises(UsageError):
            session(**wrong)


# -- scene cuts ---------------------------------------------------------------------------------------


def two_scenes() -> list[np.ndarray]:
    out: list[np.ndarray] = []
    for name in ("blocks", "rabbit"):
        with tapkit.open_video(sample(name)) as source:
            out += [frame.image for frame in source.frames(0, 8, size=(180, 320))]
    return out


@pytest.mark.parametrize("model", ["lucas-kanade", "strand"])
def test_points_are_detected_anew_after_a_cut(model: str) -> None:
    frames, info = two_scenes(), VideoInfo(320, 180)
    tracker = tapkit.load(model, device="cpu")
    seen: dict[int, set[str]] = {}
    with tracker.start(info, [(0, 100, 90), (0, 150, 60), (0, 200, 100)], cuts="redetect") as running:
        for image in frames:
            for result in running.step(image):
                seen.setdefault(result.frame, set()).update(result.ids.tolist())
        assert running.cuts == (8,) and len(running) == 3
        assert (running.queries.t == 8).all()
    assert all(seen[frame] == {"0", "1", "2"} for frame in range(8))
    assert all(seen[frame] == {"3", "4", "5"} for frame in range(8, 16))


def test_a_cut_that_is_only_noted_changes_no_track() -> None:
    frames, info = two_scenes(), VideoInfo(320, 180)
    tracker = tapkit.load("lucas-kanade")
    plain, noting = (tracker.start(info, [(0, 100, 90)], cuts=cuts) for cuts in ("ignore", "note"))
    for image in frames:
        np.testing.assert_array_equal(plain.step(image)[0].xy, noting.step(image)[0].xy)
    assert noting.cuts == (8,) and plain.cuts == ()

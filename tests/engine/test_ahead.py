"""Frames made ready in a second thread: the same answers, errors where they belong, nothing left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from pixel_mover import PixelMover, State, clip
from torch import Tensor

from tapkit import registry
from tapkit.engine.causal import AT_ONCE, CausalDriver
from tapkit.engine.control import Cancelled, Control
from tapkit.engine.run import run
from tapkit.engine.tracker import Tracker
from tapkit.errors import ShapeError
from tapkit.models.base import EncodesFrames, Prediction
from tapkit.sinks import MemoryTable
from tapkit.types import VideoInfo
from tapkit.video.base import Frame

MOVES = [(0, 0), (1, 0), (0, 2), (3, -1), (-2, 1), (1, 1)] * 4
FRAMES = clip(MOVES)
INFO = VideoInfo(48, 32)
POINTS = [(0, 10, 10), (2, 20, 12)]


class ApartMover(PixelMover):
    """The same model in its two halves; notes which thread encodes how many frames at once."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded: list[int] = []
        """By frame: the thread."""
        self.at_once: list[int] = []

    def encode(self, frames: Tensor) -> Tensor:
        self.at_once.append(len(frames))
        self.encoded += [threading.get_ident()] * len(frames)
        return frames

    def follow(self, state: State, features: Tensor, size: Any, new_xy: Tensor) -> tuple[State, Prediction]:
        assert size == (32, 48) and len(features) == 1
        return super().step(state, features[0], new_xy)

    def step(self, state: State, frame: Tensor, new_xy: Tensor) -> tuple[State, Prediction]:
        raise AssertionError("the driver has what it needs for `follow`")


class Comparer(ApartMover):
    """And compares each frame with the one before it: features are those of both."""

    def __init__(self) -> None:
        super().__init__()
        self.alone = 0

    def compare(self, features: Sequence[Tensor]) -> list[Tensor]:
        assert all(len(one) == 1 for one in features), "of single frames"
        return [torch.cat(pair) for pair in pairwise(features)]

    def follow(self, state: State, features: Tensor, size: Any, new_xy: Tensor) -> tuple[State, Prediction]:
        self.alone += len(features) == 1
        if len(features) == 2:
            np.testing.assert_array_equal(features[0].permute(1, 2, 0), FRAMES[self.seen - 1])
        return super().follow(state, features[-1:], size, new_xy)


class Frames:
    """FRAMES, of which the one at `broken` cannot be read; notes whether it was closed."""

    def __init__(self, broken: int | None = None) -> None:
        self.broken, self.given, self.closed = broken, 0, False

    def __iter__(self) -> Iterator[Frame]:
        try:
            for index, image in enumerate(FRAMES):
                if index == self.broken:
                    raise OSError("the disk is gone")
                self.given += 1
                yield Frame(index, index / 25, image)
        finally:
            self.closed = True


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2, "the threads were not given back"
    torch.set_num_threads(before)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("tapkit ahead")]


def test_frames_are_encoded_once_each_in_another_thread_and_answers_are_the_same() -> None:
    plain, apart = MemoryTable(), MemoryTable()
    run(Tracker(PixelMover()).start(INFO, POINTS), Frames(), [plain])
    model = ApartMover()
    run(Tracker(model).start(INFO, POINTS), Frames(), [apart], ahead=True)
    assert len(model.encoded) == len(FRAMES) and len(set(model.encoded)) == 1
    assert model.encoded[0] != threading.get_ident() and set(model.at_once) == {AT_ONCE}
    for t in range(len(FRAMES)):
        for ours, theirs in zip(apart.at(t)[:5], plain.at(t)[:5], strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_each_frame_is_compared_with_the_one_before_it_ahead() -> None:
    model, table = Comparer(), MemoryTable()
    run(Tracker(model).start(INFO, POINTS), Frames(), [table], ahead=True)
    assert model.alone == 1, "the first one"
    assert len(table.at(len(FRAMES) - 1).rows) == len(POINTS)


def test_only_models_that_encode_apart_are_worth_it_and_only_with_two_threads() -> None:
    session = Tracker(ApartMover()).start(INFO, POINTS)
    assert session.prepares and not Tracker(PixelMover()).start(INFO, POINTS).prepares
    torch.set_num_threads(1)
    assert not session.prepares
    torch.set_num_threads(2)


def test_large_frames_are_encoded_one_by_one() -> None:
    model = ApartMover()
    assert CausalDriver(model, (720, 1280)).frames_at_once == 1
    assert CausalDriver(model, (352, 640)).frames_at_once == 2


@pytest.mark.parametrize("broken", [4, 5, 7])  # the first of those that are read at once, one of them, the last
def test_an_error_comes_where_its_frame_would_have_come_and_closes_the_video(broken: int) -> None:
    source, table = Frames(broken), MemoryTable()
    with pytest.raises(OSError, match="the disk is gone"):
        run(Tracker(ApartMover()).start(INFO, POINTS), source, [table], ahead=True)
    assert source.closed and [t for t in range(9) if len(table.at(t).rows)] == list(range(broken))


def test_frames_before_one_that_cannot_be_made_ready_come_out_first() -> None:
    source, table = Frames(), MemoryTable()
    frames = (frame if frame.index != 6 else frame._replace(image=frame.image[:-1]) for frame in source)
    with pytest.raises(ShapeError, match="the session's frames are 48x32, got one of 48x31"):
        run(Tracker(Comparer()).start(INFO, POINTS), frames, [table], ahead=True)
    assert source.closed and [t for t in range(9) if len(table.at(t).rows)] == list(range(6))


def test_a_run_that_is_cancelled_leaves_no_thread_and_no_open_video() -> None:
    source, control = Frames(), Control()
    control.progress = lambda progress: control.cancel() if progress.done == 3 else None
    with pytest.raises(Cancelled):
        run(Tracker(ApartMover()).start(INFO, POINTS), source, [MemoryTable()], control, ahead=True)
    assert source.closed and source.given <= 3 * AT_ONCE, "some are stepped, some encoded, some read"


def test_a_model_that_fails_while_the_next_frame_is_read_leaves_nothing_behind() -> None:
    source, model = Frames(), ApartMover()
    model.fail_at = 2
    with pytest.raises(RuntimeError, match="the model failed"):
        run(Tracker(model).start(INFO, POINTS), source, [MemoryTable()], ahead=True)
    assert source.closed and source.given <= 3 * AT_ONCE, "some are stepped, some encoded, some read"


def test_a_click_on_the_frame_stepped_last_does_not_encode_it_again() -> None:
    model = ApartMover()
    session = Tracker(model).start(INFO, POINTS)
    for image in FRAMES[:3]:
        session.step(image)
    session.add([(2, 5, 5)])
    assert len(model.encoded) == 3
    assert session.step(FRAMES[3])[-1].xy.tolist()[-1] == [8, 4]


def test_a_frame_that_nobody_asks_about_is_not_encoded_before_a_point_is_added() -> None:
    model = ApartMover()
    model.step = PixelMover.step.__get__(model)  # type: ignore[method-assign]
    session = Tracker(model).start(INFO)
    session.step(FRAMES[0])
    assert not model.encoded
    session.add([(0, 10, 10)])
    session.step(FRAMES[1])
    assert len(model.encoded) == 2


def test_the_built_in_tracker_says_the_same_with_and_without() -> None:
    rng = np.random.default_rng(0)
    canvas = rng.integers(0, 255, (80, 100, 3), dtype=np.uint8)
    video = np.stack([canvas[t : t + 64, 2 * t : 2 * t + 72] for t in range(5)])
    torch.set_num_threads(1)  # two would wait for each other on a busy machine
    tracker = Tracker(registry.build("strand"))  # untrained
    assert isinstance(tracker.model, EncodesFrames)
    queries = [(0, 20, 20), (2, 40, 30)]
    alone = tracker.track(video, queries)
    torch.set_num_threads(2)
    ahead = tracker.track(video, queries)
    np.testing.assert_allclose(ahead.xy, alone.xy, atol=1e-3)
    np.testing.assert_allclose(ahead.visible, alone.visible, atol=1e-4)

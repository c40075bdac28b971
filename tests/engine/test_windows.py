"""The window driver, with a model that says which window answered and what it saw."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import pytest
import torch
from torch import Tensor

from tapkit.engine.driver import DriverResult
from tapkit.engine.windows import WindowDriver
from tapkit.models.base import Prediction


class Seen(NamedTuple):
    value: Tensor


class State(NamedTuple):
    carried: Tensor


class Windowed:
    """x = the frame's first pixel, y = the window's first frame; visible counts the windows a point has been in."""

    window, stride = 6, 3
    device = torch.device("cpu")

    def __init__(self) -> None:
        self.encoded: list[int] = []
        self.windows: list[list[int]] = []

    def to(self, device: Any) -> Self:
        return self

    def encode(self, frames: Tensor) -> Seen:
        self.encoded += frames[:, 0, 0, 0].tolist()
        return Seen(frames[:, 0, :1, 0].float())

    def start(self, size: tuple[int, int]) -> State:
        return State(torch.zeros(0))

    def step(self, state: State, features: Seen, first: int, queries: Tensor) -> tuple[State, Prediction]:
        self.windows.append(features.value[:, 0].int().tolist())
        counts = torch.cat([state.carried, torch.zeros(len(queries) - len(state.carried))]) + 1
        x = features.value[:, 0].expand(len(queries), -1)
        visible = counts[:, None].expand(-1, self.window)
        return State(counts), Prediction(torch.stack([x, torch.full_like(x, first)], -1), visible, visible)

    def select(self, state: State, rows: Tensor) -> State:
        return State(state.carried[rows])


def frame(index: int) -> Tensor:
    return torch.full((3, 4, 4), index, dtype=torch.uint8)


def rows(*t: int) -> Tensor:
    return torch.tensor([[float(value), 1.0, 2.0] for value in t])


def run(driver: WindowDriver, start: int, stop: int) -> list[DriverResult]:
    return [result for index in range(start, stop) for result in driver.step(index, frame(index))]


def answers(results: list[DriverResult], final: bool = True) -> dict[tuple[int, int], tuple[float, float]]:
    """(key, frame) -> (x, y), refusing two final answers for the same."""
    found: dict[tuple[int, int], tuple[float, float]] = {}
    for result in results:
        for key, xy in zip(result.keys.tolist(), result.prediction.xy.tolist(), strict=True):
            if result.final == final:
                assert not final or (key, result.frame) not in found
                found[key, result.frame] = (xy[0], xy[1])
    return found


@pytest.mark.parametrize("frames", [1, 2, 5, 6, 7, 9, 10, 14])
def test_every_frame_is_encoded_once_and_answered_finally_once(frames: int) -> None:
    model = Windowed()
    driver = WindowDriver(model, (4, 4))
    driver.add(torch.tensor([5]), rows(0))
    found = answers(run(driver, 0, frames) + driver.finish())
    assert model.encoded == list(range(frames))
    assert sorted(found) == [(5, index) for index in range(frames)]
    assert [found[5, index][0] for index in range(frames)] == list(range(frames))


def test_a_frame_is_answered_by_the_last_window_that_sees_it() -> None:
    driver = WindowDriver(Windowed(), (4, 4))
    driver.add(torch.tensor([0]), rows(0))
    found = answers(run(driver, 0, 11) + driver.finish())
    assert [found[0, index][1] for index in range(11)] == [0, 0, 0, 3, 3, 3, 6, 6, 6, 6, 6]


def test_a_clip_that_ends_within_a_window_goes_on_with_its_last_frame() -> None:
    model = Windowed()
    driver = WindowDriver(model, (4, 4))
    driver.add(torch.tensor([0]), rows(0))
    run(driver, 0, 8)
    driver.finish()
    assert model.windows == [[0, 1, 2, 3, 4, 5], [3, 4, 5, 6, 7, 7]]


def test_the_overlap_is_answered_provisionally_first() -> None:
    driver = WindowDriver(Windowed(), (4, 4))
    driver.add(torch.tensor([0]), rows(0))
    results = run(driver, 0, 6)
    assert [result.frame for result in results if result.final] == [0, 1, 2]
    assert [result.frame for result in results if not result.final] == [3, 4, 5]


def test_a_point_is_not_answered_before_its_query() -> None:
    driver = WindowDriver(Windowed(), (4, 4))
    driver.add(torch.tensor([0, 1]), rows(0, 4))
    found = answers(run(driver, 0, 9) + driver.finish())
    assert [index for key, index in found if key == 1] == [4, 5, 6, 7, 8]


def test_points_join_on_frames_that_are_still_held() -> None:
    driver = WindowDriver(Windowed(), (4, 4))
    driver.add(torch.tensor([0]), rows(0))
    results = run(driver, 0, 7)
    assert driver.earliest == 3
    driver.add(torch.tensor([9]), rows(3))
    results += run(driver, 7, 9) + driver.finish()
    assert sorted(index for key, index in answers(results) if key == 9) == [3, 4, 5, 6, 7, 8]


def test_a_point_added_after_the_last_window_is_answered_at_the_end_and_others_keep_their_answer() -> None:
    driver = WindowDriver(Windowed(), (4, 4))
    driver.add(torch.tensor([0]), rows(0))
    results = run(driver, 0, 6)
    driver.add(torch.tensor([1]), rows(4))
    found = answers(results + driver.finish())
    assert sorted(index for key, index in found if key == 1) == [4, 5]
    assert found[0, 5] == (5, 0)  # from the full window, not from the padded one
    assert found[1, 5] == (5, 3)


def test_removed_points_are_answered_no_more_and_others_keep_their_state() -> None:
    driver = WindowDriver(Windowed(), (4, 4))
    driver.add(torch.tensor([0, 1, 2]), rows(0, 0, 8))
    run(driver, 0, 6)
    driver.remove(torch.tensor([0]))
    results = run(driver, 6, 9)
    assert {key for result in results for key in result.keys.tolist()} == {1, 2}
    visible = {int(k): float(v) for r in results for k, v in zip(r.keys, r.prediction.visible, strict=True)}
    assert visible == {1: 2.0, 2: 1.0 + 1.0}  # both were rows of two windows


def test_removing_everybody_leaves_a_driver_that_takes_new_points() -> None:
    driver = WindowDriver(Windowed(), (4, 4))
    driver.add(torch.tensor([0]), rows(0))
    run(driver, 0, 6)
    driver.remove(torch.tensor([0]))
    driver.add(torch.tensor([1]), rows(4))
    found = answers(run(driver, 6, 9) + driver.finish())
    assert sorted(found) == [(1, index) for index in range(4, 9)]


def test_without_points_nothing_is_said() -> None:
    driver = WindowDriver(Windowed(), (4, 4))
    assert run(driver, 0, 8) + driver.finish() == []
    assert WindowDriver(Windowed(), (4, 4)).finish() == []


@pytest.mark.parametrize("stop", [0, 3, 6, 7])
def test_a_restored_driver_goes_on_as_the_first_would_have(stop: int) -> None:
    def begin() -> WindowDriver:
        driver = WindowDriver(Windowed(), (4, 4))
        driver.add(torch.tensor([0, 1]), rows(0, 4))
        return driver

    whole = begin()
    expected = run(whole, 0, 10) + whole.finish()
    first = begin()
    results = run(first, 0, stop)
    second = WindowDriver(Windowed(), (4, 4))
    second.restore({name: part.clone() for name, part in first.snapshot().items()})
    results += run(second, stop, 10) + second.finish()
    assert answers(results) == answers(expected)


class MovedBack(Windowed):
    """The same, whose last window ends with the clip; it notes how long the clip was said to be."""

    told: int | None = None

    def expect_frames(self, state: State, frames: int) -> State:
        self.told = frames
        return state


@pytest.mark.parametrize("frames", [1, 2, 5, 6, 7, 8, 9, 10, 14])
def test_a_last_window_that_is_moved_back_ends_with_the_clip(frames: int) -> None:
    """Each frame is final once, answered by the last window that sees it; none is final too early to be so."""
    model = MovedBack()
    driver = WindowDriver(model, (4, 4), frames=frames)
    driver.add(torch.tensor([5]), rows(0))
    found = answers(run(driver, 0, frames) + driver.finish())
    starts = [first for first in range(0, frames, 3) if first + 6 <= frames] or [0]
    if frames > starts[-1] + 6:
        starts.append(frames - 6)
    assert model.told == frames and model.encoded == list(range(frames))
    assert [window[0] for window in model.windows] == starts
    last = {index: max(first for first in starts if first <= index) for index in range(frames)}
    assert found == {(5, index): (float(index), float(last[index])) for index in range(frames)}


def test_a_frame_is_final_when_no_window_can_be_moved_onto_it() -> None:
    """Window 0..5: frame 0 is final with frame 5, frame 1 with frame 7 (the clip might have ended with frame 6)."""
    driver = WindowDriver(MovedBack(), (4, 4))
    driver.add(torch.tensor([0]), rows(0))
    final = [[r.frame for r in driver.step(index, frame(index)) if r.final] for index in range(10)]
    assert final == [[], [], [], [], [], [0], [], [1], [2, 3], []]


@pytest.mark.parametrize("cut", [3, 6, 7, 8, 10])
def test_a_driver_that_moves_back_goes_on_from_a_snapshot(cut: int) -> None:
    """Also with a point that joined after the last window."""
    whole = WindowDriver(MovedBack(), (4, 4))
    whole.add(torch.tensor([0]), rows(0))
    run(whole, 0, cut)
    late = rows(max(whole.earliest, cut - 1))
    whole.add(torch.tensor([1]), late)
    restored = WindowDriver(MovedBack(), (4, 4))
    restored.restore({name: part.clone() for name, part in whole.snapshot().items()})
    theirs, ours = (answers(run(one, cut, 11) + one.finish()) for one in (whole, restored))
    assert ours == theirs
    assert sorted(index for key, index in theirs if key == 1) == list(range(int(late[0, 0]), 11))


def test_a_point_added_after_the_last_window_is_answered_by_one_that_is_moved_back() -> None:
    driver = WindowDriver(MovedBack(), (4, 4))
    driver.add(torch.tensor([0]), rows(0))
    run(driver, 0, 6)
    driver.add(torch.tensor([1]), rows(4))
    found = answers(driver.finish())
    assert sorted(found) == [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (1, 4), (1, 5)]

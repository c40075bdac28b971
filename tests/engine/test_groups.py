"""Windows that begin on the queries' frames, with a model that says which window answered and what it saw."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import pytest
import torch
from torch import Tensor

from tapkit.engine.driver import DriverResult, driver_of
from tapkit.engine.groups import GroupDriver
from tapkit.engine.windows import WindowDriver
from tapkit.errors import MemoryBudgetError, UsageError
from tapkit.models.base import Prediction
from tapkit.types import ModelCard

CARD = ModelCard(
    id="begins", name="", paper="", paper_url="", code_licence="", weights_licence="", commercial=True, factory="",
    streaming="window", latency=5, uses_past=False,
)  # fmt: skip


class Seen(NamedTuple):
    value: Tensor


class State(NamedTuple):
    windows: Tensor


class Begins:
    """x = the frame's first pixel, y = the window's first frame; visible counts the windows of the group."""

    window, stride = 6, 3
    begins_on_queries = True
    device = torch.device("cpu")
    card = CARD

    def __init__(self) -> None:
        self.encoded: list[int] = []
        self.windows: list[tuple[int, list[int]]] = []

    def to(self, device: Any) -> Self:
        return self

    def encode(self, frames: Tensor) -> Seen:
        self.encoded += frames[:, 0, 0, 0].tolist()
        return Seen(frames[:, 0, :1, 0].float())

    def start(self, size: tuple[int, int]) -> State:
        return State(torch.zeros(0))

    def step(self, state: State, features: Seen, first: int, queries: Tensor) -> tuple[State, Prediction]:
        assert len(queries[:, 0].unique()) == 1, "points of several frames in one call"
        self.windows.append((int(queries[0, 0]), features.value[:, 0].int().tolist()))
        counts = torch.cat([state.windows, torch.zeros(len(queries) - len(state.windows))]) + 1
        x = features.value[:, 0].expand(len(queries), -1)
        visible = counts[:, None].expand_as(x)
        return State(counts), Prediction(torch.stack([x, torch.full_like(x, first)], -1), visible, visible)

    def select(self, state: State, rows: Tensor) -> State:
        return State(state.windows[rows])

    def frame_bytes(self, size: tuple[int, int]) -> int:
        return 100

    def point_bytes(self, size: tuple[int, int]) -> int:
        return 10


def frame(index: int) -> Tensor:
    return torch.full((3, 4, 4), index, dtype=torch.uint8)


def rows(*t: int) -> Tensor:
    return torch.tensor([[float(value), 1.0, 2.0] for value in t])


def final(results: list[DriverResult]) -> list[tuple[int, list[int]]]:
    return [(result.frame, result.keys.tolist()) for result in results if result.final]


def drive(driver: GroupDriver, frames: range) -> list[DriverResult]:
    return [result for index in frames for result in driver.step(index, frame(index))]


def test_a_named_ability_chooses_the_driver() -> None:
    model: Any = Begins()
    assert driver_of(model) is GroupDriver
    other: Any = type("Other", (), {"card": CARD})()
    assert driver_of(other) is WindowDriver


def test_each_group_has_its_own_windows_and_frames_are_encoded_once() -> None:
    model = Begins()
    driver = GroupDriver(model, (4, 4))
    driver.add(torch.arange(3), rows(0, 2, 0))
    results = drive(driver, range(10)) + driver.finish()
    assert model.encoded == list(range(10))
    assert model.windows == [
        (0, [0, 1, 2, 3, 4, 5]),
        (2, [2, 3, 4, 5, 6, 7]),
        (0, [3, 4, 5, 6, 7, 8]),
        (2, [5, 6, 7, 8, 9]),  # cut short by the clip's end: handed over as it is
        (0, [6, 7, 8, 9]),
    ]
    said = {(r.frame, key): r.prediction.xy[i].tolist() for r in results if r.final for i, key in enumerate(r.keys)}
    said = {(t, int(key)): value for (t, key), value in said.items()}
    assert said.keys() == {(t, key) for key, begin in ((0, 0), (1, 2), (2, 0)) for t in range(begin, 10)}
    assert [said[t, 0] for t in range(10)] == [[t, first] for t, first in enumerate([0] * 3 + [3] * 3 + [6] * 4)]
    assert [said[t, 1] for t in range(2, 10)] == [[t, first] for t, first in enumerate([2] * 3 + [5] * 5, 2)]


def test_final_answers_come_in_order_however_the_groups_are_out_of_step() -> None:
    driver = GroupDriver(Begins(), (4, 4))
    driver.add(torch.arange(3), rows(1, 0, 5))
    frames = [t for t, _ in final(drive(driver, range(12)) + driver.finish())]
    assert frames == sorted(set(frames)) == list(range(12))


def test_what_waits_for_another_group_is_told_provisionally_and_then_for_good() -> None:
    driver = GroupDriver(Begins(), (4, 4))
    driver.add(torch.arange(2), rows(0, 2))
    drive(driver, range(5))
    results = driver.step(5, frame(5))
    assert final(results) == [(0, [0]), (1, [0])]  # the second point's answer for frame 2 is still owed
    assert [(r.frame, r.keys.tolist()) for r in results if not r.final] == [(t, [0]) for t in (2, 3, 4, 5)]
    driver.step(6, frame(6))
    assert final(driver.step(7, frame(7))) == [(2, [0, 1])]


def test_points_may_begin_on_frames_that_are_held_and_not_yet_answered() -> None:
    driver = GroupDriver(Begins(), (4, 4))
    assert driver.earliest == 0
    drive(driver, range(9))
    assert driver.earliest == 4  # no points: as many frames as a window needs with the next one
    driver.add(torch.tensor([0]), rows(4))
    drive(driver, range(9, 10))
    assert driver.earliest == 7  # frames 4 to 6 are answered
    driver.add(torch.tensor([1]), rows(7))
    results = drive(driver, range(10, 14)) + driver.finish()
    assert [t for t, keys in final(results) if 1 in keys] == list(range(7, 14))


def test_removed_points_are_not_answered_not_even_what_waited() -> None:
    driver = GroupDriver(Begins(), (4, 4))
    driver.add(torch.arange(3), rows(0, 2, 0))
    drive(driver, range(6))  # frame 2 of the first group waits for the second
    driver.remove(torch.tensor([0, 1]))
    results = drive(driver, range(6, 10)) + driver.finish()
    assert {key for _, keys in final(results) for key in keys} == {2}
    assert [t for t, _ in final(results)] == list(range(2, 10))


@pytest.mark.parametrize("cut", [1, 5, 6, 8, 9])
def test_a_saved_state_goes_on_as_if_nothing_had_happened(cut: int) -> None:
    whole, saved = GroupDriver(Begins(), (4, 4)), GroupDriver(Begins(), (4, 4))
    for driver in (whole, saved):
        driver.add(torch.arange(3), rows(0, 2, 8))
        drive(driver, range(cut))
    other = GroupDriver(Begins(), (4, 4))
    other.restore({name: part.clone() for name, part in saved.snapshot().items()})
    assert other.earliest == whole.earliest
    ours, theirs = ([*drive(one, range(cut, 13)), *one.finish()] for one in (other, whole))
    assert len(ours) == len(theirs) > 0
    for one, expected in zip(ours, theirs, strict=True):
        assert (one.frame, one.final, one.keys.tolist()) == (expected.frame, expected.final, expected.keys.tolist())
        for part, wanted in zip(one.prediction, expected.prediction, strict=True):
            assert torch.equal(part, wanted)


def test_a_window_and_the_points_share_the_budget() -> None:
    model: Any = Begins()
    assert GroupDriver.points_at_once(model, (4, 4), None, 50) == 50
    assert GroupDriver.points_at_once(model, (4, 4), 800, 50) == 20
    with pytest.raises(MemoryBudgetError, match="too small"):
        GroupDriver.points_at_once(model, (4, 4), 600, 50)


def test_an_unknown_kind_is_refused_in_one_sentence() -> None:
    other: Any = type("Other", (), {"card": type("Card", (), {"streaming": "backwards"})()})()
    with pytest.raises(UsageError, match="no way to run a tracker of kind 'backwards'"):
        driver_of(other)

"""The clip driver, with a model whose points know how many others were tracked with them."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from tapkit.engine.clip import ClipDriver
from tapkit.engine.driver import DriverResult
from tapkit.errors import MemoryBudgetError
from tapkit.models.base import Prediction


class Seen(NamedTuple):
    value: Tensor
    pair: tuple[Tensor, Tensor]


class Clipped:
    """x = the frame's first pixel, y = the query's y; visible = number of points tracked together."""

    device = torch.device("cpu")

    def encode(self, frames: Tensor) -> Seen:
        value = frames[:, 0, :1, 0].float()
        return Seen(value, (value + 1, value + 2))

    def track(self, features: Seen, size: tuple[int, int], queries: Tensor) -> Prediction:
        assert torch.equal(features.pair[1], features.value + 2)
        x = features.value[:, 0].expand(len(queries), -1)
        together = torch.full_like(x, len(queries))
        return Prediction(torch.stack([x, queries[:, 2:].expand_as(x)], -1), together, together)

    def point_bytes(self, frames: int, size: tuple[int, int]) -> int:
        return 10 * frames

    def frame_bytes(self, size: tuple[int, int]) -> int:
        return 100


def frame(index: int) -> Tensor:
    return torch.full((3, 2, 2), index, dtype=torch.uint8)


def run(driver: ClipDriver, frames: range) -> list[DriverResult]:
    for index in frames:
        assert driver.step(index, frame(index)) == []
    return driver.finish()


def points(*y: float) -> tuple[Tensor, Tensor]:
    return torch.arange(len(y)), torch.tensor([[1.0, 0.0, value] for value in y])


@pytest.mark.parametrize("frames", [1, 64, 65, 150])
def test_all_frames_are_answered_at_the_end_however_many_blocks_they_took(frames: int) -> None:
    driver = ClipDriver(Clipped(), (2, 2))
    driver.add(*points(3.0, 4.0))
    results = run(driver, range(frames))
    assert [result.frame for result in results] == list(range(frames))
    assert all(result.final and result.keys.tolist() == [0, 1] for result in results)
    assert [result.prediction.xy[0, 0].item() for result in results] == [index % 256 for index in range(frames)]
    assert results[0].prediction.xy[:, 1].tolist() == [3.0, 4.0]


def test_a_budget_splits_the_points_into_spread_groups_and_keeps_their_order() -> None:
    driver = ClipDriver(Clipped(), (2, 2), budget=10 * 100 + 2 * 100)
    driver.add(*points(1.0, 2.0, 3.0, 4.0, 5.0))
    results = run(driver, range(10))
    assert results[4].prediction.visible.tolist() == [2, 2, 1, 2, 2]  # points 0 and 3, 1 and 4, 2
    assert results[4].prediction.xy[:, 1].tolist() == [1, 2, 3, 4, 5]


def test_a_budget_too_small_for_one_point_is_refused() -> None:
    driver = ClipDriver(Clipped(), (2, 2), budget=1050)
    driver.add(*points(1.0))
    with pytest.raises(MemoryBudgetError, match="single point"):
        run(driver, range(10))


def test_removed_points_and_empty_clips_are_not_answered() -> None:
    driver = ClipDriver(Clipped(), (2, 2))
    driver.add(*points(1.0, 2.0))
    driver.remove(torch.tensor([0]))
    assert {tuple(result.keys.tolist()) for result in run(driver, range(3))} == {(1,)}
    empty = ClipDriver(Clipped(), (2, 2))
    empty.add(*points(1.0))
    assert empty.finish() == []


def test_points_may_be_added_on_any_frame_until_the_end() -> None:
    driver = ClipDriver(Clipped(), (2, 2))
    driver.step(0, frame(0))
    assert driver.earliest == 0
    driver.add(*points(7.0))
    assert [result.prediction.xy[0, 1].item() for result in run(driver, range(1, 4))] == [7.0] * 4


@pytest.mark.parametrize("stop", [0, 3, 70])
def test_a_restored_driver_goes_on_as_the_first_would_have(stop: int) -> None:
    first = ClipDriver(Clipped(), (2, 2))
    first.add(*points(3.0))
    for index in range(stop):
        first.step(index, frame(index))
    second = ClipDriver(Clipped(), (2, 2))
    second.restore({name: part.clone() for name, part in first.snapshot().items()})
    results = run(second, range(stop, 80))
    assert [result.prediction.xy[0, 0].item() for result in results] == list(range(80))

"""Corrections in sessions whose answers come later: each frame is answered by the anchor that holds there."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
import pytest
import torch
from torch import Tensor

from tapkit.engine.tracker import Tracker
from tapkit.models.base import Prediction
from tapkit.sinks import MemoryTable
from tapkit.types import ModelCard, Queries, VideoInfo

INFO = VideoInfo(8, 8, frames=20)
IMAGE = np.zeros((8, 8, 3), np.uint8)


def card(kind: str, **facts: Any) -> ModelCard:
    return ModelCard("toy", "", "", "", "", "", True, "", streaming=kind, **facts)  # type: ignore[arg-type]


class Features(NamedTuple):
    value: Tensor


class State(NamedTuple):
    count: Tensor


class Base:
    """Points stay where they were asked for."""

    device, options = torch.device("cpu"), {}

    def to(self, device: Any) -> Self:
        return self

    def frame_size(self, size: Any) -> None:
        return None

    def encode(self, frames: Tensor) -> Features:
        return Features(torch.zeros(len(frames), 1))

    def frame_bytes(self, size: Any) -> int:
        return 1


def stay(queries: Tensor, frames: int) -> Prediction:
    ones = torch.full((len(queries), frames), 0.5)
    return Prediction(queries[:, None, 1:].expand(-1, frames, -1), ones, ones)


class Windowed(Base):
    card = card("window", latency=5)
    window, stride = 6, 3

    def point_bytes(self, size: Any) -> int:
        return 1

    def start(self, size: Any) -> State:
        return State(torch.zeros(0))

    def step(self, state: State, features: Features, first: int, queries: Tensor) -> tuple[State, Prediction]:
        return State(torch.zeros(len(queries))), stay(queries, self.window)

    def select(self, state: State, rows: Tensor) -> State:
        return State(state.count[rows])


class Clipped(Base):
    def __init__(self, bidirectional: bool) -> None:
        self.card = card("offline", latency=-1, bidirectional=bidirectional)

    def point_bytes(self, frames: int, size: Any) -> int:
        return 1

    def track(self, features: Features, size: Any, queries: Tensor) -> Prediction:
        return stay(queries, len(features.value))


@pytest.mark.parametrize("model", [Windowed(), Clipped(True), Clipped(False)], ids=["window", "both ways", "forward"])
@pytest.mark.parametrize("ahead", [0, 4])
def test_each_frame_is_answered_once_by_the_anchor_that_holds_there(model: Any, ahead: int) -> None:
    session, table, given = Tracker(model).start(INFO, [(1, 1.0, 1.0), (0, 2.0, 2.0)]), MemoryTable(), []

    def take(results) -> None:
        for result in results:
            given.extend((int(row), result.frame) for row in result.rows)
            table.result(result)

    for t in range(20):
        take(session.step(IMAGE))
        if t == 10:
            at = max(session.earliest, t - 3) + ahead
            session.correct(Queries.at(at, [(5.0, 6.0)], ["0"]))
    take(session.finish())
    assert len(set(given)) == len(given)
    block = table.points(slice(0, 2))
    first = 0 if model.card.bidirectional else 1
    assert block["valid"][0].tolist() == [t >= first for t in range(20)] and block["valid"][1].all()
    assert block["xy"][0, first:at, 0].tolist() == [1.0] * (at - first)
    assert block["xy"][0, at:, 0].tolist() == [5.0] * (20 - at)
    assert (block["xy"][1] == 2.0).all()
    assert np.argwhere(block["keyframe"]).tolist() == [[0, at]]
    assert block["visible"][0, at] == 1.0


def test_a_saved_session_remembers_corrections() -> None:
    first = Tracker(Windowed()).start(INFO, [(0, 1.0, 1.0)])
    for _ in range(8):
        first.step(IMAGE)
    first.correct(Queries.at(9, [(5.0, 6.0)], ["0"]))
    second = Tracker(Windowed()).start(INFO)
    second.load_state_dict(first.state_dict())
    results = [[], []]
    for which, session in enumerate((first, second)):
        for _ in range(12):
            results[which] += session.step(IMAGE)
        results[which] += session.finish()
    assert len(results[0]) == len(results[1]) > 10
    for ours, theirs in zip(*results, strict=True):
        assert ours.frame == theirs.frame and ours.ids.tolist() == theirs.ids.tolist()
        np.testing.assert_array_equal(ours.xy, theirs.xy)

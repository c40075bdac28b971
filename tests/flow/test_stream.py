"""The flow of a whole video: which pairs, features computed once, any model's size brought back to the video's."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import tapkit
from tapkit.errors import UsageError
from tapkit.flow.base import Flow
from tapkit.flow.known import build_flow, flow_card, flow_cards
from tapkit.flow.stream import Pairs, flows
from tapkit.video import open_video


class Mean(NamedTuple):
    value: torch.Tensor


class Counting:
    """A flow model at half the size, whose flow is the difference of two frames' means."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.encoded: list[float] = []
        self.pairs: list[tuple[float, float]] = []

    def frame_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return size[0] // 2, size[1] // 4

    def encode(self, frames: torch.Tensor) -> Mean:
        mean = frames.float().mean((1, 2, 3))
        self.encoded += mean.tolist()
        return Mean(mean)

    def flow(self, first: Mean, second: Mean, size: tuple[int, int]) -> Flow:
        self.pairs += [(first.value.item(), second.value.item())]
        change = (second.value - first.value)[:, None, None, None].expand(-1, 2, *size)
        return Flow(change, change[:, 0] / 100)


def clip(frames: int = 6) -> np.ndarray:
    return np.repeat(np.arange(frames, dtype=np.uint8), 8 * 16 * 3).reshape(frames, 8, 16, 3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("next", [(0, 1), (1, 2), (2, 3)]),
        ("previous", [(1, 0), (2, 1), (3, 2)]),
        ("first", [(0, 1), (0, 2), (0, 3)]),
        ("step:2", [(0, 2), (1, 3)]),
        ("step:-3", [(3, 0)]),
        ("all:2", [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)]),
    ],
)
def test_pairs_come_with_their_later_frame_and_every_frame_is_encoded_once(text: str, expected: Any) -> None:
    model = Counting()
    with open_video(clip(4)) as source:
        found = list(flows(model, source, Pairs.of(text)))  # type: ignore[arg-type]
    assert [pair[:2] for pair in found] == expected
    assert len(model.encoded) == len(set(model.encoded)) == len({i for pair in expected for i in pair})
    assert model.pairs == [(float(a), float(b)) for a, b in expected]
    for pair in found:  # the model saw half the height and a quarter of the width
        assert pair.xy.shape == (8, 16, 2) and pair.xy.dtype == np.float32
        assert np.allclose(pair.xy, (pair.second - pair.first) * np.array([4.0, 2.0]))
        assert pair.occlusion is not None and np.allclose(pair.occlusion, (pair.second - pair.first) / 100)
        assert pair.uncertainty is None


def test_pairs_not_wanted_cost_nothing() -> None:
    model = Counting()
    with open_video(clip()) as source:
        found = list(flows(model, source, Pairs.of("next"), lambda first, second: first == 3))  # type: ignore[arg-type]
    assert [pair[:2] for pair in found] == [(3, 4)]
    assert model.encoded == [3.0, 4.0]


@pytest.mark.parametrize("text", ["", "nexts", "all", "all:0", "all:-2", "step:0", "step:x", "first:2"])
def test_pairs_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="pairs are"):
        Pairs.of(text)


def test_the_api_streams_a_clip_and_takes_two_images(panning: np.ndarray) -> None:
    found = list(tapkit.flow(panning, device="cpu"))
    assert [pair[:2] for pair in found] == [(t, t + 1) for t in range(11)]
    assert np.abs(np.median(found[4].xy, (0, 1)) - (-2, -1)).max() < 0.05
    single = tapkit.flow((panning[4], panning[5]), device="cpu")
    assert np.array_equal(single.xy, found[4].xy)
    assert list(tapkit.flow(panning[:1], device="cpu")) == []


def test_bad_requests_are_told_apart(panning: np.ndarray) -> None:
    with pytest.raises(UsageError, match="same size"):
        tapkit.flow((panning[0], panning[1, :-4]))
    with pytest.raises(UsageError, match="did you mean 'raft-small'"):
        tapkit.flow(panning, model="raft_small")
    with pytest.raises(UsageError, match="dis has no option 'presets'"):
        tapkit.flow(panning, presets="fast")
    with pytest.raises(UsageError, match="flow-chain with flow=dis"):
        tapkit.load("dis")


def test_the_package_is_the_function_and_still_a_package() -> None:
    import tapkit.flow.known as known

    assert known.flow_card is flow_card
    assert callable(tapkit.flow)


def test_flow_models_are_pairwise_and_can_be_built() -> None:
    assert {"dis", "raft-large", "raft-small"} <= set(flow_cards())
    assert all(card.streaming == "pairwise" for card in flow_cards().values())
    assert build_flow("dis", preset="fast").options == {"preset": "fast"}

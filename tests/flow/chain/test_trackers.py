"""Chained and direct flow: where points go, when they are hidden, and what is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import tapkit
from tapkit.errors import UsageError
from tapkit.flow.chain.chained import build as build_chain
from tapkit.flow.chain.direct import build as build_direct
from tapkit.types import VideoInfo

KINDS = [("flow-chain", "frame"), ("flow-chain", "local"), ("flow-chain", "cycle"), ("flow-direct", "frame"),
         ("flow-direct", "cycle")]  # fmt: skip


@pytest.mark.parametrize(("model", "occlusion"), KINDS)
def test_a_pan_is_followed_both_ways_until_points_leave(model: str, occlusion: str, panning: np.ndarray) -> None:
    queries = [(0, 80.5, 60.25), (5, 70.0, 50.0), (11, 100.0, 90.0), (0, 9.0, 60.0)]
    tracks = tapkit.track(panning, queries=queries, model=model, occlusion=occlusion, device="cpu")
    for row, (t, x, y) in enumerate(queries[:3]):
        expected = np.array([x, y]) + (np.arange(12) - t)[:, None] * (-2.0, -1.0)
        assert np.abs(tracks.xy[row] - expected).max() < 0.3
        assert tracks.visible[row].min() > 0.6
    assert tracks.visible[3, :4].min() > 0.6 and tracks.visible[3, -1] == 0  # at x = 9 - 22
    assert tracks.xy[1, 5].tolist() == [70.0, 50.0]


def test_what_is_covered_is_hidden_by_the_check_and_not_without_it(covered: np.ndarray) -> None:
    point = [(0, 100.0, 60.0)]  # covered while the square's 48 pixels pass: frames 7 to 12
    found = {
        occlusion: tapkit.track(covered, queries=point, model="flow-chain", occlusion=occlusion, device="cpu")
        for occlusion in ("frame", "local")
    }
    assert found["frame"].visible[0, :12].min() == 1  # carried off by the square
    assert found["local"].visible[0, :6].min() > 0.9 and found["local"].visible[0, 7:13].min() < 0.5


def test_memory_of_a_session_ends_with_the_points_that_needed_it() -> None:
    rng = np.random.default_rng(0)
    for build, parts in ((build_direct, lambda s: len(s.guess) - 1), (build_chain, lambda s: len(s.home))):
        model: Any = build(occlusion="cycle")
        state = model.start((64, 80))
        for t in range(4):
            frame = torch.from_numpy(rng.integers(0, 255, (3, 64, 80), dtype=np.uint8))
            state, prediction = model.step(state, frame, torch.tensor([[10.0 + t, 20.0], [30.0, 40.0]]))
        assert parts(state) == 4 and prediction.xy.shape == (8, 2)
        state = model.select(state, torch.tensor([7, 2]))
        assert parts(state) == 2
        after, prediction = model.step(state, torch.zeros(3, 64, 80, dtype=torch.uint8), torch.zeros(0, 2))
        assert prediction.xy.shape == (2, 2) and prediction.xy.isfinite().all()
        none = model.select(after, torch.zeros(0, dtype=torch.long))
        assert parts(none) == 0


@pytest.mark.parametrize("model", ["flow-chain", "flow-direct"])
def test_points_join_a_running_session_and_a_saved_one_continues(model: str, panning: np.ndarray) -> None:
    tracker = tapkit.load(model, device="cpu", occlusion="cycle")
    info = VideoInfo(width=160, height=120)
    whole = tracker.start(info)
    whole.add([(0, 80.0, 60.0)])
    for frame in panning[:4]:
        whole.step(frame)
    whole.add([(4, 90.0, 70.0)])
    results = [whole.step(frame) for frame in panning[4:8]]
    assert np.abs(results[-1][-1].xy - [[66.0, 53.0], [84.0, 67.0]]).max() < 0.3


def test_features_do_not_depend_on_which_points_are_asked(panning: np.ndarray) -> None:
    both = tapkit.track(panning, queries=[(0, 80.0, 60.0), (3, 50.0, 40.0)], model="flow-direct", device="cpu")
    alone = tapkit.track(panning, queries=[(3, 50.0, 40.0)], model="flow-direct", device="cpu")
    assert np.array_equal(both.xy[1], alone.xy[0])


def test_any_flow_model_with_its_options(panning: np.ndarray) -> None:
    tracks = tapkit.track(
        panning[:3], queries=[(0, 80.0, 60.0)], model="flow-chain", device="cpu", flow_options={"preset": "fast"}
    )
    assert tracks.source.options["flow"] == "dis" and tracks.source.options["flow_options"] == {"preset": "fast"}
    with pytest.raises(UsageError, match="no flow model 'strand'"):
        tapkit.load("flow-chain", flow="strand")
    with pytest.raises(UsageError, match="flow-chain has no option 'flows'"):
        tapkit.load("flow-chain", flows="dis")
    with pytest.raises(UsageError, match="occlusion must be one of frame, cycle"):
        tapkit.load("flow-direct", occlusion="local")
    with pytest.raises(UsageError, match="threshold"):
        tapkit.load("flow-chain", threshold=0)
    with pytest.raises(UsageError, match="dis has no option 'iterations'"):
        tapkit.load("flow-chain", flow_options={"iterations": 2})


def test_one_frame_and_frames_of_eight_pixels() -> None:
    for model in ("flow-chain", "flow-direct"):
        one = tapkit.track(np.zeros((1, 20, 30, 3), np.uint8), queries=[(0, 5, 5)], model=model, device="cpu")
        assert one.xy.tolist() == [[[5.0, 5.0]]]
        tiny = np.random.default_rng(0).integers(0, 255, (4, 8, 8, 3), dtype=np.uint8)
        tracks = tapkit.track(tiny, queries=[(2, 4, 4)], model=model, device="cpu")
        assert np.isfinite(tracks.xy).all()

"""PIPs: checkpoint, chaining, coordinates, and independence of the points."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tapkit.errors import UsageError, WeightsError
from tapkit.models.pips.network import Features, Pips, Window, chain, next_start
from tapkit.models.pips.tracker import PipsModel, build
from tapkit.nn.packed import unpack

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))
from check_parity import shared_parity
from parity import Parity

needs_manifest = pytest.mark.skipif(not shared_parity().is_dir(), reason="no shared parity folder")


def clip(frames: int, height: int, width: int) -> torch.Tensor:
    """Random frames uint8 [T,3,h,w], smooth enough to be tracked in."""
    coarse = torch.rand(frames, 3, height // 8 + 1, width // 8 + 1, generator=torch.Generator().manual_seed(3)) * 255
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 255).to(torch.uint8)


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    """Weights drawn once; the last layer is small, so that points move by pixels and not by frames."""
    torch.manual_seed(0)
    state = Pips().state_dict()
    state["delta_block.to_delta.15.weight"] *= 0.1
    return state


@pytest.fixture(scope="module")
def model(weights: dict[str, torch.Tensor]) -> PipsModel:
    return build(weights, stride=8, iterations=2, input_size=(128, 160))


@pytest.fixture(scope="module")
def still(weights: dict[str, torch.Tensor]) -> PipsModel:
    """A model whose updates are zero."""
    zero = {name: torch.zeros_like(weights[name]) for name in weights if ".to_delta.15." in name}
    return build({**weights, **zero}, stride=8, iterations=1, input_size=(128, 160))


@pytest.fixture(scope="module")
def features(model: PipsModel) -> Features:
    return model.encode(clip(11, 64, 80))


SIZE = (64, 80)
QUERIES = torch.tensor([[0.0, 20.5, 30.25], [0, 70, 10], [3, 41, 33], [10, 5, 60], [0, 0, 0], [7, 80, 64], [1, 33, 7]])


@needs_manifest
def test_the_published_checkpoint_goes_in_and_comes_out_unchanged() -> None:
    state = Parity(shared_parity()).weights("pips")
    saved = build(state).network.state_dict()
    assert set(saved) == set(state)
    assert all(torch.equal(saved[name], state[name]) for name in state)


def test_weights_of_another_model_are_refused_by_name(weights: dict[str, torch.Tensor]) -> None:
    other = {name: tensor for name, tensor in weights.items() if not name.startswith("vis_predictor")}
    with pytest.raises(WeightsError, match=r"not weights of pips: it lacks vis_predictor\.0\.weight"):
        build(other)
    with pytest.raises(WeightsError, match=r"it has besides head\.weight"):
        build({**weights, "head.weight": torch.zeros(1)})


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UsageError, match="stride 4 or 8, got 16"):
        build(None, stride=16)
    with pytest.raises(UsageError, match="iterations must be at least 1"):
        build(None, iterations=0)


def test_frames_too_small_for_the_pyramid_are_refused(weights: dict[str, torch.Tensor]) -> None:
    small = build(weights, stride=4, input_size=None)
    with pytest.raises(UsageError, match="at least 64 pixels a side, got 80x48; set input_size"):
        small.encode(clip(1, 48, 80))
    assert build(weights, stride=4, input_size=(64, 64)).encode(clip(1, 3, 2)).level0.shape == (1, 16, 16, 128)


def test_a_frame_is_encoded_the_same_in_any_company(model: PipsModel) -> None:
    frames = clip(3, 64, 80)
    together, alone = model.encode(frames), model.encode(frames[1:2])
    assert all(torch.equal(a[1:2], b) for a, b in zip(together, alone, strict=True))


def test_points_do_not_depend_on_their_chunk(model: PipsModel, features: Features) -> None:
    whole = model.track(features, SIZE, QUERIES)
    for step in (1, 3):
        parts = [model.track(features, SIZE, part) for part in QUERIES.split(step)]
        for name in ("xy", "visible"):
            assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))


def test_points_without_updates_stay_where_they_were_asked(still: PipsModel) -> None:
    shifted = QUERIES + torch.tensor([0.0, 0.5, -0.5])
    found = still.track(still.encode(clip(11, 64, 80)), SIZE, shifted)
    expected = shifted[:, None, 1:].expand(-1, 11, -1)
    torch.testing.assert_close(found.xy, expected, atol=2e-5, rtol=0)


def test_the_network_is_asked_at_pixel_centres_of_the_resized_frame(
    still: PipsModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def window(levels: Features, frames: torch.Tensor, start: torch.Tensor, template: torch.Tensor) -> Window:
        seen.append((start, template))
        return Window(start[:, None].repeat(1, 8, 1), torch.zeros(len(start), 8), template)

    monkeypatch.setattr(still.network, "window", window)
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(20.0), indexing="ij")
    ramp = torch.stack([x, y], -1)[None].expand(8, -1, -1, -1)  # a map whose feature is the cell's position
    still.track(Features(ramp, ramp, ramp, ramp), SIZE, torch.tensor([[0.0, 20.5, 30.25]]))
    cells = torch.tensor([[(20.5 * 2 - 0.5) / 8, (30.25 * 2 - 0.5) / 8]])
    torch.testing.assert_close(seen[0][0], cells)
    torch.testing.assert_close(seen[0][1], cells)


@pytest.mark.parametrize("length", [1, 3, 8])
def test_clips_shorter_than_a_window_are_filled_with_their_last_frame(
    model: PipsModel, features: Features, length: int
) -> None:
    cut = Features(*(level[:length] for level in features))
    last = [level[length - 1 : length].expand(8, -1, -1, -1) for level in features]
    filled = Features(*(torch.cat([level[:length], more]) for level, more in zip(features, last, strict=True)))
    queries = QUERIES[QUERIES[:, 0] == 0]
    short, long = (model.track(some, SIZE, queries) for some in (cut, filled))
    assert torch.equal(short.xy, long.xy[:, :length])
    assert short.xy.isfinite().all() and short.visible.isfinite().all()


def test_no_points_give_an_empty_answer(model: PipsModel, features: Features) -> None:
    found = model.track(features, SIZE, torch.zeros(0, 3))
    assert [list(part.shape) for part in found] == [[0, 11, 2], [0, 11], [0, 11]]


def test_before_its_frame_a_point_repeats_its_query_and_is_not_visible(model: PipsModel, features: Features) -> None:
    found = model.track(features, SIZE, QUERIES)
    for row, (t, x, y) in enumerate(QUERIES.tolist()):
        past = slice(0, int(t) + 1)
        query = torch.tensor([[x, y]]).expand(int(t) + 1, -1)
        torch.testing.assert_close(found.xy[row, past], query, atol=2e-5, rtol=0)
        assert (found.visible[row, : int(t)] == 0).all()
        assert (found.visible[row, int(t) :] > 0).all()


def test_a_later_query_sees_what_the_cut_clip_shows(model: PipsModel, features: Features) -> None:
    whole = model.track(features, SIZE, QUERIES[2:3])
    cut = model.track(Features(*(level[3:] for level in features)), SIZE, QUERIES[2:3] - torch.tensor([3.0, 0, 0]))
    assert torch.equal(whole.xy[:, 3:], cut.xy)


def slow_next_start(visible: list[float]) -> int:
    """The released loop, frame by frame."""
    threshold, k = 0.9, 7
    while visible[k] <= threshold:
        k -= 1
        if k == 1:
            threshold -= 0.02
            k = 7
    return k


def test_the_next_window_starts_at_the_last_frame_that_is_trusted() -> None:
    visible = np.random.default_rng(0).uniform(0, 1, (300, 8)).astype(np.float32)
    visible[:20] = 0
    visible[20:40, 7] = 0.95
    logits = torch.logit(torch.from_numpy(visible).double())
    expected = [slow_next_start(row.tolist()) for row in logits.sigmoid().float()]
    assert next_start(logits).tolist() == expected
    assert set(expected) == {2, 3, 4, 5, 6, 7}


def test_not_a_number_does_not_hang_the_chain() -> None:
    assert next_start(torch.full((2, 8), float("nan"))).tolist() == [7, 7]


def test_windows_are_chained_and_keep_the_query_s_appearance(still: PipsModel, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def window(levels: Features, frames: torch.Tensor, start: torch.Tensor, template: torch.Tensor) -> Window:
        calls.append((frames[0].tolist(), start[0].tolist(), template[0, 0].item()))
        logits = torch.full((len(start), 8), -9.0)
        logits[:, 5] = 9.0
        return Window(start[:, None] + torch.arange(8.0)[None, :, None], logits, template)

    monkeypatch.setattr(still.network, "window", window)
    level = torch.arange(12.0).view(12, 1, 1, 1).expand(-1, 16, 20, 128)  # a frame's feature is its number
    result = chain(still.network, Features(level, level, level, level), torch.tensor([1]), torch.tensor([[2.0, 3.0]]))
    assert result.starts.tolist() == [[1, 6, 11]]
    assert [call[0] for call in calls] == [list(range(1, 9)), [6, 7, 8, 9, 10, 11, 11, 11], [11] * 8]
    assert [call[1] for call in calls] == [[2, 3], [7, 8], [12, 13]]
    assert [call[2] for call in calls] == [1, 1, 1]
    assert result.xy[0, :, 0].tolist() == [2, *range(2, 13)]


def test_packed_and_plain_weights_agree(weights: dict[str, torch.Tensor], features: Features) -> None:
    plain = build(weights, stride=8, iterations=2, input_size=(128, 160))
    unpack(plain.network)
    packed = build(weights, stride=8, iterations=2, input_size=(128, 160))
    found, expected = (some.track(features, SIZE, QUERIES) for some in (packed, plain))
    torch.testing.assert_close(found.xy, expected.xy, atol=1e-3, rtol=0)


def test_bfloat16_stays_near_and_answers_in_float32(weights: dict[str, torch.Tensor], features: Features) -> None:
    half = build(weights, precision="bfloat16", stride=8, iterations=1, input_size=(128, 160))
    full = build(weights, stride=8, iterations=1, input_size=(128, 160))
    encoded = half.encode(clip(11, 64, 80))
    assert encoded.level0.dtype == torch.bfloat16
    found, expected = half.track(encoded, SIZE, QUERIES), full.track(features, SIZE, QUERIES)
    assert found.xy.dtype == torch.float32
    assert (found.xy - expected.xy).abs().median() < 0.05 * (expected.xy - QUERIES[:, None, 1:]).abs().max()
    assert half.options["precision"] == "bfloat16"


def test_gradients_reach_every_weight_that_matters(weights: dict[str, torch.Tensor]) -> None:
    network = build(weights, stride=8, iterations=2, input_size=None).network.train().requires_grad_(True)
    levels = network.encode(clip(8, 128, 128))
    frames = torch.arange(8).expand(2, -1)
    result = network.window(levels, frames, torch.tensor([[5.0, 6.0], [9.0, 3.0]]))
    (result.xy.square().sum() + result.logits.sum()).backward()
    without = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert without == []
    assert network.fnet.conv3.weight.grad.abs().max() > 0

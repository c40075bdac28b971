"""PIPs++: checkpoint, windows, the network over time, coordinates, and independence of the points."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tapkit.errors import UsageError, WeightsError
from tapkit.models.pips.network import Features
from tapkit.models.pips.network2 import Pips2, Templates, TemporalConv, normed, padded, windows
from tapkit.models.pips.tracker2 import Pips2Model, build

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))
from check_parity import shared_parity
from parity import Parity

needs_manifest = pytest.mark.skipif(not shared_parity().is_dir(), reason="no shared parity folder")
SIZE = (64, 80)
OPTIONS = {"iterations": 2, "window": 8, "input_size": (128, 160)}
QUERIES = torch.tensor([[0.0, 20.5, 30.25], [0, 70, 10], [3, 41, 33], [12, 5, 60], [0, 0, 0], [7, 80, 64], [11, 33, 7]])


def clip(frames: int, height: int, width: int) -> torch.Tensor:
    """Random frames uint8 [T,3,h,w], smooth enough to be tracked in."""
    coarse = torch.rand(frames, 3, height // 8 + 1, width // 8 + 1, generator=torch.Generator().manual_seed(3)) * 255
    return F.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 255).to(torch.uint8)


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    """Weights drawn once."""
    torch.manual_seed(0)
    return Pips2().state_dict()


def moving_by(weights: dict[str, torch.Tensor], x: float, y: float) -> dict[str, torch.Tensor]:
    """Weights whose every update is (x, y) cells."""
    last = {"delta_block.dense.weight": torch.zeros(2, 1024), "delta_block.dense.bias": torch.tensor([x, y])}
    return {**weights, **last}


@pytest.fixture(scope="module")
def model(weights: dict[str, torch.Tensor]) -> Pips2Model:
    return build(weights, **OPTIONS)


@pytest.fixture(scope="module")
def features(model: Pips2Model) -> Features:
    return model.encode(clip(13, *SIZE))


@needs_manifest
def test_the_published_checkpoint_goes_in_and_comes_out_unchanged() -> None:
    state = Parity(shared_parity()).weights("pips2")
    saved = build(state).network.state_dict()
    assert set(saved) == set(state)
    assert all(torch.equal(saved[name], state[name]) for name in state)


def test_weights_of_another_model_are_refused_by_name(weights: dict[str, torch.Tensor]) -> None:
    other = {name: tensor for name, tensor in weights.items() if not name.startswith("norm")}
    with pytest.raises(WeightsError, match=r"not weights of pips2: it lacks norm\.weight, norm\.bias"):
        build(other)


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 1 iteration and windows of 2 frames, got 0 and 128"):
        build(None, iterations=0)
    with pytest.raises(UsageError, match="got 16 and 1"):
        build(None, window=1)


def test_frames_too_small_for_the_pyramid_are_refused(weights: dict[str, torch.Tensor]) -> None:
    with pytest.raises(UsageError, match="at least 128 pixels a side, got 160x120"):
        build(weights, input_size=None).encode(clip(1, 120, 160))


@pytest.mark.parametrize("length", [2, 3, 4, 7, 8])
def test_a_packed_convolution_over_time_is_the_plain_one(length: int) -> None:
    torch.manual_seed(1)
    conv, x = TemporalConv(48, 32), torch.randn(5, length, 48)
    expected = F.conv1d(x.transpose(1, 2), conv.weight, conv.bias, padding=1).transpose(1, 2)
    with torch.inference_mode():
        plain = conv.over(padded(x), length)
        conv.pack()
        found = conv.over(padded(x), length)
    torch.testing.assert_close(plain, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_moving_or_loading_a_packed_convolution_never_leaves_old_products() -> None:
    conv, x = TemporalConv(16, 16), torch.randn(2, 4, 16)
    conv.pack()
    conv.load_state_dict({"weight": torch.zeros(16, 16, 3), "bias": torch.ones(16)})
    assert torch.equal(conv.over(padded(x), 4), torch.ones(2, 4, 16))


@pytest.mark.parametrize("length", [2, 5, 12])
def test_the_norm_over_time_is_an_instance_norm_between_empty_frames(length: int) -> None:
    x = torch.randn(3, length, 20, generator=torch.Generator().manual_seed(2)) * 5 + 3
    expected = padded(F.relu(F.instance_norm(x.transpose(1, 2))).transpose(1, 2))
    with torch.no_grad():
        torch.testing.assert_close(normed(x), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(normed(x), expected)


@pytest.mark.parametrize(("length", "window"), [(2, 2), (3, 2), (8, 8), (9, 8), (50, 8), (300, 128), (5, 128)])
def test_windows_are_full_share_a_frame_and_cover_the_clip(length: int, window: int) -> None:
    spans = windows(length, window)
    assert spans[0][0] == 0 and spans[-1][1] == length
    assert all(end - begin == min(window, length) for begin, end in spans)
    shared = [before[1] - after[0] for before, after in pairwise(spans)]
    assert all(frames == 1 for frames in shared[:-1])
    assert all(frames >= 1 for frames in shared)


def test_points_do_not_depend_on_their_chunk(model: Pips2Model, features: Features) -> None:
    whole = model.track(features, SIZE, QUERIES)
    for step in (1, 3):
        parts = [model.track(features, SIZE, part).xy for part in QUERIES.split(step)]
        # Not bit by bit: kernels for other numbers of rows may sum in another order (they do on CPUs with AMX).
        torch.testing.assert_close(torch.cat(parts), whole.xy, atol=2e-3, rtol=0)


def test_points_without_updates_stay_where_they_were_asked(weights: dict[str, torch.Tensor]) -> None:
    still = build(moving_by(weights, 0, 0), **OPTIONS)
    shifted = QUERIES + torch.tensor([0.0, 0.5, -0.5])
    found = still.track(still.encode(clip(13, *SIZE)), SIZE, shifted)
    torch.testing.assert_close(found.xy, shifted[:, None, 1:].expand(-1, 13, -1), atol=2e-5, rtol=0)


def test_updates_are_cells_of_the_resized_frame_and_later_windows_start_from_the_last(
    weights: dict[str, torch.Tensor], features: Features
) -> None:
    moving = build(moving_by(weights, 0.25, -0.5), **OPTIONS)
    found = moving.track(features, SIZE, torch.tensor([[0.0, 20, 40]])).xy[0]
    # 2 iterations of 0.25 cells of 8 pixels, in a frame that was enlarged twice: 2 px right, 4 px up in each window.
    step = torch.tensor([2.0, -4.0])
    start = torch.tensor([20.0, 40.0])
    torch.testing.assert_close(found[0], start)
    # The second window is moved back to frames 5..12, keeps frame 5 and overwrites the rest.
    torch.testing.assert_close(found[1:6], (start + step).expand(5, -1))
    torch.testing.assert_close(found[6:], (start + 2 * step).expand(7, -1))


def test_beautify_halves_the_updates_after_three_quarters(weights: dict[str, torch.Tensor], features: Features) -> None:
    state = moving_by(weights, 1.0, 0.0)
    network = build(state, iterations=5, beautify=True, input_size=(128, 160)).network
    frames = torch.arange(8)[None]
    steps, _ = network.iterate(features, frames, torch.full((1, 8, 2), 5.0))
    moved = [round(step.xy[0, 4, 0].item() - 5.0, 3) for step in steps]
    assert moved == [1.0, 2.0, 3.0, 4.0, 4.5]
    assert all(torch.equal(step.xy[:, 0], torch.full((1, 2), 5.0)) for step in steps)
    assert steps[0].free[0, 0].tolist() == [6.0, 5.0]


def test_the_query_s_appearance_is_kept_and_the_others_are_refreshed(
    weights: dict[str, torch.Tensor],
) -> None:
    network = build(moving_by(weights, 0, 0), iterations=2, input_size=(128, 160)).network
    level = torch.arange(13.0).view(13, 1, 1, 1).expand(-1, 16, 20, 128)  # a frame's feature is its number
    levels = Features(level, level, level, level)
    xy = torch.full((1, 6, 2), 5.0)
    _, first = network.iterate(levels, torch.arange(2, 8)[None], xy)
    assert first.query[0, :, 0].tolist() == [2.0] * 6
    assert first.before2[0, :, 0].tolist() == [2, 2, 2, 3, 4, 5]
    assert first.before4[0, :, 0].tolist() == [2, 2, 2, 2, 2, 3]
    given = Templates(*(torch.full((1, 6, 128), value) for value in (50.0, 60.0, 70.0)))
    _, second = network.iterate(levels, torch.arange(2, 8)[None], xy, given)
    assert second.query[0, :, 0].tolist() == [50.0] * 6
    assert torch.equal(second.before2, first.before2)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_short_clips_are_answered_without_padding(model: Pips2Model, features: Features, length: int) -> None:
    queries = QUERIES[QUERIES[:, 0] == 0]
    found = model.track(Features(*(level[:length] for level in features)), SIZE, queries)
    assert found.xy.shape == (3, length, 2)
    assert found.xy.isfinite().all()
    torch.testing.assert_close(found.xy[:, 0], queries[:, 1:], atol=2e-5, rtol=0)


def test_no_points_give_an_empty_answer(model: Pips2Model, features: Features) -> None:
    found = model.track(features, SIZE, torch.zeros(0, 3))
    assert [list(part.shape) for part in found] == [[0, 13, 2], [0, 13], [0, 13]]


def test_a_later_query_sees_what_the_cut_clip_shows(model: Pips2Model, features: Features) -> None:
    whole = model.track(features, SIZE, QUERIES[2:3])
    cut = model.track(Features(*(level[3:] for level in features)), SIZE, QUERIES[2:3] - torch.tensor([3.0, 0, 0]))
    assert torch.equal(whole.xy[:, 3:], cut.xy)
    torch.testing.assert_close(whole.xy[:, :4], QUERIES[2:3, None, 1:].expand(-1, 4, -1), atol=2e-5, rtol=0)


def test_only_positions_inside_the_frame_count_as_visible(weights: dict[str, torch.Tensor], features: Features) -> None:
    leaving = build(moving_by(weights, -2.0, 0.0), **OPTIONS)
    found = leaving.track(features, SIZE, torch.tensor([[0.0, 20, 40], [0, 10, 40]]))
    assert found.visible[0].tolist() == [1.0] * 6 + [0.0] * 7  # 16 px to the left of x = 20, then as much again
    assert found.visible[1, :8].tolist() == [1.0] + [0.0] * 7
    assert torch.equal(found.visible, found.confidence)


def test_bfloat16_stays_near_and_answers_in_float32(weights: dict[str, torch.Tensor]) -> None:
    small = {**weights, "delta_block.dense.weight": weights["delta_block.dense.weight"] * 0.1}
    half, full = (build(small, precision=name, **OPTIONS) for name in ("bfloat16", "float32"))
    found, expected = (some.track(some.encode(clip(13, *SIZE)), SIZE, QUERIES) for some in (half, full))
    assert found.xy.dtype == torch.float32
    moved = (expected.xy - QUERIES[:, None, 1:]).abs().max()
    assert 0 < (found.xy - expected.xy).abs().median() < 0.1 * moved


def test_the_training_path_gives_the_same_positions_and_gradients(weights: dict[str, torch.Tensor]) -> None:
    options = {"iterations": 2, "input_size": None}
    trained = build(weights, **options).network.train().requires_grad_(True)
    used = build(weights, **options).network
    frames, index, guess = clip(6, 128, 128), torch.arange(6)[None], torch.full((1, 6, 2), 7.25)
    with torch.inference_mode():
        expected, _ = used.window(used.encode(frames), index, guess)
    steps, _ = trained.iterate(trained.encode(frames), index, guess)
    torch.testing.assert_close(steps[-1].xy.detach(), expected, atol=1e-3, rtol=0)
    sum(step.free.square().sum() for step in steps).backward()
    without = [name for name, parameter in trained.named_parameters() if parameter.grad is None]
    assert without == ["norm.weight", "norm.bias"]  # in the checkpoint, used nowhere

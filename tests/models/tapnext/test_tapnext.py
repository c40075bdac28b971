"""TAPNext on a tiny network: slots, memory, checkpoints, coordinates."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.engine.state import flatten
from tapkit.engine.tracker import Tracker
from tapkit.errors import QueryError, UsageError, WeightsError
from tapkit.models.tapnext.network import BINS, certainty, decode, position_code
from tapkit.models.tapnext.tracker import TapNext, build_tapnext, build_tapnext_pp
from tapkit.models.tapnext.weights import from_jax, from_released, released_shapes
from tapkit.registry import card
from tapkit.types import VideoInfo

SIZES = {"width": 48, "heads": 4, "depth": 2, "image_size": 64, "hidden": 96}
NO_POINTS = torch.zeros(0, 2)


def released(seed: int = 0) -> dict[str, Tensor]:
    """A made checkpoint in the published format, tokens large enough to matter."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in released_shapes(**SIZES).items():
        tensors[name] = torch.randn(shape, generator=generator) / (math.prod(shape[1:]) ** 0.5 if shape[1:] else 5)
        if name.endswith("token") or name == "image_pos_emb":
            tensors[name] = torch.randn(shape, generator=generator)
    return tensors


def to_jax(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same numbers as Flax stores them (the published table read backwards)."""
    heads, width = SIZES["heads"], SIZES["width"]
    out = {
        "backbone/embedding/kernel": tensors["lin_proj.weight"].permute(2, 3, 1, 0)[None],
        "backbone/embedding/bias": tensors["lin_proj.bias"],
        "backbone/pos_embedding": tensors["image_pos_emb"],
        "backbone/Transformer/encoder_norm/scale": tensors["encoder_norm.weight"],
        "backbone/Transformer/encoder_norm/bias": tensors["encoder_norm.bias"],
    }
    out |= {f"backbone/{token}": tensors[token] for token in ("mask_token", "unknown_token", "point_query_token")}
    vit = {"ln_1.weight": "LayerNorm_0/scale", "ln_1.bias": "LayerNorm_0/bias", "ln_2.weight": "LayerNorm_1/scale"}
    vit |= {"ln_2.bias": "LayerNorm_1/bias", "mlp.0.weight": "MlpBlock_0/Dense_0/kernel"}
    vit |= {"mlp.0.bias": "MlpBlock_0/Dense_0/bias", "mlp.3.weight": "MlpBlock_0/Dense_1/kernel"}
    vit |= {"mlp.3.bias": "MlpBlock_0/Dense_1/bias"}
    attention = "vit_block/MultiHeadDotProductAttention_0"
    for name, value in tensors.items():
        if head := re.fullmatch(r"(\w+_head)\.(\d)\.(weight|bias)", name):
            leaf = head[3] if head[3] == "bias" else "kernel" if value.ndim == 2 else "scale"
            out[f"{head[1]}/layers_{head[2]}/{leaf}"] = value.T if value.ndim == 2 else value
        elif block := re.fullmatch(r"blocks\.(\d+)\.(ssm_block|vit_block)\.(.+)", name):
            prefix, rest = f"backbone/Transformer/encoderblock_{block[1]}/", block[3]
            if block[2] == "ssm_block":
                kernel = rest.endswith(".weight")
                key = prefix + "ssm_block/" + rest.replace(".", "/").replace("weight", "kernel")
                out[key] = value.T if kernel else value
            elif rest in vit:
                out[f"{prefix}vit_block/{vit[rest]}"] = value.T if value.ndim == 2 else value
            elif rest == "self_attention.in_proj_weight":
                for part, matrix in zip(("query", "key", "value"), value.chunk(3), strict=True):
                    out[f"{prefix}{attention}/{part}/kernel"] = matrix.T.reshape(width, heads, -1)
            elif rest == "self_attention.in_proj_bias":
                for part, vector in zip(("query", "key", "value"), value.chunk(3), strict=True):
                    out[f"{prefix}{attention}/{part}/bias"] = vector.reshape(heads, -1)
            elif rest == "self_attention.out_proj.weight":
                out[f"{prefix}{attention}/out/kernel"] = value.T.reshape(heads, -1, width)
            else:
                out[f"{prefix}{attention}/out/bias"] = value
    return out


@pytest.fixture(scope="module")
def model() -> TapNext:
    return build_tapnext(released(), resolution=64)


@pytest.fixture(scope="module")
def frames() -> Tensor:
    return torch.randint(0, 256, (5, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def run(model: TapNext, frames: Tensor, joins: dict[int, Tensor], expected: int = 0) -> list[Tensor]:
    state = model.expect(model.start((frames.shape[-2], frames.shape[-1])), expected)
    out = []
    for t, frame in enumerate(frames):
        state, prediction = model.step(state, frame, joins.get(t, NO_POINTS))
        out.append(prediction.xy)
    return out


POINTS = torch.tensor([[10.0, 20.0], [33.3, 8.1], [60.0, 63.5]])


def test_expected_points_get_what_slots_from_the_first_frame_would_give(model: TapNext, frames: Tensor) -> None:
    ours = run(model, frames, {0: POINTS[:1], 2: POINTS[1:2], 3: POINTS[2:]}, expected=3)
    network, starts = model.network, torch.tensor([0, 2, 3])
    code = network.query_tokens(POINTS.flip(-1))
    memory = network.empty_memory(64 + 3)
    for t, frame in enumerate(frames):
        points = torch.where((starts == t)[:, None], code, network.mask_token)
        points = torch.where((starts > t)[:, None], network.unknown_token, points)
        patches = network.patch_tokens(frame / 255 * 2 - 1, network.positions((8, 8)))
        with torch.no_grad():
            x, memory, _ = network(torch.cat([patches, points]), memory, t == 0)
            expected = decode(network.read(x[64:])[0]).flip(-1) * 64 / BINS
        torch.testing.assert_close(ours[t], expected[: len(ours[t])], atol=1e-3, rtol=0)


def test_a_point_that_joins_later_leaves_earlier_frames_alone_and_changes_later_ones(
    model: TapNext, frames: Tensor
) -> None:
    alone = run(model, frames, {0: POINTS[:1]})
    joined = run(model, frames, {0: POINTS[:1], 3: POINTS[1:]})
    for t in range(3):
        assert torch.equal(alone[t], joined[t])
    assert len(joined[3]) == 3
    assert not torch.equal(alone[3], joined[3][:1])


def test_step_changes_none_of_its_arguments_and_repeats_itself(model: TapNext, frames: Tensor) -> None:
    state, _ = model.step(model.start((64, 64)), frames[0], POINTS)
    before = {name: tensor.clone() for name, tensor in flatten(state).items()}
    first, second = model.step(state, frames[1], POINTS[:1])[1], model.step(state, frames[1], POINTS[:1])[1]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(torch.equal(tensor, before[name]) for name, tensor in flatten(state).items())


def test_the_state_does_not_grow_with_time(model: TapNext, frames: Tensor) -> None:
    state, _ = model.step(model.start((64, 64)), frames[0], POINTS)
    shapes = {name: tensor.shape for name, tensor in flatten(state).items()}
    for frame in frames[1:]:
        state, _ = model.step(state, frame, NO_POINTS)
        assert {name: tensor.shape for name, tensor in flatten(state).items()} == shapes


@pytest.mark.parametrize("support", [0, 2])
def test_select_keeps_the_named_points_in_the_named_order(frames: Tensor, support: int) -> None:
    model = build_tapnext(released(), resolution=64, support=support)
    state, _ = model.step(model.start((64, 64)), frames[0], POINTS)
    _, all_points = model.step(state, frames[1], NO_POINTS)
    _, turned = model.step(model.select(state, torch.tensor([2, 0, 1])), frames[1], NO_POINTS)
    torch.testing.assert_close(turned.xy, all_points.xy[[2, 0, 1]], atol=1e-3, rtol=0)
    _, fewer = model.step(model.select(state, torch.tensor([1])), frames[1], NO_POINTS)
    _, never = model.step(model.step(model.start((64, 64)), frames[0], POINTS[1:2])[0], frames[1], NO_POINTS)
    assert fewer.xy.shape == never.xy.shape == (1, 2)


def test_support_points_change_the_answer_but_are_not_part_of_it(model: TapNext, frames: Tensor) -> None:
    supported = build_tapnext(released(), resolution=64, support=3)
    _, with_support = supported.step(supported.start((64, 64)), frames[0], POINTS)
    _, without = model.step(model.start((64, 64)), frames[0], POINTS)
    assert with_support.xy.shape == without.xy.shape
    assert not torch.equal(with_support.xy, without.xy)


def test_positions_scale_with_the_frame_they_are_asked_in(model: TapNext, frames: Tensor) -> None:
    large = frames.repeat_interleave(2, -1).repeat_interleave(2, -2)  # halving it bilinearly gives `frames` back
    small_xy, large_xy = run(model, frames, {0: POINTS}), run(model, large, {0: POINTS * 2})
    torch.testing.assert_close(torch.stack(large_xy), torch.stack(small_xy) * 2, atol=2e-3, rtol=0)


def test_a_pixel_centre_reads_that_pixels_code_and_half_a_pixel_matters() -> None:
    def row(index: int) -> Tensor:
        angle = index * 10000.0 ** (-torch.arange(12, dtype=torch.float64) / 11)
        return torch.cat([angle.sin(), angle.cos()]).float()

    code = position_code(torch.tensor([[7.5, 3.5], [8.0, 3.5]]), 64, 48)
    torch.testing.assert_close(code[0], torch.cat([row(3), row(7)]))
    torch.testing.assert_close(code[1], torch.cat([row(3), (row(7) + row(8)) / 2]))


def test_position_codes_equal_a_table_read_by_grid_sample_also_outside() -> None:
    size, width = 16, 16
    index = torch.arange(size, dtype=torch.float64)
    angle = index[:, None] * 10000.0 ** (-torch.arange(4, dtype=torch.float64) / 3)
    wave = torch.cat([angle.sin(), angle.cos()], 1).float()  # [16,8]
    table = torch.cat([wave[None].expand(16, -1, -1), wave[:, None].expand(-1, 16, -1)], -1).permute(2, 0, 1)
    yx = torch.tensor([[0.0, 8.0], [0.2, 15.9], [16.0, 3.3], [-3.0, 4.0], [7.7, 12.1]])
    for clamp, padding in ((False, "zeros"), (True, "border")):
        grid = (yx.flip(-1) / size * 2 - 1)[None, None]
        expected = F.grid_sample(table[None], grid, padding_mode=padding, align_corners=False)[0, :, 0].T
        torch.testing.assert_close(position_code(yx, size, width, clamp), expected, atol=1e-6, rtol=0)


def test_positions_are_read_from_the_bins_around_the_best_one_only() -> None:
    logits = torch.full((1, 2 * BINS), -50.0)
    logits[0, 100], logits[0, 200] = 10.0, 9.9  # y: two far peaks, the lower one must not pull
    logits[0, BINS + 30] = logits[0, BINS + 31] = 5.0  # x: between two bins
    torch.testing.assert_close(decode(logits), torch.tensor([[100.5, 31.0]]), atol=1e-4, rtol=0)


def test_certainty_is_the_probability_inside_the_disc() -> None:
    logits = torch.randn(4, 2 * BINS, generator=torch.Generator().manual_seed(0)) * 8
    yx = torch.tensor([[100.2, 30.9], [0.5, 255.5], [8.0, 8.5], [250.0, 128.0]])
    p = logits.unflatten(-1, (2, BINS)).softmax(-1)
    centres = torch.arange(BINS) + 0.5
    for as_released in (False, True):
        for n in range(4):
            dy, dx = centres - yx[n, 0], centres - yx[n, 1]
            inside = dy[:, None] ** 2 + dx[None] ** 2 <= 64 + 1e-8
            joint = p[n, 0][:, None] * p[n, 1][None]
            ours = certainty(logits[n : n + 1], yx[n : n + 1], as_released=as_released)
            if as_released and not torch.isclose(yx[n, 0] % 1, yx[n, 1] % 1):
                continue  # the released mask has its axes swapped: only defined by the parity vectors
            torch.testing.assert_close(ours[0], (joint * inside).sum(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (200, 90)])
def test_frames_of_any_size_are_tracked_inside_themselves(model: TapNext, size: tuple[int, int]) -> None:
    frame = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    state = model.start(size)
    state, prediction = model.step(state, frame, torch.tensor([[0.5, 0.5]]))
    assert (prediction.xy >= 0).all() and (prediction.xy <= torch.tensor([size[1], size[0]])).all()
    assert ((prediction.visible >= 0) & (prediction.visible <= 1)).all()
    _, empty = model.step(model.select(state, torch.zeros(0, dtype=torch.long)), frame, NO_POINTS)
    assert empty.xy.shape == (0, 2)


def test_a_point_clicked_live_is_tracked_as_in_the_recorded_clip(frames: Tensor) -> None:
    tracker = Tracker(build_tapnext(released(), resolution=64))
    clip = frames.permute(0, 2, 3, 1).numpy()
    recorded = tracker.track(clip, [(0, 10.0, 20.0), (2, 33.25, 8.0)], direction="forward")
    session = tracker.start(VideoInfo(64, 64), [(0, 10.0, 20.0)])
    for t, frame in enumerate(frames):
        results = session.step(frame)
        if t == 2:
            session.add([(2, 33.25, 8.0)])
        for result in results:
            rows = [int(name) for name in result.ids]
            np.testing.assert_allclose(result.xy, recorded.xy[rows, result.frame], atol=0.05 if t == 2 else 1e-4)
    assert rows == [0, 1]


def test_not_a_number_is_refused(model: TapNext, frames: Tensor) -> None:
    with pytest.raises(QueryError, match="finite"):
        model.step(model.start((64, 64)), frames[0], torch.tensor([[float("nan"), 3.0]]))


def test_the_prefix_and_the_constant_table_of_released_files_are_accepted(model: TapNext, frames: Tensor) -> None:
    tensors = {f"tapnext.{name}": value for name, value in released().items()}
    tensors["tapnext.query_pos_embed"] = torch.zeros(1, 64 * 64, 48)
    other = build_tapnext_pp(tensors, resolution=64)
    assert other.card.id == "tapnext-pp"
    assert torch.equal(run(other, frames[:2], {0: POINTS})[1], run(model, frames[:2], {0: POINTS})[1])


def test_jax_arrays_load_as_the_pytorch_file_does() -> None:
    theirs = released()
    mapped = from_jax(to_jax(theirs))
    assert mapped.keys() == theirs.keys()
    assert all(torch.equal(mapped[name], value) for name, value in theirs.items())
    ours = from_released(theirs)
    assert all(torch.equal(value, ours[name]) for name, value in from_released(to_jax(theirs)).items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("blocks.1.vit_block.ln_2.bias"), "lacks blocks.1.vit_block.ln_2.bias"),
        (lambda t: t.update(extra=torch.zeros(1)), "has besides extra"),
        (lambda t: t.update(mask_token=torch.zeros(3)), r"mask_token is \[3\] instead of \[1, 1, 1, 48\]"),
        (lambda t: t.clear(), "not weights of TAPNext"),
    ],
)
def test_other_weights_are_refused_in_one_sentence(change: object, message: str) -> None:
    tensors = released()
    change(tensors)  # type: ignore[operator]
    with pytest.raises(WeightsError, match=message) as caught:
        build_tapnext(tensors)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"resolution": 100}, {"resolution": 0}, {"numerics": "numpy"}, {"support": -1}, {"precision": "half"}]
)
def test_unusable_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        build_tapnext(released(), **{"resolution": 64, **options})


def test_other_numerics_and_precisions_stay_close(frames: Tensor) -> None:
    plain = build_tapnext(released(), resolution=64)
    logits = []
    for other in ({}, {"numerics": "jax"}, {"precision": "bfloat16"}):
        model = build_tapnext(released(), resolution=64, **other)
        state, prediction = model.step(model.start((64, 64)), frames[0], POINTS)
        state, prediction = model.step(state, frames[1], NO_POINTS)
        assert prediction.xy.dtype == prediction.visible.dtype == torch.float32
        assert state.memory[0].hidden.dtype == torch.float32
        logits.append(torch.logit(prediction.visible))
    assert torch.equal(logits[0], torch.logit(_second(plain, frames).visible))
    assert 0 < (logits[1] - logits[0]).abs().max() < 0.05
    assert 0 < (logits[2] - logits[0]).abs().max() < 0.2


def _second(model: TapNext, frames: Tensor) -> object:
    state, _ = model.step(model.start((64, 64)), frames[0], POINTS)
    return model.step(state, frames[1], NO_POINTS)[1]


def test_cards_name_their_factories() -> None:
    for name in ("tapnext", "tapnext-pp"):
        found = card(name)
        assert found.streaming == "causal" and found.joint and found.latency == 0
        assert found.visible_rule == "visible" and found.visible_threshold == 0.5

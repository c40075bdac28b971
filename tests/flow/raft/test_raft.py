"""RAFT: checkpoints under both publishers' names, batches, sizes, and the two ways of taking correlations."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from tapkit.errors import UsageError, WeightsError
from tapkit.flow.raft import correlation
from tapkit.flow.raft.model import RaftFeatures, RaftModel, build_large, build_small, warm_start
from tapkit.flow.raft.network import LARGE, SMALL
from tapkit.flow.raft.weights import expected
from tapkit.nn.convex import convex_upsample

BUILDERS = {"large": (build_large, LARGE), "small": (build_small, SMALL)}


def checkpoint(kind: str) -> dict[str, Tensor]:
    """Random tensors under the authors' names, with "module.", counters and the norm that is stored twice."""
    draw = torch.Generator().manual_seed(3)
    state = {}
    for name, shape in expected(BUILDERS[kind][1]).items():
        value = torch.randn(shape, generator=draw)
        if len(shape) > 1:
            value /= torch.tensor(shape[1:]).prod().sqrt()
        state[f"module.{name}"] = value.abs() + 0.5 if name.endswith("running_var") else value
        if "downsample.1" in name:
            state[f"module.{name}".replace("downsample.1", "norm3")] = torch.zeros(shape)  # must not count
        if name.endswith("running_var"):
            state[f"module.{name}".replace("running_var", "num_batches_tracked")] = torch.tensor(7)
    return state


def torchvision_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors as torchvision names them."""
    renamed = {}
    for full, value in state.items():
        name = full.removeprefix("module.")
        if ".0.norm3." in name:
            continue
        head, _, rest = name.partition(".")
        if head in ("fnet", "cnet"):
            rest = re.sub(r"^conv1\.", "convnormrelu.0.", rest)
            rest = re.sub(r"^norm1\.", "convnormrelu.1.", rest)
            rest = re.sub(r"^conv2\.", "conv.", rest)
            rest = re.sub(r"^(layer\d\.\d)\.conv(\d)\.", r"\1.convnormrelu\2.0.", rest)
            rest = re.sub(r"^(layer\d\.\d)\.norm(\d)\.", r"\1.convnormrelu\2.1.", rest)
            name = {"fnet": "feature_encoder.", "cnet": "context_encoder."}[head] + rest
        name = name.replace("update_block.encoder.convc", "update_block.motion_encoder.convcorr")
        name = name.replace("update_block.encoder.convf", "update_block.motion_encoder.convflow")
        name = re.sub(r"(convcorr\d|convflow\d)\.", r"\1.0.", name)
        name = name.replace("update_block.encoder.conv.", "update_block.motion_encoder.conv.0.")
        name = re.sub(r"update_block\.gru\.(conv[zrq])(\d?)\.", _recurrent, name)
        name = name.replace("update_block.mask.0.", "mask_predictor.convrelu.0.")
        name = name.replace("update_block.mask.2.", "mask_predictor.conv.")
        renamed[name] = value
    return renamed


def _recurrent(found: Any) -> str:
    return f"update_block.recurrent_block.convgru{found[2] or '1'}.{found[1]}."


def pair(height: int = 136, width: int = 144, count: int = 2) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    coarse = torch.rand(count, 3, height // 8 + 1, width // 8 + 1, generator=draw) * 255
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return smooth.byte()


def rows(features: RaftFeatures, *index: int) -> RaftFeatures:
    return RaftFeatures(*(part[list(index)] for part in features))


def run(model: RaftModel, frames: Tensor) -> Tensor:
    features = model.encode(frames)
    size = (frames.shape[-2], frames.shape[-1])
    return model.flow(rows(features, 0), rows(features, 1), size).xy


@pytest.mark.parametrize("kind", BUILDERS)
def test_both_publishers_names_give_the_same_network(kind: str) -> None:
    build, _ = BUILDERS[kind]
    state = checkpoint(kind)
    frames = pair()
    ours = run(build(state, iterations=2), frames)
    theirs = run(build(torchvision_names(state), iterations=2), frames)
    assert torch.equal(ours, theirs) and ours.std() > 0


@pytest.mark.parametrize("kind", BUILDERS)
def test_another_models_weights_are_refused(kind: str) -> None:
    build, _ = BUILDERS[kind]
    state = checkpoint(kind)
    with pytest.raises(WeightsError, match=f"raft-{kind}"):
        build(checkpoint("small" if kind == "large" else "large"))
    with pytest.raises(WeightsError, match=r"lacks update_block\.flow_head\.conv2\.bias"):
        build({name: value for name, value in state.items() if not name.endswith("flow_head.conv2.bias")})
    with pytest.raises(WeightsError, match="has besides head"):
        build(state | {"head": torch.zeros(1)})


def test_features_serve_any_pair_and_batches_change_nothing() -> None:
    model = build_small(iterations=3)
    frames = pair(count=3)
    features = model.encode(frames)
    assert torch.equal(features.matching[1], model.encode(frames[1:2]).matching[0])
    together = model.flow(rows(features, 0, 2), rows(features, 1, 0), (136, 144)).xy
    assert (together[0] - run(model, frames[:2])[0]).abs().max() < 1e-3
    assert (together[1] - run(model, frames[[2, 0]])[0]).abs().max() < 1e-3


@pytest.mark.parametrize("tiled", [True, False])
def test_correlations_on_the_fly_equal_those_of_the_table(monkeypatch: pytest.MonkeyPatch, tiled: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 2, 16, 17, 21, generator=draw)
    target = torch.rand(2, 2, 17, 21, generator=draw) * 40 - 10
    target[0, :, 0, 0] = torch.nan
    held = correlation.Correlation(first, second, 3, 4)
    monkeypatch.setattr(correlation, "TABLE_BYTES", 0)
    monkeypatch.setattr(correlation, "_CHUNK", 100)
    flying = correlation.Correlation(first, second, 3, 4)
    assert held.held and not flying.held and flying.tiled
    flying.tiled = tiled  # else as on a GPU
    expected_values = held.at(target)
    assert expected_values.isfinite().all() and expected_values.abs().max() > 1
    assert (flying.at(target) - expected_values).abs().max() < 1e-5


def test_a_window_is_read_with_x_as_the_slow_index_and_nothing_outside() -> None:
    second = torch.arange(17.0 * 21).view(1, 1, 17, 21)
    target = torch.tensor([9.25, 6.5]).view(1, 2, 1, 1).expand(1, 2, 17, 21)
    found = correlation.Correlation(torch.ones(1, 1, 17, 21), second, 1, 1).at(target)[0, :, 0, 0].view(3, 3)
    for a in (-1, 0, 1):
        for b in (-1, 0, 1):
            assert found[a + 1, b + 1].item() == pytest.approx((6.5 + b) * 21 + 9.25 + a, abs=1e-3)
    corner = correlation.Correlation(torch.ones(1, 1, 17, 21), second + 1, 1, 1).at(torch.full_like(target, -5.0))
    assert not corner.any()


def test_convex_up_sampling_prefers_the_neighbour_its_logits_name() -> None:
    maps = torch.arange(12.0).view(1, 1, 3, 4)
    logits = torch.zeros(1, 9, 8, 8, 3, 4)
    logits[:, 5] = 100.0  # the neighbour to the right
    enlarged = convex_upsample(maps, logits.view(1, 576, 3, 4))[0, 0]
    assert enlarged.shape == (24, 32)
    assert enlarged[12, 20].item() == 7.0 and enlarged[0, 31].item() < 1e-30


@pytest.mark.parametrize("size", [(8, 8), (40, 200), (129, 130)])
def test_frames_of_any_size_have_finite_flow(size: tuple[int, int]) -> None:
    flow = run(build_large(iterations=1), torch.randint(0, 255, (2, 3, *size)).byte())
    assert flow.shape == (1, 2, *size) and flow.isfinite().all()


def test_a_warm_start_carries_vectors_along_themselves() -> None:
    flow = torch.zeros(2, 6, 8)
    flow[0, 3, 2] = 4.0
    assert warm_start(flow)[0, 3, 6].item() in (0.0, 4.0)  # a tie with the vector that stays there
    flow[0] = 4.0
    assert warm_start(flow)[0].eq(4.0).all()
    assert not warm_start(torch.full((2, 6, 8), 99.0)).any()


def test_bad_options_are_refused() -> None:
    with pytest.raises(UsageError, match="iteration"):
        build_small(iterations=0)
    with pytest.raises(UsageError, match="pad of raft-small must be"):
        build_small(pad="left")

"""AllTracker's layers against their definitions, written out plainly."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.models.alltracker import correlation as lookups
from tapkit.models.alltracker.blocks import ConvNextBlock, TimeBlock, Trunk
from tapkit.models.alltracker.correlation import Correlation, pyramid
from tapkit.models.alltracker.network import Compressor, MotionEncoder, conv, time_codes
from tapkit.nn.packed import Conv2d, pack


@pytest.fixture
def random() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def ready(module: torch.nn.Module) -> torch.nn.Module:
    """With layer scales and norms that matter, packed."""
    torch.manual_seed(1)
    for name, parameter in module.named_parameters():
        if "scale" in name or parameter.ndim == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    module.eval().requires_grad_(False)
    pack(module)
    return module


def looked_up(anchor: Tensor, frame: Tensor, target: Tensor) -> Tensor:
    """The definition: all products, averaged level by level, sampled bilinearly with the border repeated."""
    height, width, channels = anchor.shape
    maps, found = frame.permute(2, 0, 1)[None], []
    for level in range(5):
        if level:
            maps = F.interpolate(maps, scale_factor=0.5, mode="area")
        products = torch.einsum("yxc,cvu->yxvu", anchor, maps[0]) / math.sqrt(channels)
        h, w = maps.shape[-2:]
        offsets = torch.stack(torch.meshgrid(torch.arange(-4, 5), torch.arange(-4, 5), indexing="ij"), -1).float()
        at = target.reshape(-1, 1, 1, 2) / 2**level + offsets  # (x offset, y offset), x slow
        grid = at * (2.0 / torch.tensor([max(w - 1, 1), max(h - 1, 1)])) - 1
        samples = F.grid_sample(products.view(height * width, 1, h, w), grid, padding_mode="border", align_corners=True)
        found.append(samples.view(height, width, 81))
    return torch.cat(found, -1)


@pytest.mark.parametrize("held", [0, 1 << 30])
def test_lookups_are_samples_of_all_products(
    held: int, random: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "HELD_BYTES", held)
    monkeypatch.setattr(lookups, "_BLOCK_BYTES", 1 << 16)  # several blocks, the last one short
    anchor, frames = torch.randn(20, 24, 8, generator=random), torch.randn(2, 20, 24, 8, generator=random)
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(24.0), indexing="ij")
    target = torch.stack([x, y], -1) + 12 * torch.randn(20, 24, 2, generator=random)  # many lie outside
    target[0, 0] = torch.tensor([1e6, -1e6])
    correlation = Correlation(anchor, frames)
    for index in range(2):
        torch.testing.assert_close(
            correlation.at(index, target), looked_up(anchor, frames[index], target), atol=1e-4, rtol=0
        )


def test_odd_levels_are_averaged_with_overlap(random: torch.Generator) -> None:
    """20 rows become 10, 5, 2, 1: of five rows the first three and the last three."""
    frames = torch.randn(1, 20, 24, 1, generator=random)
    cells, sizes = pyramid(frames)
    assert sizes == [(20, 24), (10, 12), (5, 6), (2, 3), (1, 1)]
    level2 = cells[0, 20 * 24 + 10 * 12 :][: 5 * 6].view(5, 6)
    level3 = cells[0, 20 * 24 + 10 * 12 + 5 * 6 :][: 2 * 3].view(2, 3)
    assert torch.allclose(level3[0, 1], level2[0:3, 2:4].mean())
    assert torch.allclose(level3[1, 1], level2[2:5, 2:4].mean())


def test_positions_that_are_no_numbers_do_not_stop_it(random: torch.Generator) -> None:
    maps = torch.randn(1, 16, 16, 4, generator=random)
    target = torch.full((16, 16, 2), float("nan"))
    assert torch.isfinite(Correlation(maps[0], maps).at(0, target)).all()


def test_a_convnext_block(random: torch.Generator) -> None:
    block = ready(ConvNextBlock(32))
    x = torch.randn(2, 9, 11, 32, generator=random)
    found = block(x)
    state = block.state_dict()
    y = F.conv2d(x.permute(0, 3, 1, 2), state["block.0.weight"], state["block.0.bias"], padding=3, groups=32)
    y = F.layer_norm(y.permute(0, 2, 3, 1), (32,), state["block.2.weight"], state["block.2.bias"], 1e-6)
    y = F.gelu(F.linear(y, state["block.3.weight"], state["block.3.bias"]))
    y = F.linear(y, state["block.5.weight"], state["block.5.bias"])
    torch.testing.assert_close(found, x + state["layer_scale"].view(-1) * y, atol=1e-5, rtol=1e-5)


def test_a_time_block_attends_over_frames_and_adds_its_input_twice(random: torch.Generator) -> None:
    block = ready(TimeBlock(32, 8))
    x = torch.randn(5, 7, 32, generator=random)  # 5 frames, 7 cells
    state = {name.removeprefix("block."): value for name, value in block.state_dict().items()}
    normed = F.layer_norm(x, (32,), eps=1e-6)
    q = F.linear(normed, state["attn.to_q.weight"], state["attn.to_q.bias"])
    k, v = F.linear(normed, state["attn.to_kv.weight"], state["attn.to_kv.bias"]).split(32, -1)
    out = torch.empty_like(x)
    for cell in range(7):
        for head in range(8):
            part = slice(4 * head, 4 * head + 4)
            weights = (q[:, cell, part] @ k[:, cell, part].T / 2).softmax(1)
            out[:, cell, part] = weights @ v[:, cell, part]
    z = x + F.linear(out, state["attn.to_out.weight"], state["attn.to_out.bias"])
    y = F.gelu(
        F.linear(F.layer_norm(z, (32,), eps=1e-6), state["mlp.fc1.weight"], state["mlp.fc1.bias"]), approximate="tanh"
    )
    z = z + F.linear(y, state["mlp.fc2.weight"], state["mlp.fc2.bias"])
    torch.testing.assert_close(block(x), x + state["layer_scale"].view(-1) * z, atol=1e-5, rtol=1e-5)


def test_the_context_s_share_of_the_compressor_is_computed_apart(random: torch.Generator) -> None:
    layer = ready(Compressor())
    assert isinstance(layer, Compressor)
    hidden, motion = (torch.randn(3, 4, 5, 128, generator=random) for _ in range(2))
    context, score = torch.randn(4, 5, 128, generator=random), torch.randn(3, 4, 5, 2, generator=random)
    times = torch.randn(3, 128, generator=random)
    together = torch.cat([hidden, context + times[:, None, None], motion, score], -1)
    expected = F.linear(together, layer.weight[..., 0, 0], layer.bias)
    of_map, of_frames = layer.fixed(context, times)
    moving = torch.cat([hidden, motion, score], -1)
    for _ in range(2):  # packed, then plain
        found = layer.move(moving, of_map + of_frames[:, None, None])
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)
        layer.unpack()


def test_the_third_stage_keeps_the_resolution_with_a_dilated_convolution(random: torch.Generator) -> None:
    trunk = Trunk()
    third = trunk.features[4][1]
    assert isinstance(third, Conv2d) and (third.dilation, third.stride, third.padding) == ((2, 2), (1, 1), (2, 2))
    x = torch.randn(1, 192, 9, 9, generator=random).contiguous(memory_format=torch.channels_last)
    expected = F.conv2d(x, third.weight, third.bias, padding=2, dilation=2)
    third.requires_grad_(False).pack()
    torch.testing.assert_close(third(x), expected, atol=1e-4, rtol=1e-4)
    assert trunk.eval()(torch.zeros(1, 64, 96, 3)).shape == (1, 8, 12, 384)


def test_several_frames_of_a_tiled_convolution_are_those_one_by_one(random: torch.Generator) -> None:
    layer = ready(conv(64, 128, 3))
    x = torch.randn(5, 64, 18, 26, generator=random).contiguous(memory_format=torch.channels_last)
    found = layer(x, activation="relu")
    torch.testing.assert_close(found, torch.cat([layer(one[None], activation="relu") for one in x]), atol=1e-4, rtol=0)
    weights = layer.state_dict()
    torch.testing.assert_close(
        found, F.conv2d(x, weights["weight"], weights["bias"], padding=1).relu(), atol=1e-3, rtol=0
    )


def test_the_motion_encoder_concatenates_correlation_before_flow(random: torch.Generator) -> None:
    encoder = ready(MotionEncoder())
    seen, flow = torch.randn(1, 6, 7, 405, generator=random), torch.randn(1, 6, 7, 2, generator=random)
    state = encoder.state_dict()

    def layer(name: str, x: Tensor) -> Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2).relu()

    c = layer("convc2", layer("convc1", seen.permute(0, 3, 1, 2)))
    f = layer("convf2", layer("convf1", flow.permute(0, 3, 1, 2)))
    expected = layer("conv", torch.cat([c, f], 1)).permute(0, 2, 3, 1)
    torch.testing.assert_close(encoder(seen, flow), expected, atol=1e-3, rtol=1e-4)


def test_time_codes_are_sines_then_cosines_and_interpolated_for_other_windows() -> None:
    codes = time_codes(16)
    assert codes.shape == (16, 128) and codes[0].tolist() == [0.0] * 64 + [1.0] * 64
    for p, k in ((3, 0), (15, 10), (7, 63)):
        angle = p * 10000 ** (-k / 64)
        assert abs(float(codes[p, k]) - math.sin(angle)) < 1e-6
        assert abs(float(codes[p, 64 + k]) - math.cos(angle)) < 1e-6
    half = time_codes(8)  # the mean of two neighbours, each
    torch.testing.assert_close(half, (codes[0::2] + codes[1::2]) / 2, atol=1e-6, rtol=0)

"""EfficientNet-Lite0: sizes of its maps, its padding, and that batch norm may be folded in."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tapkit.nn.efficientnet_lite import CHANNELS, STRIDES, EfficientNetLite0, InvertedResidual
from tapkit.nn.packed import pack

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
from lite0_backbone import EPS, folded


@pytest.fixture(scope="module")
def network() -> EfficientNetLite0:
    torch.manual_seed(0)
    return EfficientNetLite0().eval().requires_grad_(False)


def test_maps_have_the_strides_that_are_said_also_where_32_does_not_divide_a_side(network):
    frames = torch.rand(1, 3, 80, 112) * 2 - 1
    for found, stride, channels in zip(network(frames), STRIDES, CHANNELS, strict=True):
        assert found.shape == (1, channels, -(-80 // stride), -(-112 // stride))


def test_it_has_the_parameters_of_the_paper_up_to_its_last_block(network):
    # 4,652,008 are published, of which 1,281,000 are the classifier's and 412,160 the head's. Each channel of a norm
    # has a scale and a bias there, and a bias here.
    channels = sum(len(bias) for name, bias in network.named_parameters() if name.endswith("bias"))
    assert sum(p.numel() for p in network.parameters()) == 4_652_008 - 1_281_000 - 412_160 - channels


def test_packed_it_answers_as_before(network):
    frames = torch.rand(1, 3, 64, 64) * 2 - 1
    before = network(frames)
    again = EfficientNetLite0().eval().requires_grad_(False)
    again.load_state_dict(network.state_dict())
    pack(again)
    for a, b in zip(before, again(frames), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("leading", [False, True])
def test_either_phase_of_a_stride_is_tensorflows_padding_on_a_picture_moved_by_a_pixel(kernel, leading):
    block = InvertedResidual(4, 6, kernel, 2, 1, leading).requires_grad_(False)
    x = torch.rand(1, 4, 24, 24)
    moved = x.roll((1, 1), (2, 3)) if leading else x
    # "same" padding for an even side and stride 2: kernel - 2 cells in all, the odd one behind.
    front = (kernel - 2) // 2
    padded = F.pad(moved, (front, kernel - 2 - front, front, kernel - 2 - front))
    inner = F.relu6(F.conv2d(padded, block.depthwise.weight, block.depthwise.bias, 2, groups=4))
    expected = F.conv2d(inner, block.project.weight, block.project.bias)
    torch.testing.assert_close(block(x)[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2])


def test_a_published_block_with_its_norms_is_the_folded_one():
    generator = torch.Generator().manual_seed(2)

    def random(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator) + 0.1

    published = {"_conv_stem.weight": random(32, 3, 3, 3)}
    shapes = {"_depthwise_conv": (32, 1, 3, 3), "_project_conv": (16, 32, 1, 1)}
    published |= {f"_blocks.0.{name}.weight": random(*shape) - 0.5 for name, shape in shapes.items()}
    for norm, channels in (("_bn0", 32), ("_blocks.0._bn1", 32), ("_blocks.0._bn2", 16)):
        published |= {f"{norm}.{part}": random(channels) for part in ("weight", "bias", "running_mean", "running_var")}

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        parts = (published[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts, eps=EPS)

    x = random(1, 32, 9, 9)
    y = F.conv2d(x, published["_blocks.0._depthwise_conv.weight"], None, 1, 1, groups=32)
    y = F.conv2d(F.relu6(norm(y, "_blocks.0._bn1")), published["_blocks.0._project_conv.weight"])
    block = InvertedResidual(32, 16, 3, 1, 1, False)
    ours = {name.removeprefix("blocks.0."): v for name, v in folded(published).items() if name != "stem.weight"}
    ours.pop("stem.bias")
    block.load_state_dict(ours)
    torch.testing.assert_close(block(x), norm(y, "_blocks.0._bn2"), atol=1e-5, rtol=1e-5)

"""Blocks that TAPIR shares: packed layers, Winograd convolutions, the backbone, soft argmax, sampling, resizing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from tapkit.nn.global_matching import sample_trilinear, soft_argmax
from tapkit.nn.packed import Conv2d, Linear, can_pack, pack, unpack
from tapkit.nn.resize import resize_lanczos
from tapkit.nn.resnet import InstanceNormRelu, ResNet
from tapkit.nn.winograd import WinogradConv2d

packs = pytest.mark.skipif(not can_pack(torch.zeros(1)), reason="this processor has no packed kernels")


@packs
@torch.inference_mode()
def test_packed_layers_equal_plain_ones_and_keep_their_checkpoint() -> None:
    layers = torch.nn.ModuleList([Linear(24, 40), Conv2d(3, 8, 3, 2), Conv2d(3, 8, 3, padding=1)])
    inputs = [torch.randn(5, 24), torch.randn(2, 3, 9, 11), torch.randn(2, 3, 9, 11)]
    before = {name: value.clone() for name, value in layers.state_dict().items()}
    plain = [
        [layer(x, activation=a) for a in ("none", "relu", "gelu", "gelu_tanh")]
        for layer, x in zip(layers, inputs, strict=True)
    ]
    added = [layer(x, residual=torch.ones_like(y[0])) for layer, x, y in zip(layers, inputs, plain, strict=True)]
    pack(layers)
    for layer, x, wanted, sum_ in zip(layers, inputs, plain, added, strict=True):
        for activation, y in zip(("none", "relu", "gelu", "gelu_tanh"), wanted, strict=True):
            assert torch.allclose(layer(x, activation=activation), y, atol=1e-5)
        assert torch.allclose(layer(x, residual=torch.ones_like(wanted[0])), sum_, atol=1e-5)
    assert all(torch.equal(before[name], value) for name, value in layers.state_dict().items())
    unpack(layers)
    assert torch.equal(layers[0].weight, before["0.weight"])


@packs
@pytest.mark.parametrize("size", [(8, 8), (7, 10), (1, 3)])
@torch.inference_mode()
def test_winograd_is_as_exact_as_the_direct_convolution(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = WinogradConv2d(64, 96)
    x, residual = torch.randn(2, 64, *size), torch.randn(2, 96, *size)
    exact = F.conv2d(x.double(), layer.weight.double(), layer.bias.double(), padding=1)  # type: ignore[union-attr]
    layer.pack()
    assert layer.kernels is not None
    assert (layer(x) - exact).abs().max() < 1e-5
    assert (layer(x, residual=residual) - exact - residual).abs().max() < 1e-5
    assert (layer(x, activation="gelu_tanh") - F.gelu(exact, approximate="tanh")).abs().max() < 1e-5


@torch.inference_mode()
def test_the_fast_instance_norm_equals_torchs_even_far_from_zero() -> None:
    torch.manual_seed(0)
    norm = InstanceNormRelu(16)
    norm.weight.normal_()
    norm.bias.normal_()
    x = torch.randn(3, 16, 20, 30).contiguous(memory_format=torch.channels_last) * 0.5 + 30
    wanted = F.relu(F.instance_norm(x.double(), weight=norm.weight.double(), bias=norm.bias.double()))
    assert (norm(x) - wanted).abs().max() < 1e-4
    assert (norm(x.clone(), overwrite=True) - wanted).abs().max() < 1e-4
    constant = norm(torch.full((1, 16, 8, 8), 7.0))
    assert torch.allclose(constant, F.relu(norm.bias)[:, None, None].expand_as(constant), atol=1e-3)


@torch.inference_mode()
def test_backbone_strides_round_up() -> None:
    shapes = [tuple(y.shape[1:]) for y in ResNet()(torch.rand(1, 3, 40, 56))]
    assert shapes == [(64, 20, 28), (128, 10, 14), (256, 5, 7), (256, 5, 7)]


def test_soft_argmax_ignores_what_is_five_cells_away() -> None:
    heat = torch.full((2, 12, 14), -50.0)
    heat[:, 6, 3] = 2.0
    heat[1, 6, 8] = 1.9  # 5 cells away
    heat[1, 6, 7] = 2.0 - np.log(3)  # 4 cells away
    assert torch.allclose(soft_argmax(heat), torch.tensor([[3.5, 6.5], [4.5, 6.5]]), atol=1e-4)


def test_trilinear_samples_of_linear_maps_are_exact_and_clamped() -> None:
    t, y, x = torch.meshgrid(torch.arange(3.0), torch.arange(5) + 0.5, torch.arange(7) + 0.5, indexing="ij")
    maps = torch.stack([t, x, y], -1)
    positions = torch.tensor([[1.0, 3.25, 2.5], [0.5, 6.5, 4.5], [9.0, -3.0, 99.0]])
    wanted = torch.tensor([[1.0, 3.25, 2.5], [0.5, 6.5, 4.5], [2.0, 0.5, 4.5]])
    assert torch.allclose(sample_trilinear(maps, positions), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "new"), [((48, 85), (32, 32)), ((10, 6), (32, 40)), ((32, 20), (20, 32)), ((5, 1), (8, 8))]
)
def test_lanczos_is_pillows_to_one_grey_level(size: tuple[int, int], new: tuple[int, int]) -> None:
    image = np.random.RandomState(0).randint(0, 256, (*size, 3)).astype(np.uint8)
    # In two calls, so that every version of Pillow goes through the axes in the same order.
    first = (size[1], new[0]) if new[0] < size[0] and new[1] > size[1] else (new[1], size[0])
    theirs = Image.fromarray(image).resize(first, Image.Resampling.LANCZOS).resize(new[::-1], Image.Resampling.LANCZOS)
    ours = resize_lanczos(torch.from_numpy(image).permute(2, 0, 1)[None], new)[0].permute(1, 2, 0).numpy()
    difference = np.abs(ours.astype(int) - np.asarray(theirs).astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01

"""Convolutions in Winograd tiles against plain ones."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tapkit.nn import tiled_conv
from tapkit.nn.packed import can_pack
from tapkit.nn.tiled_conv import TiledConv2d


@pytest.mark.parametrize("kernel", [(3, 3), (1, 5), (5, 1), (1, 3)])
@pytest.mark.parametrize("size", [(32, 32), (17, 19), (1, 3)])
def test_equal_to_the_plain_convolution_up_to_rounding(
    kernel: tuple[int, int], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiled_conv, "_CHUNK", 36 * 24 * 10)  # several chunks
    torch.manual_seed(0)
    layer = TiledConv2d(24, 20, kernel).requires_grad_(False)
    x = torch.randn(2, 24, *size).contiguous(memory_format=torch.channels_last)
    residual = torch.randn(2, 20, *size)
    expected = F.conv2d(x.double(), layer.weight.double(), layer.bias.double(), padding=layer.padding)
    plain = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    layer.pack()
    assert not can_pack(layer.weight) or layer._kernels is not None
    assert (layer(x) - expected).abs().max() < 3e-5
    assert (layer(x, "relu") - expected.relu()).abs().max() < 3e-5
    assert (layer(x, residual=residual) - expected - residual).abs().max() < 3e-5
    assert all(torch.equal(plain[name], tensor) for name, tensor in layer.state_dict().items())
    layer.unpack()
    assert layer._kernels is None and (layer(x) - expected).abs().max() < 3e-5

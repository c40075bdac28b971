"""Packed layers: the same answers and the same weights, whatever kernel oneDNN is asked for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tapkit.nn.packed import Activation, Conv2d, UnshuffledConv2d, can_pack, pack, unpack

POINTWISE = {"kernel_size": 1}
OTHERS = ({"kernel_size": 1, "stride": 2}, {"kernel_size": 1, "groups": 3}, {"kernel_size": 3, "padding": 1})


@pytest.mark.parametrize("arguments", [POINTWISE, *OTHERS])
@pytest.mark.parametrize("activation", ["none", "relu6", "gelu"])
def test_a_packed_convolution_answers_as_the_plain_one(arguments: dict[str, int], activation: Activation) -> None:
    torch.manual_seed(0)
    layer = Conv2d(24, 36, **arguments).requires_grad_(False)
    weight = layer.weight.clone()
    for x in (torch.randn(2, 24, 7, 5), torch.randn(2, 24, 7, 5).contiguous(memory_format=torch.channels_last)):
        unpack(layer)
        expected = layer(x, activation)
        residual = torch.randn_like(expected)
        added = layer(x, activation, residual)
        pack(layer)
        torch.testing.assert_close(layer(x, activation), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(layer(x, activation, residual), added, rtol=1e-5, atol=1e-5)
    # What is saved while packed, and what comes back, are the weights as they were.
    assert torch.equal(layer.state_dict()["weight"], weight)
    unpack(layer)
    assert layer.weight.shape == weight.shape and torch.equal(layer.weight, weight)


def test_a_convolution_of_single_cells_is_packed_as_a_linear_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Laid out as a convolution it is laid out again at each call on small maps: 10 ms instead of 0.08."""
    layer = nn.Sequential(Conv2d(192, 1152, 1)).requires_grad_(False)
    if not can_pack(layer[0].weight):
        pytest.skip("nothing is packed here")
    asked: list[str] = []
    from tapkit.nn import packed

    original = packed.onednn
    monkeypatch.setattr(packed, "onednn", lambda name, *rest: (asked.append(name), original(name, *rest))[1])
    pack(layer)
    layer(torch.randn(1, 192, 8, 8))
    assert asked == ["_reorder_linear_weight", "_linear_pointwise"]


def test_a_convolution_of_unshuffled_cells_is_that_of_pixel_unshuffle() -> None:
    torch.manual_seed(4)
    layer, x = UnshuffledConv2d(6, 5).eval().requires_grad_(False), torch.randn(2, 6, 8, 12)
    weight, residual = layer.weight.clone(), torch.randn(2, 5, 4, 6)
    expected = F.conv2d(F.pixel_unshuffle(x, 2), weight, layer.bias)
    for ready in (False, True):
        if ready:
            layer.pack()
        torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(layer(x, residual=residual), expected + residual, atol=1e-5, rtol=0)
        torch.testing.assert_close(layer(x, "relu6"), F.relu6(expected), atol=1e-5, rtol=0)
        assert torch.equal(layer.state_dict()["weight"], weight)
    layer.unpack()
    assert torch.equal(layer.weight, weight)

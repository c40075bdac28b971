"""Linear layers in half precision between float32 tokens."""

from __future__ import annotations

import torch

from tapkit.nn.mixed import MixedLinear, in_weights_type
from tapkit.nn.packed import Conv2d


def test_the_product_has_the_type_of_the_weights_and_the_sum_that_of_the_residual() -> None:
    torch.manual_seed(0)
    layer = MixedLinear(16, 8).requires_grad_(False)
    x, residual = torch.randn(5, 16), torch.randn(5, 8)
    exact = layer(x, residual=residual)
    assert exact.dtype == torch.float32
    layer.to(torch.bfloat16)
    assert layer(x).dtype == torch.bfloat16
    half = layer(x, residual=residual)
    assert half.dtype == torch.float32
    assert 0 < (half - exact).abs().max() < 0.05
    # What is added is not rounded: bfloat16 would keep three digits of it.
    large = residual + 1000
    torch.testing.assert_close(layer(x, residual=large), large + (half - residual), atol=1e-3, rtol=0)


def test_other_layers_take_and_give_float32() -> None:
    layer = Conv2d(3, 4, 3).to(torch.bfloat16).requires_grad_(False)
    assert in_weights_type(layer, torch.randn(1, 3, 8, 8)).dtype == torch.float32

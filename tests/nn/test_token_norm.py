"""Norms of tokens against their formulas, with and without gradients."""

from __future__ import annotations

import pytest
import torch

from tapkit.nn.token_norm import normalize, rms_norm


def tokens() -> torch.Tensor:
    return torch.randn(3, 5, 24, generator=torch.Generator().manual_seed(0)) * 3 + 2


@pytest.mark.parametrize("eps", [1e-6, 0.5])
def test_normalized_tokens_have_no_mean_and_unit_variance_but_for_eps(eps: float) -> None:
    x = tokens().double()
    expected = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + eps).sqrt()
    torch.testing.assert_close(normalize(tokens(), eps), expected.float(), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("eps", [1e-6, 0.5])
def test_rms_norm_divides_by_the_root_of_the_mean_square(eps: float) -> None:
    x, scale = tokens(), torch.linspace(-1, 2, 24)
    expected = x.double() / (x.double().square().mean(-1, keepdim=True) + eps).sqrt() * scale.double()
    before = x.clone()
    torch.testing.assert_close(rms_norm(x, scale, eps), expected.float(), atol=2e-6, rtol=1e-5)
    assert torch.equal(x, before)


def test_norms_of_no_tokens_are_no_tokens() -> None:
    assert normalize(torch.zeros(0, 4), 1e-6).shape == rms_norm(torch.zeros(0, 4), torch.ones(4), 1e-6).shape == (0, 4)


def test_norms_have_the_gradients_of_their_formulas() -> None:
    x, scale = tokens().double().requires_grad_(), torch.linspace(-1, 2, 24).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: normalize(x, 1e-3), x)
    assert torch.autograd.gradcheck(lambda x, scale: rms_norm(x, scale, 1e-3), (x, scale))

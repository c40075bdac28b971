"""The instance norm that keeps channels_last is torch's, and keeps it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tapkit.nn.instance_norm import instance_norm_last


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 2e-5), (torch.bfloat16, 0.03)])
def test_it_is_torchs(count: int, affine: bool, dtype: torch.dtype, near: float) -> None:
    random = torch.Generator().manual_seed(0)
    x = 3 * torch.randn(count, 5, 17, 13, generator=random) + 5 * torch.randn(1, 5, 1, 1, generator=random)
    x = x.to(dtype).contiguous(memory_format=torch.channels_last)
    weight, bias = (torch.randn(5, generator=random).to(dtype) for _ in "wb") if affine else (None, None)
    parameters = (None if part is None else part.float() for part in (weight, bias))
    wanted = F.instance_norm(x.float(), None, None, *parameters)
    with torch.no_grad():
        found = instance_norm_last(x, weight, bias)
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert (found.float() - wanted).abs().max() < near * max(1, float(wanted.abs().max()) / 2)


def test_a_flat_image_stays_finite() -> None:
    x = torch.full((2, 3, 8, 8), 100.0).to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        assert instance_norm_last(x).abs().max() < 0.5

"""The packed encoder, that multiplies its coarsest maps before resizing them, against the plain one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tapkit.nn.encoder import PointEncoder, instance_norm
from tapkit.nn.packed import pack


@pytest.mark.parametrize("stride", [4, 8])
@pytest.mark.parametrize(("height", "width"), [(64, 96), (70, 77)])
def test_a_packed_encoder_gives_the_plain_one_s_features(stride: int, height: int, width: int) -> None:
    torch.manual_seed(0)
    encoder = PointEncoder(stride).eval()
    frames = torch.rand(2, 3, height, width) * 2 - 1
    with torch.inference_mode():
        plain = encoder(frames)
        pack(encoder)
        packed = encoder(frames)
    assert packed.shape == (2, 128, height // stride, width // stride)
    torch.testing.assert_close(packed, plain, atol=2e-5, rtol=0)


def test_a_packed_encoder_keeps_its_checkpoint() -> None:
    encoder = PointEncoder(4).eval()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    pack(encoder)
    after = encoder.state_dict()
    assert set(after) == set(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_the_norm_is_exact_where_the_mean_is_far_from_zero() -> None:
    x = torch.randn(1, 8, 130, 90, generator=torch.Generator().manual_seed(1)) * 0.3 + 20
    expected = F.instance_norm(x.double()).float()
    with torch.inference_mode():
        found = instance_norm(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, atol=3e-5, rtol=0)

"""Multi-head attention against its formula, and what additive masks do to it."""

from __future__ import annotations

import torch

from tapkit.nn.attention import attend


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_heads_are_blocks_of_channels() -> None:
    query, key, value = draw(2, 3, 8), draw(2, 5, 8), draw(2, 6, 8)[:, :5]
    ours = attend(query, key, value, heads=2)
    for head in (slice(0, 4), slice(4, 8)):
        weights = (query[..., head] @ key[..., head].transpose(1, 2) / 2).softmax(-1)
        torch.testing.assert_close(ours[..., head], weights @ value[..., head], atol=1e-6, rtol=1e-5)


def test_a_row_whose_keys_are_all_masked_is_the_plain_mean() -> None:
    query, key, value = draw(1, 2, 8), draw(1, 5, 8), draw(1, 5, 8)
    bias = torch.tensor([0.0, torch.finfo(torch.float32).min])[None, None, :, None]
    ours = attend(query, key, value, 2, bias)
    torch.testing.assert_close(ours[0, 1], value[0].mean(0), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(ours[:, :1], attend(query[:, :1], key, value, 2), atol=1e-6, rtol=1e-5)

"""Multi-head attention against its formula, and what additive masks do to it."""

from __future__ import annotations

import pytest
import torch

from tapkit.nn import attention
from tapkit.nn.attention import LONG, attend, attend_heads
from tapkit.nn.measured import Faster


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


@pytest.mark.parametrize("in_rows", [True, False])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("count", [3, LONG + 70])
def test_long_sequences_attend_as_short_ones_do(
    count: int, biased: bool, in_rows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([1.0, 2.0] if in_rows else [2.0, 1.0])  # of oneDNN's way, then of torch's
    monkeypatch.setattr(attention, "IN_ROWS", Faster("attention by oneDNN's products", lambda call: next(seconds)))
    query, key, value = draw(2, count, 8), draw(2, count + 5, 8), draw(2, count + 5, 16)[..., ::2]
    bias = draw(count + 5) * 3 if biased else None
    with torch.inference_mode():
        ours = attend_heads(query, key, value, bias)
    logits = query.double() @ key.double().transpose(1, 2) / 8**0.5
    expected = (logits if bias is None else logits + bias).softmax(-1) @ value.double()
    torch.testing.assert_close(ours, expected.transpose(0, 1).flatten(1).float(), atol=2e-6, rtol=1e-5)


def test_attention_of_long_sequences_has_gradients() -> None:
    query, key, value = (draw(1, LONG, 4).requires_grad_() for _ in range(3))
    attend_heads(query, key, value).sum().backward()
    assert query.grad is not None and value.grad is not None and value.grad.abs().sum() > 0

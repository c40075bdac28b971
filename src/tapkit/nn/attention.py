"""Multi-head attention as the transformers of the published trackers have it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.nn.exporting import exporting
from tapkit.nn.measured import Faster, processor_seconds
from tapkit.nn.packed import can_pack, onednn

LONG = 512
"""From so many queries and keys on, oneDNN's products may be worth that the keys and values are laid out for them."""
_LOGITS = 1 << 18
"""Logits that exist at a time there: they stay in a core's cache."""
_MEASURED = 4
"""Heads that both ways are measured with."""
IN_ROWS = Faster("attention by oneDNN's products", processor_seconds)
"""What is known of them on this machine's processor."""


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, bias: Tensor | None = None) -> Tensor:
    """softmax(q k' / sqrt(c) + bias) v with heads = consecutive blocks of c channels.

    Args:
        query: [B,L,heads*c]; key, value: [B,M,heads*c].
        bias: added to the logits, broadcastable to [B,heads,L,M].

    Returns:
        [B,L,heads*c].
    """
    q, k, v = (x.view(*x.shape[:2], heads, -1).transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).flatten(2)


def attend_heads(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q k' / sqrt(c) + bias) v of one sequence whose heads are apart.

    Args:
        query: [heads,L,c]; key, value: [heads,M,c].
        bias: [M], added to the logits of each key.

    Returns:
        [L,heads*c].

    On an x86 CPU, without gradients, long sequences in float32 may be multiplied by oneDNN, some queries at a time.
    That took three quarters of the time of torch's fused attention on one AMD EPYC with AVX512, and five quarters on
    another, whose cores multiply half as fast: so it is measured when sequences of about that length first come.
    """
    _, count, size = query.shape
    long = min(count, key.shape[1]) >= LONG and query.dtype == torch.float32
    plain = torch.compiler.is_compiling() or exporting() or (torch.is_grad_enabled() and query.requires_grad)
    if not long or plain or not can_pack(key):
        return _fused(query, key, value, bias)
    some = (slice(0, _MEASURED), slice(None))  # heads cost the same
    sample = (query[some], key[some], value[some], bias)
    kind = (size, count.bit_length(), key.shape[1].bit_length(), bias is None, torch.get_num_threads())
    attention = _in_rows if IN_ROWS.wins(kind, lambda: _in_rows(*sample), lambda: _fused(*sample)) else _fused
    return attention(query, key, value, bias)


def _fused(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """`attend_heads` by torch's own attention."""
    mask = None if bias is None else bias.expand(1, 1, query.shape[1], -1)
    mixed = F.scaled_dot_product_attention(query[None], key[None], value[None], attn_mask=mask)
    return mixed[0].transpose(0, 1).flatten(1)


def _in_rows(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """`attend_heads` by products of oneDNN."""
    heads, count, size = query.shape
    out = query.new_empty(count, heads, size)
    rows = max(_LOGITS // key.shape[1], 1)
    for head in range(heads):
        keys = onednn("_reorder_linear_weight", key[head].contiguous(), None)
        values = onednn("_reorder_linear_weight", value[head].T.contiguous(), None)
        scaled = query[head] * size**-0.5
        for start in range(0, count, rows):
            logits = onednn("_linear_pointwise", scaled[start : start + rows], keys, bias, "none", [], "")
            out[start : start + rows, head] = onednn(
                "_linear_pointwise", logits.softmax(-1), values, None, "none", [], ""
            )
    return out.flatten(1)

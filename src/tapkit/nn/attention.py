"""Multi-head attention as the transformers of the published trackers have it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


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

"""Track-On2's blocks that work on points: attention, deformable decoder blocks, re-ranking and prediction heads.

Track-On2 (arXiv:2509.19115, section 3). Norms come after what is added, the non-linearity is a ReLU, heads are 64 wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit.coords import Size
from tapkit.models.trackon.deformable import HEAD, DeformableAttention
from tapkit.nn.exporting import exporting
from tapkit.nn.mixed import MixedLinear

CHUNK = 256
"""Points that the widest layers work on at a time."""


class Attention(nn.Module):
    """Multi-head attention whose three input layers are stored as one matrix (query, key, value)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) * width**-0.5)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = MixedLinear(width, width)

    def _project(self, x: Tensor, first: int, count: int) -> Tensor:
        """Input layers `first` .. first + count of x [B,L,C] -> [count,B,heads,L,64]."""
        width = self.in_proj_weight.shape[1]
        rows = slice(first * width, (first + count) * width)
        y = F.linear(x.to(self.in_proj_weight.dtype), self.in_proj_weight[rows], self.in_proj_bias[rows])
        return y.view(*x.shape[:2], count, self.heads, -1).permute(2, 0, 3, 1, 4)

    def keys_values(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B,heads,M,64] from [B,M,C] (the same tensor twice is projected at once)."""
        if key is value:
            k, v = self._project(key, 1, 2)
            return k, v
        return self._project(key, 1, 1)[0], self._project(value, 2, 1)[0]

    def forward(self, query: Tensor, keys_values: tuple[Tensor, Tensor], mask: Tensor | None = None) -> Tensor:
        """query [B,L,C]; `mask` bool, broadcastable to [B,heads,L,M], False where a key does not count -> [B,L,C]."""
        q = self._project(query, 0, 1)[0]
        mixed = F.scaled_dot_product_attention(q, *keys_values, attn_mask=mask)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out


class _FeedForward(nn.Module):
    """What ends both kinds of block."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.linear1, self.linear2 = MixedLinear(width, hidden), MixedLinear(hidden, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def finish(self, y: Tensor) -> Tensor:
        """norm2(y + W2 relu(W1 y)) of y, which is norm1's."""
        out: Tensor = self.norm2(self.linear2(self.linear1(y, "relu"), residual=y))
        return out


class AttentionBlock(_FeedForward):
    """Attention, then a feed-forward layer."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(width, hidden)
        self.mha = Attention(width)

    def forward(self, query: Tensor, keys_values: tuple[Tensor, Tensor], mask: Tensor | None = None) -> Tensor:
        """query float32 [B,L,C] -> the same; see `Attention`."""
        return self.finish(self.norm1(query + self.mha(query, keys_values, mask)))


class DeformableBlock(_FeedForward):
    """Deformable attention on the four maps of a frame, then a feed-forward layer."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(width, hidden)
        self.mha = DeformableAttention(width, 4)

    def forward(self, query: Tensor, reference: Tensor, values: Sequence[Tensor]) -> Tensor:
        """query float32 [Q,C] around `reference` [Q,2] -> the same.

        The query counts twice in the sum: it is in what the attention returns, too.
        """
        return self.finish(self.norm1(query + self.mha(query, reference, values)))


def read_around(
    blocks: nn.ModuleList, query: Tensor, reference: Tensor, tokens: Tensor, sizes: Sequence[Size], chunk: int
) -> Tensor:
    """Deformable blocks one after another, `chunk` queries at a time; what they read is projected once for each."""
    for block in blocks:
        assert isinstance(block, DeformableBlock)
        values = block.mha.values(tokens, sizes)
        if exporting():  # the number of queries is a symbol then
            query = block(query, reference, values)
            continue
        parts = zip(torch.split(query, chunk), torch.split(reference, chunk), strict=True)
        query = torch.cat([block(some, around, values) for some, around in parts])
    return query


class Reranking(nn.Module):
    """The best candidates of a point look around themselves, and the point takes what it needs of them."""

    def __init__(self, width: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.local_decoder = nn.ModuleList([DeformableBlock(width, hidden) for _ in range(layers)])
        self.fusion = AttentionBlock(width, hidden)
        self.fusion_layer, self.final_projection_layer = MixedLinear(2 * width, width), MixedLinear(2 * width, width)
        # Trained along, and not needed to track: is the right place among the candidates, and which one is nearest?
        self.certainty_layer, self.score_layer = nn.Linear(width, 1), nn.Linear(width, 1)

    def forward(self, query: Tensor, candidates: Tensor, tokens: Tensor, sizes: Sequence[Size]) -> Tensor:
        """query [N,C], candidates [N,K,2] (x, y in [0,1]), tokens [S,C] of the frame's maps -> [N,C]."""
        count = candidates.shape[1]
        repeated = query[:, None].expand(-1, count, -1).flatten(0, 1)
        seen = read_around(self.local_decoder, repeated, candidates.flatten(0, 1), tokens, sizes, CHUNK * count)
        seen = self.fusion_layer(torch.cat([seen, repeated], -1)).float().unflatten(0, (-1, count))
        taken = self.fusion(query[:, None], self.fusion.mha.keys_values(seen, seen))[:, 0]
        return self.final_projection_layer(torch.cat([taken, query], -1)).float()  # type: ignore[no-any-return]


class Heads(NamedTuple):
    """What is said of points [N]."""

    offset: Tensor
    """float32 [N,2] (x, y) from the chosen patch's centre, pixels of the network's input."""
    visible: Tensor
    """Logits of being visible."""
    uncertain: Tensor
    """Logits of being occluded or more than 12 pixels off."""


class Prediction(nn.Module):
    """Position within the chosen patch, visibility, uncertainty."""

    def __init__(self, width: int, hidden: int, layers: int, reach: float) -> None:
        super().__init__()
        self.reach = reach
        self.offset_transformer = nn.ModuleList([DeformableBlock(width, hidden) for _ in range(layers)])
        self.offset_layer = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2))
        self.vis_layer, self.unc_layer = (
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)) for _ in range(2)
        )

    def offset(self, seen: Tensor) -> Tensor:
        """Offsets [N,2] of no more than `reach` pixels from the decoded queries [N,C]."""
        out: Tensor = self.reach * self.offset_layer(seen).tanh()
        return out

    def forward(self, query: Tensor, patch: Tensor, tokens: Tensor, sizes: Sequence[Size]) -> Heads:
        """query [N,C], centres of the chosen patches [N,2] (x, y in [0,1]), tokens [S,C] of the frame's maps."""
        seen = read_around(self.offset_transformer, query, patch.clamp(0, 1), tokens, sizes, CHUNK)
        return Heads(self.offset(seen), self.vis_layer(query)[:, 0], self.unc_layer(query)[:, 0])

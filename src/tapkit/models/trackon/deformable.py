"""The deformable attention layer of Track-On2, on rows of tokens, and maps seen as such rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tapkit.constants import constant_like
from tapkit.coords import Size
from tapkit.nn.deformable_attention import deformable_attention
from tapkit.nn.mixed import MixedLinear

HEAD = 64
"""Channels of a head."""
POINTS = 4
"""Positions that a head reads on each level."""


def cells(sizes: Sequence[Size]) -> list[int]:
    """Tokens of each map."""
    return [height * width for height, width in sizes]


def as_maps(tokens: Tensor, sizes: Sequence[Size]) -> list[Tensor]:
    """Tokens [S,C] of maps laid one after another, row by row -> views [1,C,h,w]."""
    parts = torch.split(tokens, cells(sizes))
    return [part.view(1, *size, -1).permute(0, 3, 1, 2) for part, size in zip(parts, sizes, strict=True)]


def as_tokens(maps: Tensor) -> Tensor:
    """A map [1,C,h,w] -> its cells row by row [h*w,C]."""
    return maps[0].flatten(1).T


def centres(sizes: Sequence[Size], device: torch.device) -> Tensor:
    """Centres (x, y) of all cells of the maps, as parts of their extent [S,2]."""
    parts = []
    for height, width in sizes:
        y = (torch.arange(height, dtype=torch.float32, device=device) + 0.5) / height
        x = (torch.arange(width, dtype=torch.float32, device=device) + 0.5) / width
        parts.append(torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).flatten(0, 1))
    return torch.cat(parts)


class DeformableAttention(nn.Module):
    """Positions and weights from the query, values from the maps; the query itself is added to the result.

    That identity belongs to the layer (the operators that the network was trained with have it), whatever else is
    added around it.
    """

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        self.heads, self.levels = width // HEAD, levels
        reads = self.heads * levels * POINTS
        # Positions are worked out in float32 always.
        self.sampling_offsets, self.attention_weights = nn.Linear(width, 2 * reads), nn.Linear(width, reads)
        self.value_proj, self.output_proj = MixedLinear(width, width), MixedLinear(width, width)

    def values(self, tokens: Tensor, sizes: Sequence[Size]) -> list[Tensor]:
        """What queries read, from tokens [S,C] of maps of `sizes`: for each level float32 [1,heads,64,h,w]."""
        projected = self.value_proj(tokens).float()
        return [maps.view(1, self.heads, HEAD, *maps.shape[2:]) for maps in as_maps(projected, sizes)]

    def forward(self, query: Tensor, reference: Tensor, values: Sequence[Tensor]) -> Tensor:
        """Queries float32 [Q,C] that read around `reference` [Q,2] (x, y in [0,1]) -> [Q,C], query + what was read."""
        shape = (1, query.shape[0], self.heads, self.levels, POINTS)
        offsets = self.sampling_offsets(query).view(*shape, 2)
        weights = self.attention_weights(query).view(*shape[:3], -1).softmax(-1).view(shape)
        extent = constant_like([(maps.shape[-1], maps.shape[-2]) for maps in values], query)  # of the levels
        points = reference[None, :, None, None, None] + offsets / extent[:, None]
        read = deformable_attention(values, points, weights)[0]
        out: Tensor = query + self.output_proj(read)
        return out

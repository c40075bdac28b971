"""Multi-scale deformable attention by sampling: a query reads a few places of each level of a feature pyramid.

X. Zhu et al., Deformable DETR, ICLR 2021 (arXiv:2010.04159), section 4.1. A pyramid is kept as one list of tokens,
level after level, each row by row. A bilinear sample is a sum of four tokens, and the sum of all samples of a head one
of some sixty: `torch.nn.functional.embedding_bag` is that sum, so no sample is ever stored and no compiled operator is
needed. On a CPU that takes a twentieth of the time of `grid_sample`.

Positions are in pixels of a level, pixel centres at integers; outside a level there is nothing ("zeros").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit.constants import constant, constant_like
from tapkit.coords import Size
from tapkit.nn.exporting import exporting
from tapkit.nn.packed import Linear

CHUNK = 1024
"""Queries whose samples are worked out together: what they need stays in the caches of a CPU."""


@dataclass(frozen=True)
class Pyramid:
    """The levels of a feature pyramid, finest first, as one list of tokens."""

    sizes: tuple[Size, ...]

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The first token of each level."""
        return tuple(accumulate((h * w for h, w in self.sizes), initial=0))[:-1]

    @cached_property
    def tokens(self) -> int:
        """Tokens in all."""
        return sum(h * w for h, w in self.sizes)

    def split(self, tokens: Tensor) -> list[Tensor]:
        """Tokens [...,S,C] as maps [...,h,w,C], without a copy."""
        parts = torch.split(tokens, [h * w for h, w in self.sizes], -2)
        return [part.view(*part.shape[:-2], *size, -1) for part, size in zip(parts, self.sizes, strict=True)]

    def extents(self, like: Tensor) -> Tensor:
        """(width, height) of the levels [L,2], in the dtype and place of `like`."""
        return constant_like([(w, h) for h, w in self.sizes], like)


class Corners(NamedTuple):
    """The four tokens around positions, and the share of each in the bilinear sample."""

    token: Tensor
    """int32 [...,4]: which ones."""
    weight: Tensor
    """[...,4]; 0 for a corner outside the level."""


class _Cells(NamedTuple):
    """The cell of four tokens in which (or beside which) positions lie, and the shares of its sides."""

    first: Tensor
    """int32 [...]: the token at its upper left."""
    left: Tensor
    right: Tensor
    upper: Tensor
    lower: Tensor
    """[...]: 1 minus the distance from each column and row, but not less than 0."""


def _cells(xy: Tensor, pyramid: Pyramid, level_axis: int) -> _Cells:
    """Cells of positions xy [...,2].

    Cells are kept inside the level, so that all four tokens exist; from outside their columns and rows are a pixel or
    more away, which makes their shares 0 without any masks.
    """
    shape = [1] * (-level_axis - 1)
    shape[0] = len(pyramid.sizes)
    width, height = (constant_like([size[axis] for size in pyramid.sizes], xy).view(shape) for axis in (1, 0))
    start = constant_like(pyramid.starts, xy).view(shape)
    sides = []
    for axis, extent in enumerate((width, height)):
        place = xy[..., axis]
        base = torch.minimum(place.floor().clamp_(min=0), (extent - 2).clamp_(min=0))
        inner = place - base
        near = (1 - inner.abs()).clamp_(min=0)
        far = (1 - (inner - 1).abs()).clamp_(min=0)
        if any(size[1 - axis] == 1 for size in pyramid.sizes):
            far = far * (extent > 1)  # there is no second column or row
        sides.append((base, near, far))
    (column, left, right), (row, upper, lower) = sides
    # Exact in float32 up to 16 million tokens. What is not a number reads token 0, with a share that is none either.
    first = torch.nan_to_num_(row.mul_(width).add_(column).add_(start)).to(torch.int32)
    return _Cells(first, left, right, upper, lower)


def _steps(pyramid: Pyramid, device: torch.device) -> Tensor:
    """From the first token of a cell to all four, int32 [L,4]; none beyond a level that is one pixel wide or high."""
    rows = [(0, min(w - 1, 1), w * (h > 1), w * (h > 1) + min(w - 1, 1)) for h, w in pyramid.sizes]
    return constant(rows, torch.int32, device)


def corners(xy: Tensor, pyramid: Pyramid, level_axis: int = -3) -> Corners:
    """Corners of positions xy [...,2], of which one axis before the last counts the levels.

    `level_axis` says which, counted from the end of xy; -3 is that of [...,L,P,2].
    """
    cells = _cells(xy, pyramid, level_axis)
    steps = _steps(pyramid, xy.device).view(-1, *[1] * (-level_axis - 2), 4)
    index = cells.first[..., None] + steps
    weight = torch.stack(_shares(cells, None), -1)
    return Corners(index, weight)


def _shares(cells: _Cells, weight: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The shares of the four corners, times a weight."""
    upper, lower = (cells.upper, cells.lower) if weight is None else (cells.upper * weight, cells.lower * weight)
    return upper * cells.left, upper * cells.right, lower * cells.left, lower * cells.right


def weighted_corners(xy: Tensor, pyramid: Pyramid, weight: Tensor) -> Corners:
    """All tokens that a query's head reads: xy [Q,H,L,P,2], weight [Q,H,L,P] -> index and weight [Q,H,4*L*P]."""
    cells = _cells(xy, pyramid, -3)
    steps = _steps(pyramid, xy.device).repeat_interleave(xy.shape[-2], 0).T  # [4,L*P]
    index = cells.first.flatten(2)[:, :, None] + steps
    shares = torch.stack([part.flatten(2) for part in _shares(cells, weight)], 2)
    return Corners(index.flatten(2), shares.flatten(2))


def gather_sum(table: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Weighted sums of rows of a table: table [V,C], index [...,K], weight [...,K] -> [...,C]."""
    count = index.shape[-1]
    rows = index.reshape(-1, count)
    if not len(rows):
        return table.new_zeros(*index.shape[:-1], table.shape[-1])
    sums = F.embedding_bag(rows, table, per_sample_weights=weight.reshape(-1, count).to(table.dtype), mode="sum")
    return sums.view(*index.shape[:-1], table.shape[-1])


def attend_sampled(values: Tensor, pyramid: Pyramid, xy: Tensor, weight: Tensor) -> Tensor:
    """Sums of samples of each head's own channels.

    Args:
        values: [S,H,c], contiguous: the projected tokens of one pyramid.
        pyramid: its levels.
        xy: float32 [Q,H,L,P,2], pixels of the levels.
        weight: [Q,H,L,P], the weight of each sample.

    Returns:
        [Q,H*c].
    """
    heads = values.shape[1]
    found = weighted_corners(xy, pyramid, weight)
    index = found.token.mul_(heads).add_(torch.arange(heads, dtype=torch.int32, device=xy.device).view(-1, 1))
    return gather_sum(values.flatten(0, 1), index, found.weight).flatten(-2)


def attend_sampled_tokens(tokens: Tensor, found: Corners, matrix: Tensor, bias: Tensor) -> Tensor:
    """The same sums, where the tokens are projected after sampling: cheaper, as long as few places are read.

    Sampling and projection are linear, so their order does not matter. The bias of the projection counts with the
    weights inside the levels, since outside there is nothing.

    Args:
        tokens: [V,C], contiguous, not projected.
        found: the tokens [Q,H,K] that a head reads; weights include those of the attention.
        matrix: [H,c,C], which projects tokens to the values of each head; bias: [H,c].

    Returns:
        [Q,H*c].
    """
    sums = gather_sum(tokens, found.token, found.weight)
    total = found.weight.sum(-1, keepdim=True)
    return (torch.einsum("qhc,hdc->qhd", sums, matrix) + total * bias).flatten(1)


class DeformableAttention(nn.Module):
    """Deformable attention of tokens of a pyramid to the pyramid (names as in Deformable DETR's checkpoints)."""

    def __init__(self, width: int = 256, heads: int = 8, levels: int = 4, points: int = 4) -> None:
        super().__init__()
        self.shape = (heads, levels, points)
        self.sampling_offsets = Linear(width, heads * levels * points * 2)
        self.attention_weights = Linear(width, heads * levels * points)
        self.value_proj = Linear(width, width)
        self.output_proj = Linear(width, width)

    def offsets(self, query: Tensor) -> Tensor:
        """Offsets of the samples of query [Q,C] from its reference: float32 [Q,H,L,P,2], pixels of the level."""
        return _through(self.sampling_offsets, query).view(-1, *self.shape, 2)

    def weights(self, query: Tensor) -> Tensor:
        """Attention weights [Q,H,L,P]: they sum to 1 over levels and points."""
        logits = _through(self.attention_weights, query).view(-1, self.shape[0], self.shape[1] * self.shape[2])
        return logits.softmax(-1).view(-1, *self.shape)

    def values(self, tokens: Tensor) -> Tensor:
        """The tokens [S,C] of one pyramid as values float32 [S,H,C/H] for `attend`."""
        return _through(self.value_proj, tokens).view(len(tokens), self.shape[0], -1)

    def attend(self, query: Tensor, values: Tensor, pyramid: Pyramid, base: Tensor) -> Tensor:
        """Attention of query [Q,C], before the output projection -> [Q,C].

        `base` [Q,L,2]: the reference of each query, pixels of each level.
        """
        xy = base[:, None, :, None] + self.offsets(query)
        return attend_sampled(values, pyramid, xy, self.weights(query))

    def forward(self, query: Tensor, tokens: Tensor, pyramid: Pyramid, base: Tensor) -> Tensor:
        """Attention of query [Q,C] at `base` [Q,L,2] to the tokens [S,C] -> [Q,C]."""
        values = self.values(tokens)
        parts = [
            self.attend(some, values, pyramid, at)
            for some, at in zip(torch.split(query, CHUNK), torch.split(base, CHUNK), strict=True)
        ]
        return _through(self.output_proj, torch.cat(parts) if len(parts) > 1 else parts[0])


def _through(layer: Linear, x: Tensor) -> Tensor:
    """The layer's output in float32, its input in the precision that the layer has."""
    out: Tensor = layer(x.to(layer.weight.dtype))
    return out.float()


def deformable_attention(values: Sequence[Tensor], points: Tensor, weights: Tensor) -> Tensor:
    """What queries read from maps that are not one list of tokens.

    Args:
        values: for each level [B,H,D,h,w]; fastest where D is the innermost axis in memory, then H, w, h (what a linear
            layer over tokens gives, seen as maps).
        points: float32 [B,Q,H,L,K,2], (x, y) in [0,1] across each map, (0,0) the outer corner of its first cell.
        weights: [B,Q,H,L,K].

    Returns:
        [B,Q,H*D], in the type of the values.
    """
    if exporting():
        return by_grid_sample(values, points, weights)
    batch, heads = points.shape[0], points.shape[2]
    head = torch.arange(heads, device=points.device).view(-1, 1, 1, 1)
    total: Tensor | None = None
    for level, maps in enumerate(values):
        height, width = maps.shape[-2:]
        rows = maps.permute(0, 3, 4, 1, 2).reshape(-1, maps.shape[2])  # [B*h*w*H,D]
        own = slice(level, level + 1)
        found = corners(
            points[:, :, :, own] * constant_like([width, height], points) - 0.5, Pyramid(((height, width),))
        )
        first = torch.arange(batch, device=points.device).view(-1, 1, 1, 1, 1, 1) * (height * width)
        index = (found.token + first) * heads + head
        share = found.weight * weights[:, :, :, own, :, None]
        part = gather_sum(rows, index.flatten(-3), share.flatten(-3))
        total = part if total is None else total + part
    assert total is not None, "deformable attention needs at least one level"
    return total.flatten(2)


def by_grid_sample(values: Sequence[Tensor], points: Tensor, weights: Tensor) -> Tensor:
    """The same by torch's `grid_sample`, which export formats have an operator for."""
    batch, queries, heads, _, count = weights.shape
    total: Tensor | None = None
    for level, maps in enumerate(values):
        grid = (points[:, :, :, level] * 2 - 1).transpose(1, 2).reshape(batch * heads, queries, count, 2)
        read = F.grid_sample(maps.flatten(0, 1), grid.to(maps.dtype), padding_mode="zeros", align_corners=False)
        share = weights[:, :, :, level].transpose(1, 2).reshape(batch * heads, 1, queries, count)
        part = (read * share.to(read.dtype)).sum(-1)  # [B*H,D,Q]
        total = part if total is None else total + part
    assert total is not None, "deformable attention needs at least one level"
    return total.view(batch, -1, queries).transpose(1, 2)

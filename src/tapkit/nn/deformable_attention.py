"""Deformable attention: each query reads a few positions that it chooses itself, on maps of several scales.

Zhu et al., "Deformable DETR", ICLR 2021 (arXiv:2010.04159), equation 3, without its linear layers: head m of query q
gives the sum over levels l and points k of weight[q,m,l,k] times the bilinear sample of its values on map l. Positions
are parts of the maps' extent, so that they mean the same on every level; outside there are zeros.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.nn.exporting import exporting


def deformable_attention(values: Sequence[Tensor], points: Tensor, weights: Tensor) -> Tensor:
    """What queries read from maps.

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
    batch, queries, heads = points.shape[:3]
    total: Tensor | None = None
    for level, maps in enumerate(values):
        rows = maps.permute(0, 3, 4, 1, 2).reshape(-1, maps.shape[2])  # [B*h*w*H,D]
        index, share = _corners(points[:, :, :, level], weights[:, :, :, level], (maps.shape[-2], maps.shape[-1]))
        # A bag of rows, each with its weight, added up: nothing is kept of the single samples.
        part = F.embedding_bag(
            index.view(batch * queries * heads, -1),
            rows,
            mode="sum",
            per_sample_weights=share.view(batch * queries * heads, -1).to(rows.dtype),
        )
        total = part if total is None else total + part
    assert total is not None, "deformable attention needs at least one level"
    return total.view(batch, queries, -1)


def _corners(points: Tensor, weights: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Which values samples of a map are blends of: points [B,Q,H,K,2], weights [B,Q,H,K] -> both [B,Q,H,K,2,2].

    The numbers of rows [B*h*w*H] of values, and their shares of the weights (nothing outside the map, where the number
    is that of a row inside).
    """
    (height, width), (batch, _, heads) = size, points.shape[:3]
    step = torch.arange(2, device=points.device)
    head = torch.arange(heads, device=points.device).view(-1, 1, 1)
    first = torch.arange(batch, device=points.device).view(-1, 1, 1, 1, 1) * (height * width * heads)
    numbers, shares = [], []
    for axis, length, stride in ((0, width, heads), (1, height, width * heads)):
        position = points[..., axis] * length - 0.5
        # Far outside is as good as just outside, and is a whole number that fits.
        low = position.floor().clamp_(-2, length + 1)
        fraction = position - low
        at = low.long()[..., None] + step
        share = torch.stack([1 - fraction, fraction], -1)
        shares.append(share * ((at >= 0) & (at < length)))
        numbers.append(at.clamp_(0, length - 1).mul_(stride))
    rows = numbers[1] + (head + first)
    weighted = shares[1] * weights[..., None]
    return rows[..., :, None] + numbers[0][..., None, :], weighted[..., :, None] * shares[0][..., None, :]


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

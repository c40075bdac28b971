"""Correlation of point features with the feature maps around the points, without ever building a correlation map.

PIPs, PIPs++ and CoTracker look at <feature of a point, feature map> on a (2r+1) x (2r+1) grid of unit steps around the
point's position. All samples of one point share the same fractional offset, so the products are taken with the
(2r+2) x (2r+2) whole cells around it, and the four neighbours are blended afterwards: correlation is linear in the
map, so this is bilinear sampling of the map up to rounding, with one fetch of each cell instead of four.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tapkit.constants import constant_like

_ROWS = 128
"""Points whose cells are fetched at once: enough for full speed, and the copies stay in the cache."""


def _fetch(level: Tensor, frames: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Cells of level [T,h,w,C] at frames [M], columns x [M,s], rows y [M,s] (all in range) -> [M, s*s, C], x slow."""
    height, width, channels = level.shape[1:]
    cells = (frames[:, None, None] * height + y[:, None, :]) * width + x[:, :, None]
    return level.reshape(-1, channels).index_select(0, cells.reshape(-1)).view(len(frames), -1, channels)


def _around(level: Tensor, templates: Tensor, frames: Tensor, xy: Tensor, radius: int) -> Tensor:
    """One level of `correlate`, not scaled: [M,K,(2r+1)^2]."""
    height, width = level.shape[1:3]
    side = 2 * radius + 2
    # Positions far outside see nothing but padding; clamping them keeps the indices small.
    limit = constant_like([width + side, height + side], xy)
    xy = torch.minimum(xy.clamp(min=-side), limit)
    corner = xy.floor()
    fraction = xy - corner
    offsets = torch.arange(-radius, radius + 2, device=xy.device)
    x, y = (corner.long()[:, axis, None] + offsets for axis in (0, 1))
    inside_x, inside_y = (x >= 0) & (x < width), (y >= 0) & (y < height)
    patch = _fetch(level, frames, x.clamp_(0, width - 1), y.clamp_(0, height - 1))
    # In float32 whatever the map is stored in: products rounded to bfloat16 would say little about the position.
    products = torch.matmul(templates, patch.float().transpose(1, 2)).view(len(xy), -1, side, side)  # [M,K,x,y]
    products *= (inside_x[:, :, None] & inside_y[:, None, :])[:, None]
    fx, fy = fraction[:, 0, None, None, None], fraction[:, 1, None, None, None]
    along_x = torch.lerp(products[:, :, :-1], products[:, :, 1:], fx)
    return torch.lerp(along_x[..., :-1], along_x[..., 1:], fy).flatten(2)


def correlate(levels: Sequence[Tensor], templates: Tensor, frames: Tensor, xy: Tensor, radius: int = 3) -> Tensor:
    """Scaled products of templates with the cells around points on every level of a pyramid.

    levels: maps [T,h,w,C], each half the size of the one before (floor); templates [M,K,C]: K features for each of M
    points; frames int64 [M]: the frame each is looked at; xy float32 [M,2]: its position in cells of level 0, cell
    centres at integers (level l is looked at around xy / 2^l). Cells outside a map count as zero.

    Returns float32 [M, K, L*(2r+1)^2] / sqrt(C): levels in turn, then the offset in x (slow), then the one in y (fast).
    """
    samples = (2 * radius + 1) ** 2
    out = xy.new_empty(len(xy), templates.shape[1], len(levels) * samples)
    templates = templates.float() * templates.shape[-1] ** -0.5
    for start in range(0, len(xy), _ROWS):
        rows = slice(start, start + _ROWS)
        for number, level in enumerate(levels):
            part = slice(number * samples, (number + 1) * samples)
            out[rows, :, part] = _around(level, templates[rows], frames[rows], xy[rows] / 2**number, radius)
    return out


def sample_clamped(level: Tensor, frames: Tensor, xy: Tensor) -> Tensor:
    """Bilinear samples of level [T,h,w,C] at frames int64 [M], positions xy [M,2] in cells -> float32 [M,C].

    Outside, the border's cells are repeated; the weights are those of the position as it is (PIPs, `utils/samp`).
    """
    height, width, channels = level.shape[1:]
    cells = level.reshape(-1, channels)
    corner = xy.floor()
    fx, fy = (xy - corner).unsqueeze(-1).unbind(1)
    x0, y0 = corner.long().unbind(1)
    base = frames * height

    def at(x: Tensor, y: Tensor) -> Tensor:
        return cells[(base + y.clamp(0, height - 1)) * width + x.clamp(0, width - 1)].float()

    top = torch.lerp(at(x0, y0), at(x0 + 1, y0), fx)
    return torch.lerp(top, torch.lerp(at(x0, y0 + 1), at(x0 + 1, y0 + 1), fx), fy)

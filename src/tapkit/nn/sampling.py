"""Reading feature maps at positions between pixels.

Positions are in pixels of the map with pixel centres at integers ("align_corners=True"): that is what the published
trackers use inside, whatever a model's adapter speaks.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.constants import constant_like

Padding = Literal["border", "zeros"]
"""Outside the map: the nearest border pixel, or nothing."""


def sample(maps: Tensor, xy: Tensor, padding: Padding = "border") -> Tensor:
    """Bilinear samples of maps [B,C,h,w] at xy [B,...,2] -> [B,...,C], in float32 arithmetic for the positions.

    A map side of one pixel has only that pixel to offer; not-a-number positions read the border (or nothing).
    """
    height, width = maps.shape[-2:]
    scale = constant_like([2.0 / max(width - 1, 1), 2.0 / max(height - 1, 1)], xy)
    grid = (xy * scale - 1).flatten(1, -2)[:, :, None]
    values = F.grid_sample(maps, grid.to(maps.dtype), mode="bilinear", padding_mode=padding, align_corners=True)
    return values[..., 0].transpose(1, 2).reshape(*xy.shape[:-1], maps.shape[1])


def integer_patch(maps: Tensor, index: Tensor, xy: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """The (2r+2) x (2r+2) whole pixels around positions, of which all samples at xy + (-r..r, -r..r) are blends.

    Args:
        maps: [B,h,w,C], contiguous (channels last).
        index: int64 [P], which map each position lies in.
        xy: float32 [P,2].
        radius: r, map pixels.

    Returns:
        Pixels [P,2r+2,2r+2,C], x being the slow index (the order of PIPs and all its descendants), clamped to the map
        ("border" padding), and the blending fractions [P,2] (x, y) in [0,1): sample (i, j) is the bilinear blend of
        pixels (i, j) .. (i+1, j+1).
    """
    height, width = maps.shape[1:3]
    cells, fraction = integer_cells((height, width), xy, radius)
    flat = (cells + (index * (height * width))[:, None, None]).flatten()
    side = 2 * radius + 2
    return maps.flatten(0, 2).index_select(0, flat).view(-1, side, side, maps.shape[-1]), fraction


def integer_cells(size: tuple[int, int], xy: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Where the pixels of `integer_patch` lie in a map of (height, width), counted row by row: int64 [P,2r+2,2r+2]
    for positions xy [P,2], and the same fractions."""
    height, width = size
    base, fraction = split(xy, size, radius)
    steps = torch.arange(-radius, radius + 2, device=xy.device)
    x = (base[:, :1] + steps).clamp_(0, width - 1)
    y = (base[:, 1:] + steps).clamp_(0, height - 1).mul_(width)
    return y[:, None, :] + x[:, :, None], fraction


def blend(values: Tensor, fraction: Tensor) -> Tensor:
    """Bilinear blends of neighbouring entries: values [P,n+1 (x),n+1 (y),...], fraction [P,2] -> [P,n,n,...]."""
    shape = (-1,) + (1,) * (values.ndim - 1)
    fx, fy = (part.to(values.dtype).reshape(shape) for part in fraction.unbind(1))
    across = torch.lerp(values[:, :-1], values[:, 1:], fx)
    return torch.lerp(across[:, :, :-1], across[:, :, 1:], fy)


def split(xy: Tensor, size: tuple[int, int], radius: int) -> tuple[Tensor, Tensor]:
    """Whole part (int64) and fraction of positions; far outside, where only the border counts, they are cut off."""
    limit = float(max(size) + 2 * radius + 2)
    xy = torch.nan_to_num(xy, nan=-limit, posinf=limit, neginf=-limit).clamp(-limit, limit)
    base = xy.floor()
    return base.long(), xy - base

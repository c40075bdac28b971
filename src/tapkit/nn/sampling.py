"""Reading feature maps at positions between pixels.

Positions are in pixels of the map with pixel centres at integers ("align_corners=True"): that is what the published
trackers use inside, whatever a model's adapter speaks.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Padding = Literal["border", "zeros"]
"""Outside the map: the nearest border pixel, or nothing."""


def sample(maps: Tensor, xy: Tensor, padding: Padding = "border") -> Tensor:
    """Bilinear samples of maps [B,C,h,w] at xy [B,...,2] -> [B,...,C], in float32 arithmetic for the positions.

    A map side of one pixel has only that pixel to offer; not-a-number positions read the border (or nothing).
    """
    height, width = maps.shape[-2:]
    scale = xy.new_tensor([2.0 / max(width - 1, 1), 2.0 / max(height - 1, 1)])
    grid = (xy * scale - 1).flatten(1, -2)[:, :, None]
    values = F.grid_sample(maps, grid.to(maps.dtype), mode="bilinear", padding_mode=padding, align_corners=True)
    return values[..., 0].transpose(1, 2).unflatten(1, xy.shape[1:-1])


def integer_patch(maps: Tensor, index: Tensor, xy: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """The (2r+2) x (2r+2) whole pixels around positions, from which all samples at xy + (-r..r, -r..r) are blends.

    Args:
        maps: [B,h,w,C], contiguous (channels last).
        index: int64 [P], which map each position lies in.
        xy: float32 [P,2].
        radius: r, map pixels.

    Returns:
        Pixels [P, 2r+2 (y), 2r+2 (x), C], with indices clamped to the map ("border" padding), and the blending
        fractions [P,2] (x, y) in [0,1): sample (i, j) is the bilinear blend of pixels (i, j) .. (i+1, j+1).
    """
    height, width = maps.shape[1:3]
    # Far outside, every index clamps to the border anyway; this keeps the integers small, and drops NaN and infinity.
    limit = float(max(height, width) + 2 * radius + 2)
    xy = torch.nan_to_num(xy, nan=-limit, posinf=limit, neginf=-limit).clamp(-limit, limit)
    base = xy.floor()
    steps = torch.arange(-radius, radius + 2, device=maps.device)
    x = (base[:, :1].long() + steps).clamp_(0, width - 1)
    y = (base[:, 1:].long() + steps).clamp_(0, height - 1)
    rows = (index[:, None] * height + y) * width
    flat = (rows[:, :, None] + x[:, None, :]).flatten()
    side = 2 * radius + 2
    pixels = maps.flatten(0, 2).index_select(0, flat).unflatten(0, (-1, side, side))
    return pixels, xy - base


def blend(values: Tensor, fraction: Tensor) -> Tensor:
    """Bilinear blends of neighbouring entries: values [P,n+1 (y),n+1 (x),...], fraction [P,2] -> [P,n,n,...]."""
    shape = (-1,) + (1,) * (values.ndim - 1)
    fx, fy = fraction[:, 0].reshape(shape), fraction[:, 1].reshape(shape)
    across = torch.lerp(values[:, :, :-1], values[:, :, 1:], fx.to(values.dtype))
    return torch.lerp(across[:, :-1], across[:, 1:], fy.to(values.dtype))

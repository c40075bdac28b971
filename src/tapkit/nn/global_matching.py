"""What TAP-Net and its descendants TAPIR and LocoTrack share: inputs, query features, the soft argmax of a heat map.

Positions are in cells of a map, corner origin ("raster": the centre of the first cell is 0.5), so that going from
one resolution to another is one multiplication per axis. Sources: TAP-Vid (arXiv:2211.03726, appendix on TAP-Net),
TAPIR (arXiv:2306.08637, section 3.1), LocoTrack (arXiv:2407.15420, section 3.2).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.coords import Size as Size  # models import it from here
from tapkit.errors import UsageError

_WINDOW_RADIUS = 5
"""Cells further than or just as far as this from the best one do not count in the soft argmax."""


def to_unit_range(frames: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 frames [B,3,H,W] as numbers in [-1, 1]."""
    return frames.to(torch.float32).div_(255).mul_(2).sub_(1).to(dtype)


def resize_bilinear(frames: Tensor, size: Size) -> Tensor:
    """frames [B,3,H,W] at `size`: bilinear, corner aligned (half-pixel centres), no antialiasing."""
    if tuple(frames.shape[-2:]) == size:
        return frames
    return F.interpolate(frames, size=size, mode="bilinear", align_corners=False)


def check_resolution(size: Size) -> Size:
    """`size` itself if the networks can work at it (positive multiples of 8), else a UsageError."""
    height, width = (int(side) for side in size)
    if height < 8 or width < 8 or height % 8 or width % 8:
        raise UsageError(f"a working resolution needs sides that are multiples of 8, got {height}x{width}")
    return height, width


def refinement_resolutions(size: Size, initial: Size = (256, 256)) -> tuple[Size, ...]:
    """The resolutions at which a video of `size` is refined by default, coarse to fine, multiples of 8.

    The initial one if the video is not larger on either axis; else sizes in geometric steps of at most about two
    from the initial one to the video's own.

    >>> refinement_resolutions((480, 854))
    ((256, 256), (344, 464), (480, 848))
    >>> refinement_resolutions((200, 320), (256, 256)), refinement_resolutions((90, 120))
    (((256, 256), (200, 320)), ((256, 256),))
    """
    ratios = [side / start for side, start in zip(size, initial, strict=True)]
    levels = math.ceil(math.log2(max(ratios))) + 1
    if levels <= 1:
        return (initial,)

    def side(start: int, ratio: float, level: int) -> int:
        return max(8 * int(start * ratio ** (level / (levels - 1)) / 8), 8)

    return tuple((side(initial[0], ratios[0], level), side(initial[1], ratios[1], level)) for level in range(levels))


def sample_trilinear(maps: Tensor, positions: Tensor) -> Tensor:
    """Features of maps [T,h,w,C] at positions [...,3] (t, x, y), clamped to the maps -> [...,C].

    x and y are in cells, corner origin; t counts frames, whole at their middle (a fractional t blends two frames).
    """
    frames, height, width, channels = maps.shape
    flat = maps.reshape(-1, channels)
    t, x, y = positions.float().unbind(-1)
    axes = [_neighbours(t, frames), _neighbours(x - 0.5, width), _neighbours(y - 0.5, height)]
    out = torch.zeros(*positions.shape[:-1], channels, dtype=maps.dtype, device=maps.device)
    for t_index, t_weight in axes[0]:
        for y_index, y_weight in axes[2]:
            for x_index, x_weight in axes[1]:
                cells = flat[(t_index * height + y_index) * width + x_index]
                out = out + cells * (t_weight * y_weight * x_weight).unsqueeze(-1).to(maps.dtype)
    return out


def _neighbours(position: Tensor, count: int) -> list[tuple[Tensor, Tensor]]:
    """The two whole neighbours of a position on an axis of `count` cells, each with its linear weight."""
    position = position.clamp(0, count - 1)
    low = position.floor()
    fraction = position - low
    index = low.long()
    return [(index, 1 - fraction), ((index + 1).clamp(max=count - 1), fraction)]


def soft_argmax(logits: Tensor) -> Tensor:
    """Mean position under softmax(logits) [M,h,w] near the best cell -> float32 [M,2] (x, y), cells, corner origin.

    Only cells whose centre lies less than 5 cells from that of the best one count. The mean does not change when all
    weights are multiplied by the same number, so the softmax over the whole map is never needed.
    """
    height, width = logits.shape[-2:]
    flat = logits.float().flatten(1)
    top, best = flat.max(1)
    reach = torch.arange(1 - _WINDOW_RADIUS, _WINDOW_RADIUS, device=logits.device)
    row = torch.div(best, width, rounding_mode="floor")
    x = (best - row * width)[:, None] + reach  # not "%", which ONNX cannot take of a size
    y = row[:, None] + reach
    inside = ((x >= 0) & (x < width))[:, None, :] & ((y >= 0) & (y < height))[:, :, None]
    inside = inside & (reach.square()[:, None] + reach.square() < _WINDOW_RADIUS**2)
    cells = y.clamp(0, height - 1)[:, :, None] * width + x.clamp(0, width - 1)[:, None, :]
    values = flat.gather(1, cells.flatten(1)).view(cells.shape)
    weights = torch.where(inside, (values - top[:, None, None]).exp(), 0.0)
    total = weights.sum((1, 2))
    mean_x = (weights.sum(1) * (x + 0.5)).sum(1) / total
    mean_y = (weights.sum(2) * (y + 0.5)).sum(1) / total
    return torch.stack([mean_x, mean_y], 1)

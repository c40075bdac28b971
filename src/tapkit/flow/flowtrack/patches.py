"""Patches of pictures, and where around a place they match best: normalised cross-correlation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.flow.fields import at_points

FLAT = 2.0
"""Grey levels of deviation below which a patch is too flat to be told from others."""
_AT_ONCE = 1 << 24
"""Numbers of the windows that are searched together."""


def sampled(picture: Tensor, xy: Tensor, side: int) -> Tensor:
    """Square patches [N,C,side,side] of picture [C,h,w] around points [N,2] (corner origin), the border repeated."""
    steps = torch.arange(side, device=xy.device, dtype=xy.dtype) - (side - 1) / 2
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    places = xy[:, None] + torch.stack([x, y], -1).reshape(-1, 2)
    values = at_points(picture[None], places[None])[0]
    return values.transpose(1, 2).reshape(len(xy), len(picture), side, side)


def normalised(patch: Tensor) -> Tensor:
    """Patches [N,C,p,p] with zero mean in each channel and unit norm; all zero where they are flat."""
    centred = patch - patch.mean((2, 3), keepdim=True)
    norm = centred.flatten(1).norm(dim=1)
    scale = torch.where(norm < FLAT * centred[0].numel() ** 0.5, 0.0, norm.clamp(min=1e-6).reciprocal())
    return centred * scale[:, None, None, None]


def best_places(picture: Tensor, xy: Tensor, templates: Tensor, reach: int) -> tuple[Tensor, Tensor]:
    """Where within `reach` pixels of points [N,2] their templates [N,C,p,p] (normalised) match best.

    Returns the places [N,2], to a fraction of a pixel, and the correlations there, -1..1 [N]; flat templates have 0
    and stay.
    """
    count, channels, side, _ = templates.shape
    width = side + 2 * reach
    at_once = max(_AT_ONCE // (channels * width**2), 1)
    places, scores = [xy[:0]], [xy[:0, 0]]
    for begin in range(0, count, at_once):
        rows = slice(begin, begin + at_once)
        maps = correlations(sampled(picture, xy[rows], width), templates[rows])
        offset, score = peaks(maps)
        places.append(xy[rows] + offset)
        scores.append(score)
    return torch.cat(places), torch.cat(scores)


def correlations(windows: Tensor, templates: Tensor) -> Tensor:
    """Correlation of templates [N,C,p,p] with all patches of their windows [N,C,w,w]: [N,w-p+1,w-p+1]."""
    count, channels, width, _ = windows.shape
    side = templates.shape[-1]
    windows = windows - windows.mean((2, 3), keepdim=True)
    products = F.conv2d(windows.reshape(1, -1, width, width), templates, groups=count)[0]
    mean = F.avg_pool2d(windows, side, 1)
    square = F.avg_pool2d(windows.square(), side, 1)
    variance = (square - mean.square()).sum(1).clamp(min=0)
    norm = (variance * side**2).sqrt().clamp(min=FLAT * (channels * side**2) ** 0.5)
    return products / norm


def peaks(maps: Tensor) -> tuple[Tensor, Tensor]:
    """The maxima of maps [N,m,m]: offsets (x, y) from the middle [N,2], refined by parabolas, and values [N]."""
    count, side, _ = maps.shape
    score, index = maps.flatten(1).max(1)
    row, column = torch.div(index, side, rounding_mode="floor"), index % side
    each = torch.arange(count, device=maps.device)
    offset = []
    for at, line in ((column, maps[each, row]), (row, maps[each, :, column])):
        inner = at.clamp(1, max(side - 2, 1))
        before, here, after = (line[each, (inner + step).clamp(0, side - 1)] for step in (-1, 0, 1))
        bend = before - 2 * here + after
        shift = torch.where(bend < -1e-6, 0.5 * (before - after) / bend.clamp(max=-1e-6), 0.0).clamp(-0.5, 0.5)
        shift = torch.where(inner == at, shift, 0.0)
        offset.append(at - (side - 1) / 2 + shift)
    moved = torch.stack(offset, 1)
    return torch.where((score > 0)[:, None], moved, 0.0), score

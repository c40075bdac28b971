"""Coarse motion out of sparse tracks: each cell moves as the nearest track does (arXiv:2312.00786, section 3.1).

Positions here are x / (width - 1), y / (height - 1): 0 and 1 are the centres of the outermost pixels. Distances are
counted in these units, so in a frame that is no square a pixel along its shorter side counts for more.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tapkit import coords
from tapkit.constants import constant_like
from tapkit.coords import Size

_PAIRS = 1 << 22
"""Distances computed at a time."""


class SparseTracks(NamedTuple):
    """Tracks of S points over a clip of T frames."""

    xy: Tensor
    """float32 [T,S,2], in units of the frame (see above)."""
    visible: Tensor
    """bool [T,S]."""


def unit(xy: Tensor, size: Size) -> Tensor:
    """Pixel centres (integers) [...,2] in units of a frame of `size`."""
    return coords.resize_centers(xy, size, (2, 2))


def unit_grid(size: Size, device: torch.device | str = "cpu") -> Tensor:
    """Positions of the cells of a map of `size`, the outermost at 0 and 1: [h,w,2]."""
    y, x = torch.meshgrid(
        torch.linspace(0, 1, size[0], device=device), torch.linspace(0, 1, size[1], device=device), indexing="ij"
    )
    return torch.stack([x, y], -1)


def nearest(points: Tensor, visible: Tensor, size: Size) -> Tensor:
    """Which of the visible points [S,2] is nearest to each cell of a map of `size`: int64 [h,w]; the first of equals.

    Where none is visible, the first point.
    """
    hidden = torch.where(visible, 0.0, torch.inf)  # as a distance: their number is not asked of the device
    cells = unit_grid(size, points.device).reshape(-1, 2)
    found = []
    for some in torch.split(cells, max(_PAIRS // len(points), 1)):
        x, y = (some[:, axis, None] - points[:, axis] for axis in (0, 1))
        found.append(x.square_().add_(y.square_()).add_(hidden).argmin(1))
    return torch.cat(found).view(size)


def coarse_motion(tracks: SparseTracks, first: int, second: int, index: Tensor) -> tuple[Tensor, Tensor]:
    """Flow [1,2,h,w] (cells) and visibility [1,1,h,w] (0 or 1) between two frames, cell by cell of the point `index`
    [h,w], which `nearest` found for the first frame."""
    height, width = index.shape
    scale = constant_like([width - 1, height - 1], tracks.xy)
    moved = (tracks.xy[second] - tracks.xy[first]) * scale
    return moved[index].permute(2, 0, 1)[None], tracks.visible[second][index].float()[None, None]

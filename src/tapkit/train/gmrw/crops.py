"""Two random crops of a frame, and where the cells of the one are in the other ("label warping")."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.train.gmrw.settings import GmrwSettings


class Box(NamedTuple):
    """The part of a frame that a crop shows, in shares of the frame's sides."""

    left: float
    top: float
    width: float
    height: float


def random_box(settings: GmrwSettings, generator: torch.Generator) -> Box:
    """A box of random area, aspect (its logarithm is uniform) and place; what is wider than the frame is cut."""
    area, aspect, left, top = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
    area = settings.area[0] + area * (settings.area[1] - settings.area[0])
    low, high = (math.log(value) for value in settings.aspect)
    ratio = math.exp(low + aspect * (high - low))
    width, height = min(math.sqrt(area * ratio), 1.0), min(math.sqrt(area / ratio), 1.0)
    return Box(left * (1 - width), top * (1 - height), width, height)


def cut(images: Tensor, box: Box, side: int) -> Tensor:
    """That part of square images [B,3,S,S], resized bilinearly to [B,3,side,side]."""
    centres = (torch.arange(side, device=images.device, dtype=torch.float32) + 0.5) / side
    x = 2 * (box.left + box.width * centres) - 1
    y = 2 * (box.top + box.height * centres) - 1
    grid = torch.stack([x.expand(side, -1), y[:, None].expand(-1, side)], -1)
    grid = grid.expand(len(images), -1, -1, -1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def warped_cells(start: Box, end: Box, cells: int) -> tuple[Tensor, Tensor]:
    """Which cell of the crop `end` shows what each cell of the crop `start` shows, for maps of cells x cells.

    Returns row-major indices int64 [cells^2], of the cell that the centre falls into, and bool [cells^2]: it falls
    into the crop.
    """
    centres = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
    x = (start.left + start.width * centres - end.left) / end.width
    y = (start.top + start.height * centres - end.top) / end.height
    columns, rows = ((part * cells).floor() for part in (x, y))
    inside_x, inside_y = ((part >= 0) & (part < cells) for part in (columns, rows))
    columns, rows = (part.clamp(0, cells - 1).long() for part in (columns, rows))
    return (rows[:, None] * cells + columns).flatten(), (inside_y[:, None] & inside_x).flatten()

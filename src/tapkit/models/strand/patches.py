"""Features around places: the patches that points are looked for by."""

from __future__ import annotations

import torch
from torch import Tensor

from tapkit.models.strand.encoder import LEVEL_STRIDES, Maps
from tapkit.nn.sampling import blend, integer_patch


def to_cells(xy: Tensor, stride: int) -> Tensor:
    """Pixels, corner origin -> cells of a map, whose centres are whole numbers."""
    return xy / stride - 0.5


def cut(maps: Maps, owner: Tensor, xy: Tensor, patches: tuple[int, ...]) -> tuple[Tensor, ...]:
    """Patches of all maps around xy [M,2] on frames owner [M] -> float32 [M,K,C] each, x slow."""
    result = []
    places = zip(LEVEL_STRIDES, (*patches, 0), strict=True)
    for level, (stride, radius) in zip(maps.levels, places, strict=False):
        cells, fraction = integer_patch(level, owner, to_cells(xy, stride), radius)
        result.append(blend(cells.float(), fraction).flatten(1, 2))
    return tuple(result)


def middles(patches: tuple[Tensor, ...]) -> Tensor:
    """The middle cells of patches [...,K,C] of all maps, side by side: [...,C]."""
    return torch.cat([patch[..., patch.shape[-2] // 2, :] for patch in patches], -1)

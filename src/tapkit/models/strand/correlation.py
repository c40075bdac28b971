"""Products of patches with the cells around a place, on three maps (local 4D correlation: Cho et al., LocoTrack, ECCV
2024, section 3.2)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from tapkit.constants import constant, constant_like
from tapkit.models.strand.encoder import STRIDES, Maps
from tapkit.models.strand.rows import filled, picked, rows_at_once
from tapkit.nn.mixed import plain_matmul
from tapkit.nn.sampling import blend


def cells_around(radius: int) -> Tensor:
    """Where the cells that are looked at lie from the middle one: float32 [(2r+1)^2,2], x slow."""
    steps = torch.arange(-radius, radius + 1, dtype=torch.float32)
    return torch.cartesian_prod(steps, steps)


class Products(NamedTuple):
    """Products of R templates with the whole cells around R places."""

    base: Tensor
    """float32 [3,R,2]: the cell of each map that the place lies behind."""
    fraction: Tensor
    """[3,R,2]: and how far."""
    values: tuple[Tensor, ...]
    """[R,(2r+2)^2,P] for each map, in the dtype of the map, x slow."""

    def first(self, count: int) -> Products:
        """Of the first rows."""
        return Products(self.base[:, :count], self.fraction[:, :count], tuple(part[:count] for part in self.values))

    def select(self, rows: Tensor) -> Products:
        """Only those rows."""
        values = tuple(picked(part, rows) for part in self.values)
        return Products(self.base.index_select(1, rows), self.fraction.index_select(1, rows), values)

    def blended(self, rows: slice = slice(None)) -> Iterator[Tensor]:
        """Products with the bilinear samples around some of the places: for each map float32 [R,(2r+1)^2,P], x slow."""
        for values, fraction in zip(self.values, self.fraction, strict=True):
            side = math.isqrt(values.shape[1])
            some = values[rows].float().view(-1, side, side, values.shape[2])
            yield blend(some, fraction[rows]).flatten(1, 2)


def correlate(maps: Maps, templates: tuple[Tensor, ...], owner: Tensor, xy: Tensor, radius: int) -> Products:
    """Products of templates [M,P,C] of each map with its cells around places xy [M,K,2] on frames owner [M]; R = M*K.

    They are taken with whole cells and blended afterwards (guides/performance.md section 7, item 4), in the dtype of
    the map: with bfloat16 they are off by 0.002 at most, which moves no maximum by more than a few hundredths of a
    cell, and are three to ten times as fast as products of converted features.
    """
    rows, count = xy.shape[:2]
    base, fraction = _split(maps, xy.flatten(0, 1))
    cells = _cells(maps, owner[:, None].expand(-1, count).flatten(), base, radius).view(len(STRIDES), rows, -1)
    values = []
    for level, template, numbers in zip(maps.learned, templates, cells, strict=True):
        products = []
        for some in rows_at_once(rows, xy.device):
            patch = level.flatten(0, 2).index_select(0, numbers[some].flatten())
            patch = patch.view(-1, numbers.shape[1], level.shape[3])
            products.append(plain_matmul(patch, template[some].to(patch.dtype).transpose(1, 2)))
        whole = products[0] if len(products) == 1 else torch.cat(products)
        values.append(whole.view(rows * count, -1, template.shape[1]))
    return Products(base, fraction, tuple(values))


def correlate_again(
    before: Products, maps: Maps, templates: tuple[Tensor, ...], owner: Tensor, xy: Tensor, radius: int
) -> Products:
    """The same, of places xy [R,1,2] most of which lie within the cells of those of `before`, which is used up.

    Only where they do not are products made anew. The host must wait for which these are, and where parts are compiled,
    each number of them would be compiled anew: there all are made.
    """
    if torch.compiler.is_compiling():
        return correlate(maps, templates, owner, xy, radius)
    base, fraction = _split(maps, xy[:, 0])
    rows = (base != before.base).flatten(2).any(-1).any(0).nonzero()[:, 0]
    if len(rows):
        rows = filled(rows)
        some = tuple(picked(template, rows) for template in templates)
        moved = correlate(maps, some, picked(owner, rows), picked(xy, rows), radius)
        for old, new in zip(before.values, moved.values, strict=True):
            old[rows] = new
    return Products(base, fraction, before.values)


def _split(maps: Maps, xy: Tensor) -> tuple[Tensor, Tensor]:
    """Places xy [R,2] in cells of three maps: whole parts and fractions [3,R,2]. Far outside, where only the border
    counts, they are cut off."""
    cells = xy / constant_like([[float(stride)] for stride in STRIDES], xy)[:, None] - 0.5
    far = float(2 * max(maps.fine.shape[1:3]))
    cells = torch.nan_to_num(cells, nan=-far, posinf=far, neginf=-far).clamp(-far, far)
    base = cells.floor()
    return base, cells - base


def _cells(maps: Maps, owner: Tensor, base: Tensor, radius: int) -> Tensor:
    """Which cells of the flattened maps lie around `base` [3,R,2] on frames owner [R]: int64 [3,R*(2r+2)^2], x slow,
    the map going on beyond its border (as `nn.sampling.integer_cells`, of three maps at once)."""
    sides = [[level.shape[2], level.shape[1]] for level in maps.learned]
    sizes = constant(sides, torch.int64, base.device)[:, None]  # [3,1,2]
    steps = torch.arange(-radius, radius + 2, device=base.device)
    place = torch.minimum((base.long()[..., None] + steps).clamp_(min=0), (sizes - 1)[..., None])  # [3,R,2,2r+2]
    row = place[:, :, 1] + (owner * sizes[..., 1])[..., None]  # of all rows of all frames
    return (place[:, :, 0, :, None] + (row * sizes[..., :1])[:, :, None]).flatten(1)

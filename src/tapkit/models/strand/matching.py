"""Global matching: where in a frame the features of a point fit best, wherever that is.

Each cell of the fine map is worth the products of the point's features with all three maps there, the coarser ones
interpolated, and the logarithm of how likely the point went there. `everywhere` gives all cells, which is what training
learns from. `coarse_to_fine` gives the same answer in a quarter of the time: only the cells under the most promising
ones of the map of stride 8 are looked at (coarse-to-fine matching: Sun et al., LoFTR, CVPR 2021, section 3.5; that the
coarse cells alone decide where, is what is left out of it).

Cells are int64 [2,M,K]: K columns and rows for each of M points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.constants import constant, table
from tapkit.models.strand.encoder import STRIDES, Maps
from tapkit.models.strand.rows import rows_at_once
from tapkit.nn.mixed import plain_matmul

PROMISING = 12
"""Cells of the map of stride 8 under which `coarse_to_fine` looks."""
WINDOW = 3
"""Cells across in which the best place is averaged."""


class Sought(NamedTuple):
    """What M points are looked for by; rows are those of B frames in turn."""

    features: tuple[Tensor, ...]
    """[M,C] for each map, float32, of the length that its logits have; a fourth one where `Maps.known` is anything."""
    expected: Tensor
    """[M,2] pixels."""
    scale: Tensor
    """[M] pixels: how far the point may have gone from there."""
    power: Tensor
    """[M] how fast that becomes less likely."""

    def prior(self, squares: Tensor) -> Tensor:
        """Log of how likely a place is, up to a constant, by its squared distance over scale [M,...]: Student's t."""
        return -self.power.view(-1, *(1,) * (squares.ndim - 1)) * torch.log1p(squares)


class Matching(Protocol):
    """What was found."""

    @property
    def xy(self) -> Tensor:
        """[M,2] pixels: the best place."""

    @property
    def best(self) -> Tensor:
        """[M] logit of the best cell."""

    def near(self, xy: Tensor) -> Tensor:
        """[M] logit of the best of the 3x3 cells around xy [M,2]."""


@dataclass(frozen=True)
class Everywhere:
    """All cells were looked at."""

    cost: Tensor
    """[M,h*w] logits of the cells of the fine map, row by row."""
    width: int
    """Cells in a row."""
    xy: Tensor
    """See `Matching`."""

    @property
    def best(self) -> Tensor:
        """See `Matching`."""
        return self.cost.amax(-1)

    def near(self, xy: Tensor) -> Tensor:
        """See `Matching`."""
        x, y = cells_around(xy, STRIDES[0], self.width, self.cost.shape[1] // self.width)
        return self.cost.gather(1, y * self.width + x).amax(-1)


@dataclass(frozen=True)
class CoarseToFine:
    """Some cells were looked at."""

    maps: Maps
    sought: Sought
    coarser: tuple[Tensor, ...]
    """Products [M,h,w] with the two coarser maps, float32."""
    xy: Tensor
    """See `Matching`."""
    best: Tensor
    """See `Matching`."""

    def near(self, xy: Tensor) -> Tensor:
        """See `Matching`."""
        height, width = self.maps.fine.shape[1:3]
        return _at(self.maps, self.sought, self.coarser, cells_around(xy, STRIDES[0], width, height)).amax(-1)


def everywhere(maps: Maps, sought: Sought) -> Everywhere:
    """All cells of the frame."""
    batch, height, width, _ = maps.fine.shape
    count = len(sought.expected) // batch
    squares = _squares(sought.expected, sought.scale, height, width, STRIDES[0])
    total = sought.prior(squares).view(batch, count, height, width)
    for number, (level, feature) in enumerate(zip(maps.levels, sought.features, strict=True)):
        cost = products(level, feature).float().view(batch, count, *level.shape[1:3])
        if number:
            cost = F.interpolate(cost, size=(height, width), mode="bilinear", align_corners=False)
        total = total + cost
    cost = total.flatten(0, 1).flatten(1)
    return Everywhere(cost, width, around_best(cost, width) * STRIDES[0])


def coarse_to_fine(maps: Maps, sought: Sought, promising: int = PROMISING) -> CoarseToFine:
    """The cells of the fine map that lie under the most promising ones of the map of stride 8."""
    coarse, wide, *known = (
        products(level, feature).float().view(-1, *level.shape[1:3])
        for level, feature in zip(maps.levels[1:], sought.features[1:], strict=True)
    )
    coarser = coarse, sum(known, wide)
    parts = rows_at_once(len(sought.expected), maps.fine.device)
    cells = torch.cat([_under_promising(sought, coarser, rows, promising) for rows in parts], 1)
    found, which = _at(maps, sought, coarser, cells).max(-1)
    height, width = maps.fine.shape[1:3]
    cells = _window(cells.gather(2, which[:, None].expand(2, -1, 1)))
    held = _held(cells, width, height)
    values = _at(maps, sought, coarser, held)
    xy = _mean_cell(values, cells, held) * STRIDES[0]
    return CoarseToFine(maps, sought, coarser, xy, torch.maximum(found, values.amax(-1)))


def _under_promising(sought: Sought, coarser: tuple[Tensor, ...], rows: slice, promising: int) -> Tensor:
    """For some of the points the cells of the fine map [2,R,4*promising] under the best ones of the map of stride 8.

    To choose, each of four cells may count what their common one of the next map does. So the best are among the
    children of those whose best child is best, and only these need be compared one by one.
    """
    coarse, wide = (products[rows] for products in coarser)
    height, width = coarse.shape[1:]
    squares = _squares(sought.expected[rows], sought.scale[rows], height, width, STRIDES[1])
    first = torch.addcmul(coarse, torch.log1p(squares), -sought.power[rows, None, None])
    best = torch.maximum(first[:, ::2], first[:, 1::2])
    best = (torch.maximum(best[:, :, ::2], best[:, :, 1::2]) + wide).flatten(1)
    promising = min(promising, best.shape[1])
    parents = best.topk(promising, sorted=False).indices
    cells = _children(torch.stack([parents % (width // 2), parents // (width // 2)]))
    values = first.flatten(1).gather(1, cells[1] * width + cells[0])
    values = values + wide.flatten(1).gather(1, parents).repeat_interleave(4, 1)
    chosen = values.topk(promising, sorted=False).indices
    return _children(cells.gather(2, chosen.expand(2, -1, -1)))


def around_best(cost: Tensor, width: int) -> Tensor:
    """The best cell of cost maps [M,h*w], and the mean of the 3x3 around it by their softmax: cells + 0.5, [M,2]."""
    height = cost.shape[1] // width
    best = cost.argmax(-1, keepdim=True)
    cells = _window(torch.stack([best % width, best // width]))
    held = _held(cells, width, height)
    return _mean_cell(cost.gather(1, held[1] * width + held[0]), cells, held)


def _children(cells: Tensor) -> Tensor:
    """The cells of a map that lie under cells [2,M,K] of the next one, four each: [2,M,4K]."""
    below = constant([[0, 1, 0, 1], [0, 0, 1, 1]], cells.dtype, cells.device)
    return (2 * cells[..., None] + below[:, None, None]).flatten(2)


def _window(cells: Tensor) -> Tensor:
    """The cells around cells [2,M,1], also beyond the border, row by row: [2,M,9]."""
    steps = [step - WINDOW // 2 for step in range(WINDOW)]
    around = constant([steps * WINDOW, [step for step in steps for _ in steps]], cells.dtype, cells.device)
    return cells + around[:, None]


def _held(cells: Tensor, width: int, height: int) -> Tensor:
    """The same cells, those beyond the border moved onto it."""
    last = constant([width - 1, height - 1], cells.dtype, cells.device)[:, None, None]
    return torch.minimum(cells.clamp(min=0), last)


def _mean_cell(values: Tensor, cells: Tensor, held: Tensor) -> Tensor:
    """The mean of the cells that lie on the map, where these are as they are `held`, by the softmax of their values
    [M,K]: + 0.5, [M,2]."""
    weights = values.masked_fill((cells != held).any(0), float("-inf")).softmax(-1)
    return (weights * cells).sum(-1).T + 0.5


def cells_around(xy: Tensor, stride: int, width: int, height: int) -> Tensor:
    """The 3x3 cells of a map around xy [M,2] pixels, those beyond the border moved onto it: [2,M,9]."""
    return _held(_window((xy / stride).floor().long().T[..., None]), width, height)


def products(level: Tensor, features: Tensor) -> Tensor:
    """Of a map [B,h,w,C] with features [M,C]: [B,M/B,h*w] in the dtype of the map."""
    batch, features = len(level), features.to(level.dtype)
    if batch == 1:  # which `matmul` would transpose the map for
        return plain_matmul(features, level[0].flatten(0, 1).T)[None]
    return plain_matmul(features.view(batch, -1, level.shape[-1]), level.flatten(1, 2).transpose(1, 2))


def _squares(expected: Tensor, scale: Tensor, height: int, width: int, stride: int) -> Tensor:
    """Squared distances over `scale` [M] of the cells of a map from where points are `expected` [M,2]: [M,h,w]."""
    parts = []
    for axis, length in ((1, height), (0, width)):
        centres = table(_centres, (length, stride), torch.float32, expected.device)
        parts.append(((centres - expected[:, axis, None]) / scale[:, None]).square())
    return parts[0][:, :, None] + parts[1][:, None]


def _centres(length: int, stride: int) -> list[float]:
    """Where the middles of the cells of a side lie, pixels."""
    return [(cell + 0.5) * stride for cell in range(length)]


def _at(maps: Maps, sought: Sought, coarser: tuple[Tensor, ...], cells: Tensor) -> Tensor:
    """The logits of cells [2,M,K] of the fine map, as `everywhere` has them: [M,K]."""
    batch, height, width, channels = maps.fine.shape
    _, rows, count = cells.shape
    flat = cells[1] * width + cells[0]
    if batch > 1:
        frame = torch.arange(batch, device=cells.device).repeat_interleave(rows // batch)
        flat = flat + frame[:, None] * (height * width)
    fine = maps.fine.reshape(-1, channels).index_select(0, flat.flatten()).view(rows, count, channels)
    total = plain_matmul(sought.features[0].to(fine.dtype)[:, None], fine.transpose(1, 2))[:, 0].float()
    places = cells + 0.5
    whole = constant([[2 / width], [2 / height]], torch.float32, cells.device)[:, None]
    grid = (places * whole - 1).permute(1, 2, 0)[:, None]
    for cost in coarser:
        total = total + F.grid_sample(cost[:, None], grid, padding_mode="border", align_corners=False)[:, 0, 0]
    away = (places * STRIDES[0] - sought.expected.T[:, :, None]) / sought.scale[:, None]
    return total + sought.prior(away.square().sum(0))

"""Global matching: where in a frame the features of a point fit best, wherever that is.

Each cell of the fine map is worth the products of the point's features with all three maps there, the coarser ones
interpolated, and the logarithm of how likely the point went there. `everywhere` gives all cells, which is what training
learns from. `coarse_to_fine` gives the same answer in a quarter of the time: only the cells under the most promising
ones of the map of stride 8 are looked at (coarse-to-fine matching: Sun et al., LoFTR, CVPR 2021, section 3.5; that the
coarse cells alone decide where, is what is left out of it).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.models.strand.encoder import STRIDES, Maps

PROMISING = 12
"""Cells of the map of stride 8 under which `coarse_to_fine` looks."""
WINDOW = 3
"""Cells across in which the best place is averaged."""


class Sought(NamedTuple):
    """What M points are looked for by; rows are those of B frames in turn."""

    features: tuple[Tensor, ...]
    """[M,C] for each map, float32, of the length that its logits have."""
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
    """Products [M,h,w] with the two coarser maps."""
    xy: Tensor
    """See `Matching`."""
    best: Tensor
    """See `Matching`."""

    def near(self, xy: Tensor) -> Tensor:
        """See `Matching`."""
        height, width = self.maps.fine.shape[1:3]
        return _at(self.maps, self.sought, self.coarser, *cells_around(xy, STRIDES[0], width, height)).amax(-1)


def everywhere(maps: Maps, sought: Sought) -> Everywhere:
    """All cells of the frame."""
    batch, height, width, _ = maps.fine.shape
    count = len(sought.expected) // batch
    squares = _squares(sought, height, width, STRIDES[0])
    total = sought.prior(squares).view(batch, count, height, width)
    for number, (level, feature) in enumerate(zip(maps, sought.features, strict=True)):
        cost = products(level, feature).view(batch, count, *level.shape[1:3])
        if number:
            cost = F.interpolate(cost, size=(height, width), mode="bilinear", align_corners=False)
        total = total + cost
    cost = total.flatten(0, 1).flatten(1)
    return Everywhere(cost, width, around_best(cost, width) * STRIDES[0])


def coarse_to_fine(maps: Maps, sought: Sought, promising: int = PROMISING) -> CoarseToFine:
    """The cells of the fine map that lie under the most promising ones of the map of stride 8."""
    height, width = maps.coarse.shape[1:3]
    coarser = tuple(
        products(level, feature).view(-1, *level.shape[1:3])
        for level, feature in zip(maps[1:], sought.features[1:], strict=True)
    )
    first = sought.prior(_squares(sought, height, width, STRIDES[1])) + coarser[0]
    # To choose, each of four cells may count what their common one of the next map does.
    squares = first.view(-1, height // 2, 2, width // 2, 2) + coarser[1][:, :, None, :, None]
    chosen = squares.flatten(1).topk(min(promising, height * width), sorted=False).indices
    pair = torch.arange(2, device=chosen.device)
    x = (2 * (chosen % width)[:, :, None] + pair.repeat(2)).flatten(1)
    y = (2 * (chosen // width)[:, :, None] + pair.repeat_interleave(2)).flatten(1)
    found, which = _at(maps, sought, coarser, x, y).max(-1)
    x, y = x.gather(1, which[:, None]), y.gather(1, which[:, None])
    x, y = _window(x, y)
    inside = _inside(x, y, maps.fine.shape[2], maps.fine.shape[1])
    values = _at(maps, sought, coarser, x.clamp(0, maps.fine.shape[2] - 1), y.clamp(0, maps.fine.shape[1] - 1))
    xy = _mean_cell(values, x, y, inside) * STRIDES[0]
    return CoarseToFine(maps, sought, coarser, xy, torch.maximum(found, values.amax(-1)))


def around_best(cost: Tensor, width: int) -> Tensor:
    """The best cell of cost maps [M,h*w], and the mean of the 3x3 around it by their softmax: cells + 0.5, [M,2]."""
    height = cost.shape[1] // width
    best = cost.argmax(-1)
    x, y = _window((best % width)[:, None], (best // width)[:, None])
    values = cost.gather(1, y.clamp(0, height - 1) * width + x.clamp(0, width - 1))
    return _mean_cell(values, x, y, _inside(x, y, width, height))


def _window(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The cells around x, y [M,1], also beyond the border, row by row: [M,9] each."""
    steps = torch.arange(WINDOW, device=x.device) - WINDOW // 2
    return x + steps.repeat(WINDOW), y + steps.repeat_interleave(WINDOW)


def _mean_cell(values: Tensor, x: Tensor, y: Tensor, inside: Tensor) -> Tensor:
    """The mean of the cells x, y [M,K] that are `inside`, by the softmax of their values: + 0.5, [M,2]."""
    weights = values.masked_fill(~inside, float("-inf")).softmax(-1)
    return torch.stack([(weights * x).sum(-1), (weights * y).sum(-1)], -1) + 0.5


def _inside(x: Tensor, y: Tensor, width: int, height: int) -> Tensor:
    return (x >= 0) & (x < width) & (y >= 0) & (y < height)


def cells_around(xy: Tensor, stride: int, width: int, height: int) -> tuple[Tensor, Tensor]:
    """The 3x3 cells of a map around xy [M,2] pixels, those beyond the border moved onto it: x and y [M,9]."""
    cell = (xy / stride).floor().long()
    x, y = _window(cell[:, :1], cell[:, 1:])
    return x.clamp(0, width - 1), y.clamp(0, height - 1)


def products(level: Tensor, features: Tensor) -> Tensor:
    """Of a map [B,h,w,C] with features [M,C]: float32 [B,M/B,h*w], multiplied in the dtype of the map."""
    batch = len(level)
    with torch.autocast(level.device.type, enabled=False):
        if batch == 1:  # which `matmul` would transpose the map for
            return F.linear(features.to(level.dtype), level[0].flatten(0, 1)).float()[None]
        rows = features.to(level.dtype).view(batch, -1, level.shape[-1])
        return torch.matmul(rows, level.flatten(1, 2).transpose(1, 2)).float()


def _squares(sought: Sought, height: int, width: int, stride: int) -> Tensor:
    """Squared distances over scale of the cells of a map from where points are expected [M,h,w]."""
    parts = []
    for axis, length in ((1, height), (0, width)):
        centres = (torch.arange(length, device=sought.expected.device) + 0.5) * stride
        parts.append(((centres - sought.expected[:, axis, None]) / sought.scale[:, None]).square())
    return parts[0][:, :, None] + parts[1][:, None]


def _at(maps: Maps, sought: Sought, coarser: tuple[Tensor, ...], x: Tensor, y: Tensor) -> Tensor:
    """The logits of cells x, y int64 [M,K] of the fine map, as `everywhere` has them: [M,K]."""
    batch, height, width, channels = maps.fine.shape
    rows, count = x.shape
    frame = torch.arange(batch, device=x.device).repeat_interleave(rows // batch)[:, None] * (height * width)
    cells = maps.fine.reshape(-1, channels).index_select(0, (frame + y * width + x).flatten())
    with torch.autocast(cells.device.type, enabled=False):
        feature = sought.features[0].to(cells.dtype)[:, :, None]
        total = torch.matmul(cells.view(rows, count, channels), feature)[..., 0].float()
    for cost, stride in zip(coarser, STRIDES[1:], strict=True):
        total = total + _interpolated(cost, x, y, stride // STRIDES[0])
    dx = ((x + 0.5) * STRIDES[0] - sought.expected[:, :1]) / sought.scale[:, None]
    dy = ((y + 0.5) * STRIDES[0] - sought.expected[:, 1:]) / sought.scale[:, None]
    return total + sought.prior(dx.square() + dy.square())


def _interpolated(cost: Tensor, x: Tensor, y: Tensor, factor: int) -> Tensor:
    """Values of maps [M,h,w] at cells x, y [M,K] of a map `factor` times as fine, as `F.interpolate` (bilinear)."""
    height, width = cost.shape[1:]
    u, v = ((x + 0.5) / factor - 0.5).clamp(min=0), ((y + 0.5) / factor - 0.5).clamp(min=0)
    left, top = u.long(), v.long()
    right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    u, v = u - left, v - top
    flat, top, bottom = cost.flatten(1), top * width, bottom * width
    above = torch.lerp(flat.gather(1, top + left), flat.gather(1, top + right), u)
    below = torch.lerp(flat.gather(1, bottom + left), flat.gather(1, bottom + right), u)
    return torch.lerp(above, below, v)

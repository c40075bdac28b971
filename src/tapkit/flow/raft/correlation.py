"""All-pairs correlations of two maps, and reading a window of them around any position, at several scales.

Averaging correlations over 2x2 cells of the second map is the same as averaging that map, so where the whole table
would be large, the products are taken on the fly with the pooled maps: the same numbers up to rounding, in flat memory.
On a CPU they are taken tile by tile of the first map with the smallest box of the second that all windows of the tile
lie in: neighbours look at nearly the same place, so that is little more than what is asked for, as one product of
matrices instead of a gathered copy of every window.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.nn.sampling import blend

TABLE_BYTES = 512 << 20
"""Largest table of correlations that is held; beyond it products are taken on the fly."""
_CHUNK = 2048
"""Cells whose windows are gathered at a time when products are taken on the fly on a GPU."""
_TILE = 16
"""Cells a side of a tile on a CPU."""


class Correlation:
    """<f1(p), f2(q)> / sqrt(C) for maps [P,C,h,w] of first and second frames, at `levels` scales of the second."""

    def __init__(self, first: Tensor, second: Tensor, radius: int, levels: int) -> None:
        self.radius = radius
        count, channels, height, width = first.shape
        self.size = (height, width)
        # [P,hw,C], float32 whatever the maps are.
        self.queries = first.float().permute(0, 2, 3, 1).reshape(count, -1, channels) * channels**-0.5
        maps = second.float()
        self.held = 4 * count * (height * width) ** 2 <= TABLE_BYTES
        self.tiled = first.device.type == "cpu"
        self.levels: list[Tensor] = []
        self.sides: list[tuple[int, int]] = []
        for level in range(levels):
            maps = F.avg_pool2d(maps, 2) if level else maps
            self.sides.append((maps.shape[-2], maps.shape[-1]))
            flat = maps.permute(0, 2, 3, 1).reshape(count, -1, channels)
            self.levels.append(torch.bmm(self.queries, flat.transpose(1, 2)) if self.held else flat)

    def at(self, target: Tensor) -> Tensor:
        """Correlations [P,levels*(2r+1)^2,h,w] around target [P,2,h,w] (x, y), cells of the finest level.

        Within a level the x offset is the slow index. Bilinear between cells, zero outside the map. channels_last.
        """
        count = len(target)
        side = 2 * self.radius + 1
        xy = target.permute(0, 2, 3, 1).reshape(-1, 2)
        out = xy.new_empty(len(xy), len(self.levels), side * side)
        for level in range(len(self.levels)):
            index, inside, fraction = self._window(xy / 2**level, level)
            products = self._products(level, index.view(count, -1, index.shape[-1])).view(index.shape)
            window = products.mul_(inside).view(-1, side + 1, side + 1)
            out[:, level] = blend(window, fraction).flatten(1)
        maps: Tensor = out.view(count, *self.size, -1).permute(0, 3, 1, 2)
        return maps

    def _window(self, xy: Tensor, level: int) -> tuple[Tensor, Tensor, Tensor]:
        """For positions [M,2]: the (2r+2)^2 cells around each (flat index int64 [M,K], x slow), which of them lie
        within the map (0 or 1, [M,K]), and the fractions [M,2]."""
        height, width = self.sides[level]
        reach = self.radius + 2
        low, high = -reach, max(height, width) + reach
        xy = torch.nan_to_num(xy, nan=low, posinf=high, neginf=low).clamp(low, high)
        base = xy.floor()
        steps = torch.arange(-self.radius, self.radius + 2, device=xy.device)
        x, y = (base.long()[:, axis, None] + steps for axis in (0, 1))
        within_x, within_y = (x >= 0) & (x < width), (y >= 0) & (y < height)
        index = x.clamp_(0, width - 1)[:, :, None] + (y.clamp_(0, height - 1) * width)[:, None, :]
        inside = within_x.to(xy.dtype)[:, :, None] * within_y.to(xy.dtype)[:, None, :]
        return index.flatten(1), inside.flatten(1), xy - base

    def _products(self, level: int, index: Tensor) -> Tensor:
        """Correlations of every cell of the first map with K cells of the second: index [P,hw,K] -> the same shape."""
        if self.held:
            return torch.gather(self.levels[level], 2, index)
        out: Tensor = self.queries.new_empty(index.shape)
        if self.tiled:
            for pair in range(len(index)):
                for cells in self._tiles():
                    out[pair, cells] = self._within_box(level, pair, cells, index[pair, cells])
            return out
        for pair in range(len(index)):
            for begin in range(0, index.shape[1], _CHUNK):
                rows = index[pair, begin : begin + _CHUNK]
                cells = self.levels[level][pair][rows.flatten()].view(*rows.shape, -1)
                queries = self.queries[pair, begin : begin + _CHUNK, :, None]
                out[pair, begin : begin + _CHUNK] = torch.bmm(cells, queries)[..., 0]
        return out

    def _tiles(self) -> Iterator[Tensor]:
        """Flat indices of the cells of each tile of the first map."""
        height, width = self.size
        numbers = torch.arange(height * width).view(height, width)
        for rows in torch.split(numbers, _TILE):
            for tile in torch.split(rows, _TILE, 1):
                yield tile.reshape(-1)

    def _within_box(self, level: int, pair: int, cells: Tensor, index: Tensor) -> Tensor:
        """Correlations of `cells` [n] of the first map with K cells each of the second, index [n,K]: [n,K]. The first
        entry of a row is the window's corner with the least x and y, the last one that with the greatest."""
        height, width = self.sides[level]
        left, top = int((index[:, 0] % width).min()), int((index[:, 0] // width).min())
        right, bottom = int((index[:, -1] % width).max()) + 1, int((index[:, -1] // width).max()) + 1
        maps = self.levels[level][pair].view(height, width, -1)
        box = maps[top:bottom, left:right].reshape(-1, maps.shape[-1])
        local = (index // width - top) * (right - left) + index % width - left
        return torch.gather(self.queries[pair, cells] @ box.T, 1, local)

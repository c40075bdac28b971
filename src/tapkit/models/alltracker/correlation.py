"""How alike the anchor's cells and those of another frame are, at five scales, around wherever each cell is by now.

Harley et al., AllTracker, ICCV 2025, section 3.2. The products of all cells with all cells are made for a few of the
anchor's cells at a time and read at once, while they are in the cache; where all of them are small they are kept for
the iterations that follow.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.constants import constant
from tapkit.nn.exporting import exporting
from tapkit.nn.sampling import blend

LEVELS = 5
RADIUS = 4
SIDE = 2 * RADIUS + 1
CHANNELS = LEVELS * SIDE * SIDE
"""Values looked up for one cell."""
HELD_BYTES = 128 << 20
"""Largest table of products that is kept for a window."""
_BLOCK_BYTES = 4 << 20
"""Products made at a time otherwise, on a CPU; on another device that many times 64."""


def pyramid(features: Tensor) -> tuple[Tensor, list[tuple[int, int]]]:
    """The cells of maps [S,h,w,C] at all levels, one level after the other [S,L,C], and the levels' (height, width).

    Every level averages the one before down to floor(size / 2); where that is odd the averaged windows overlap, as
    `adaptive_avg_pool2d` has them.
    """
    maps = features.permute(0, 3, 1, 2)
    levels, sizes = [], []
    for level in range(LEVELS):
        if level:
            maps = F.adaptive_avg_pool2d(maps, (maps.shape[-2] // 2, maps.shape[-1] // 2))
        sizes.append((int(maps.shape[-2]), int(maps.shape[-1])))
        levels.append(maps.flatten(2).transpose(1, 2))
    return torch.cat(levels, 1).contiguous(), sizes


class Correlation:
    """<a(p), f(q)> / sqrt(C) of an anchor's cells p and the cells q of S frames."""

    def __init__(self, anchor: Tensor, frames: Tensor) -> None:
        """anchor [h,w,C]; frames [S,h,w,C], of the same type."""
        channels = anchor.shape[-1]
        self.queries = anchor.reshape(-1, channels) * channels**-0.5
        self.cells, self.sizes = pyramid(frames)
        count, total = len(frames), self.cells.shape[1]
        numbers = constant(self.sizes, torch.long, anchor.device)
        self._heights, self._widths = numbers[:, 0, None], numbers[:, 1, None]
        area = numbers.prod(1)
        self._begin = (area.cumsum(0) - area)[:, None, None]
        self._scales = 2.0 ** torch.arange(LEVELS, device=anchor.device)[:, None]
        self._steps = torch.arange(-RADIUS, RADIUS + 2, device=anchor.device)
        self._table: list[Tensor] | None = None
        held = count * len(self.queries) * total * self.queries.element_size() <= HELD_BYTES
        if held and not exporting():
            self._table = [torch.mm(self.queries, cells.T) for cells in self.cells]
        room = _BLOCK_BYTES * (1 if anchor.device.type == "cpu" else 64)
        at_once = max(room // (total * self.queries.element_size()), 16)
        self._block = at_once if self._table is None else min(at_once, 512)

    def at(self, frame: int, target: Tensor) -> Tensor:
        """What is around `target` [h,w,2] (x, y; cells of the finest level) in a frame, counted from 0.

        -> [h,w,405]: levels, within them the offset in x (slow), then that in y. Bilinear between cells; outside
        a level's map its border goes on.
        """
        positions = target.reshape(-1, 2)
        out = positions.new_empty(len(positions), CHANNELS)
        for begin in range(0, len(positions), self._block):
            rows = slice(begin, begin + self._block)
            out[rows] = self._read(self._products(frame, rows), positions[rows])
        return out.view(*target.shape[:2], CHANNELS)

    def everywhere(self, targets: Tensor) -> Tensor:
        """`at` in all frames [S,h,w,2] -> [S,h,w,405], in one piece: for graphs that are exported."""
        table = torch.matmul(self.queries, self.cells.transpose(1, 2)).flatten(0, 1)
        return self._read(table, targets.reshape(-1, 2)).view(*targets.shape[:3], CHANNELS)

    def _read(self, table: Tensor, xy: Tensor) -> Tensor:
        """What is around xy [M,2] in rows of the table [M,L] -> float32 [M,405]."""
        index, fraction = self._window(xy)
        cells = torch.gather(table, 1, index.flatten(1)).float()
        return blend(cells.view(-1, SIDE + 1, SIDE + 1), fraction.flatten(0, 1)).reshape(-1, CHANNELS)

    def _products(self, frame: int, rows: slice) -> Tensor:
        """Of some of the anchor's cells with all cells of a frame at all levels [M,L]."""
        if self._table is not None:
            return self._table[frame][rows]
        return torch.mm(self.queries[rows], self.cells[frame].T)

    def _window(self, xy: Tensor) -> tuple[Tensor, Tensor]:
        """The cells around xy [M,2] at all levels: indices into the table [M,5,10 (x),10 (y)]; fractions [M,5,2]."""
        limit = float(2 * max(max(size) for size in self.sizes) + 4 * RADIUS)
        xy = torch.nan_to_num(xy, nan=0.0, posinf=limit, neginf=-limit).clamp(-limit, limit)
        at_level = xy[:, None] / self._scales
        base = at_level.floor()
        whole = base.long()
        x = (whole[..., :1] + self._steps).clamp_(min=0).minimum(self._widths - 1)
        y = (whole[..., 1:] + self._steps).clamp_(min=0).minimum(self._heights - 1).mul_(self._widths)
        return (x[..., :, None] + y[..., None, :]).add_(self._begin), at_level - base

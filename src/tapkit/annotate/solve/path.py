"""The path between two clicks that agrees best with the flow, exactly, on the grid of pixels.

Frames are layers of a graph and pixels its nodes; going from pixel r of one frame to pixel p of the next costs how far
that is from what the flow says, |p - r - F(r)| (L1), and the path is the cheapest one from click to click. Since the
cost of a step only depends on the distance of p from where the flow takes r, all steps between two frames are one
distance transform: every r lays its cost down where it is taken, and the transform spreads it (Felzenszwalb and
Huttenlocher, Distance Transforms of Sampled Functions, 2012, section 3: L1). That is the whole minimum, over steps of
any length, for a few sweeps over the nodes. The four grid points around where r is taken are enough: an L1 way to any
other grid point leads over one of them.

The nodes are those of a corridor: around the paths that the flow alone takes from either click, and the straight line.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tapkit.annotate.solve.motion import at

MARGIN = 16.0
"""Pixels (of the fields) that the corridor is wider than what it is laid around."""
MOST_NODES = 12_000
"""In one layer; a wider corridor has a coarser grid."""


class Layer(NamedTuple):
    """The nodes of one frame: a grid of `rows` x `columns`, the first at (x, y), `step` pixels apart."""

    x: float
    y: float
    step: float
    rows: int
    columns: int

    @property
    def xy(self) -> np.ndarray:
        """All nodes, row by row, [rows*columns,2]."""
        x = self.x + self.step * np.arange(self.columns)
        y = self.y + self.step * np.arange(self.rows)
        return np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)


def corridor(around: np.ndarray, size: tuple[int, int], margin: float = MARGIN) -> Layer:
    """A layer of pixels around positions [K,2], within fields of `size` (height, width)."""
    height, width = size
    last = np.array([width - 0.5, height - 0.5])
    low = (np.floor(around.min(0) - margin) + 0.5).clip(0.5, last)
    high = (np.floor(around.max(0) + margin) + 0.5).clip(0.5, last)
    extent = high - low
    step = 1.0
    while np.prod(np.floor(extent / step) + 1) > MOST_NODES:
        step *= 2
    columns, rows = (np.floor(extent / step) + 1).astype(int).tolist()
    return Layer(float(low[0]), float(low[1]), step, rows, columns)


def cheapest(fields: np.ndarray, layers: list[Layer], start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The path from `start` (frame 0) to `end` (frame L) through layers 1..L-1: [L+1,2].

    `fields` [L,h,w,2]: the flow from each frame to the next. The ends themselves are not rounded.
    """
    nodes, costs = start[None], np.zeros(1)
    came = []
    for t, layer in enumerate(layers):
        costs, before = spread(nodes + at(fields, t, nodes), costs, layer)
        came.append(before)
        nodes = layer.xy
    last = costs + np.abs(end - nodes - at(fields, len(layers), nodes)).sum(1)
    path = [end]
    node = int(last.argmin())
    for layer, before in zip(reversed(layers), reversed(came), strict=True):
        path.append(layer.xy[node])
        node = int(before[node])
    return np.stack([*path, start][::-1])


def spread(taken: np.ndarray, costs: np.ndarray, layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    """What it costs at least to reach each node of a layer, [rows*columns], and from which of the former nodes.

    `taken` [M,2]: where the flow takes those; `costs` [M].
    """
    place = (taken - (layer.x, layer.y)) / layer.step
    inside = place.clip(0, (layer.columns - 1, layer.rows - 1))
    low = np.floor(inside).astype(int)
    corner = np.concatenate([np.minimum(low + offset, (layer.columns - 1, layer.rows - 1)) for offset in _CORNERS])
    far = np.abs(np.tile(place, (4, 1)) - corner).sum(1) * layer.step
    total = np.tile(costs, 4) + far
    order = np.argsort(-total, kind="stable")  # the cheapest is laid down last, and stays
    grid = np.full((layer.rows, layer.columns), np.inf)
    before = np.zeros((layer.rows, layer.columns), np.int64)
    where = corner[order, 1], corner[order, 0]
    grid[where] = total[order]
    before[where] = order % len(costs)
    for axis in (0, 1):
        grid, before = _sweep(grid, before, layer.step, axis)
    return grid.ravel(), before.ravel()


_CORNERS = ((0, 0), (1, 0), (0, 1), (1, 1))


def _sweep(grid: np.ndarray, before: np.ndarray, step: float, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """min over i of grid[i] + step * |i - j| along an axis, and `before` of the i that it is of."""
    count = grid.shape[axis]
    shape = (count, 1) if axis == 0 else (1, count)
    index = np.arange(count).reshape(shape)
    one, from_one = _one_way(grid - step * index, index, axis)
    turned, from_turned = _one_way(np.flip(grid + step * index, axis), index, axis)
    other, from_other = np.flip(turned, axis), count - 1 - np.flip(from_turned, axis)
    one, other = one + step * index, other - step * index
    source = np.where(one <= other, from_one, from_other)
    return np.minimum(one, other), np.take_along_axis(before, source, axis)


def _one_way(values: np.ndarray, index: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Running minimum along an axis, and where it was found."""
    least = np.minimum.accumulate(values, axis)
    found = np.maximum.accumulate(np.where(values == least, index, 0), axis)
    return least, found

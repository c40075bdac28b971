"""How a frame as a whole moves to the next one, the same whatever is asked.

A fixed grid is followed by Lucas-Kanade from frame to frame, and the homography that most of it agrees with is taken
(M. Fischler and R. Bolles, RANSAC, CACM 1981; then weighted least squares with the weights of S. Geman and D. McClure,
1987). All of it is of fixed shape, so that nothing waits for the device.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.constants import constant_like
from tapkit.models.base import Size
from tapkit.nn.alignment import align
from tapkit.nn.precision import widest

GRID = 8, 12
"""Points of the grid (rows, columns)."""
TRIES = 64
"""Similarities through two of them that are tried."""
WITHIN = 1.0
"""Pixels: a point of the grid agrees with a motion."""
LEAST = 12
"""Points of the grid that must have been followed, or the frame is taken to stand still."""
FOLLOWED = 0.7
"""Correlation of a point's pixels on both frames, at least."""
MISSED = 0.5
"""Pixels by which the way back may miss it."""
SWEEPS = 4
"""Weighted least squares."""


def unit_of(size: Size) -> float:
    """How many pixels of frames of this size one pixel of 256x256 (of that many pixels, whatever the shape) is."""
    return float((size[0] * size[1]) ** 0.5 / 256)


def between(before: tuple[Tensor, ...], after: tuple[Tensor, ...]) -> Tensor:
    """The homography from one frame's `grey_pyramid` (B = 1) to another's: [3,3] in `widest`, on their device.

    Followed at half the size: that is enough for what hundreds of points have in common, and a third of the work.
    """
    height, width = before[0].shape[2:]
    before, after = before[1:], after[1:]
    grid = _grid(height, width, before[0].device)
    there, similarity = align(before, after, grid[None] / 2, levels=len(before))
    again, _ = align(after, before, there, grid[None] / 2 - there, levels=1)
    missed = 2 * (again[0] - grid / 2).square().sum(-1).sqrt()
    followed = (missed < MISSED) & (similarity[0] > FOLLOWED)
    middle = constant_like([width / 2, height / 2], grid)
    scale = max(height, width) / 2
    dtype = widest(grid.device)
    start, end = (((points - middle) / scale).to(dtype) for points in (grid, 2 * there[0]))
    motion = _fitted(start, end, followed, 1 / scale)
    norm = constant_like([1 / scale, 0, -width / 2 / scale, 0, 1 / scale, -height / 2 / scale, 0, 0, 1], start)
    back = constant_like([scale, 0, width / 2, 0, scale, height / 2, 0, 0, 1], start)
    whole = back.view(3, 3) @ motion @ norm.view(3, 3)
    return whole / whole[2, 2]


def moved(motion: Tensor, xy: Tensor) -> Tensor:
    """Points [M,2] by homographies [3,3] or [M,3,3]: [M,2], in the dtype of the points."""
    dtype = widest(xy.device)
    motion, ends = motion.to(xy.device, dtype), F.pad(xy.to(dtype), (0, 1), value=1.0)
    full = ends @ motion.T if motion.ndim == 2 else (motion * ends[:, None]).sum(-1)
    depth = torch.where(full[:, 2:].abs() < 1e-3, 1e-3, full[:, 2:])
    return (full[:, :2] / depth).to(xy.dtype)


def inverse(motion: Tensor) -> Tensor:
    """Of homographies [...,3,3], with 1 as the last entry: by their adjugates; what is singular stays finite."""
    a, b, c = motion.unbind(-2)
    back = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], -1)
    last = back[..., 2:, 2:]
    return back / torch.where(last.abs() < 1e-6, 1.0, last)


def near_frame(xy: Tensor, size: Size) -> Tensor:
    """Places [...,2] brought to a frame's length from the frame at most: what is carried on for long stays finite."""
    limits = constant_like([float(size[1]), float(size[0])], xy)
    return torch.minimum(torch.maximum(xy, -limits), 2 * limits)


def _grid(height: int, width: int, device: torch.device) -> Tensor:
    """Places all over a frame [K,2]."""
    y, x = ((torch.arange(n, device=device) + 0.5) * (side / n) for n, side in zip(GRID, (height, width), strict=True))
    return torch.stack(torch.meshgrid(x, y, indexing="ij"), -1).flatten(0, 1)


@lru_cache(maxsize=1)
def _pairs() -> list[list[int]]:
    """Two different points of the grid for each try."""
    generator, count = torch.Generator().manual_seed(0), GRID[0] * GRID[1]
    first = torch.randint(count, (TRIES,), generator=generator)
    other = (first + torch.randint(1, count, (TRIES,), generator=generator)) % count
    pairs: list[list[int]] = torch.stack([first, other]).tolist()
    return pairs


def _fitted(start: Tensor, end: Tensor, followed: Tensor, pixel: float) -> Tensor:
    """The homography [3,3] that most of the `followed` points [K,2] agree with; `pixel` is the size of one."""
    first, other = constant_like(_pairs(), followed.long())
    # A similarity is a complex number and a shift: b = turn a + shift. Planes of x and y, [TRIES,K].
    a, b = torch.view_as_complex(start.float()), torch.view_as_complex(end.float())
    turn = (b[first] - b[other]) / (a[first] - a[other])
    shift = b[first] - turn * a[first]
    off = torch.view_as_real(turn[:, None] * a + (shift[:, None] - b)) / pixel
    off = (off[..., 0].square() + off[..., 1].square()).sqrt()
    best = ((off < WITHIN) & followed).sum(1).argmax()
    weights = ((off.index_select(0, best[None])[0] < 2 * WITHIN) & followed).to(start.dtype)
    known = followed.to(start.dtype)
    motion = torch.eye(3, dtype=start.dtype, device=start.device)
    for _ in range(SWEEPS):
        motion = _homography(start, end, weights)
        x, y = ((moved(motion, start) - end) / pixel).unbind(-1)
        weights = known * (1 + (x * x + y * y) / (WITHIN / 2) ** 2) ** -2
    # A frame that is turned inside out, or folded up, was not followed.
    determinant = (motion[0] * torch.linalg.cross(motion[1], motion[2])).sum()
    sound = motion.isfinite().all() & (determinant > 0.1) & (determinant < 10) & (followed.sum() >= LEAST)
    return torch.where(sound, motion, torch.eye(3, dtype=motion.dtype, device=motion.device))


def _homography(start: Tensor, end: Tensor, weights: Tensor) -> Tensor:
    """Least squares [3,3], linear in its entries (R. Hartley and A. Zisserman, Multiple View Geometry, section 4.1).

    Pulled to no motion by a little, for points that do not fix all of it.
    """
    (x, y), (u, v) = start.T, end.T
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    rows = torch.cat(
        [
            torch.stack([x, y, one, zero, zero, zero, -u * x, -u * y], 1),
            torch.stack([zero, zero, zero, x, y, one, -v * x, -v * y], 1),
        ]
    )
    left = torch.cat([u - x, v - y])
    weighted = rows * weights.repeat(2)[:, None]
    entries = _solved(weighted.T @ rows + 1e-6 * torch.eye(8, dtype=rows.dtype, device=rows.device), weighted.T @ left)
    still = constant_like([1.0, 0, 0, 0, 1, 0, 0, 0], rows)
    return torch.cat([still + entries, one[:1]]).view(3, 3)


def _solved(matrix: Tensor, right: Tensor) -> Tensor:
    """x of matrix x = right, for a symmetric positive definite one: eliminated without pivots (which such a one does
    not need) in plain steps, since a library's solver may wait for the device or not be recordable."""
    table = torch.cat([matrix, right[:, None]], 1)
    units = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    for pivot in range(len(matrix)):
        row = table[pivot] / table[pivot, pivot]
        table = torch.addr(table, table[:, pivot] - units[pivot], row, alpha=-1)
    return table[:, -1]

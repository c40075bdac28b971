"""How a frame as a whole moves to the next one, the same whatever is asked.

A fixed grid is followed by Lucas-Kanade from frame to frame, and the homography that most of it agrees with is taken
(M. Fischler and R. Bolles, RANSAC, CACM 1981; then weighted least squares with the weights of S. Geman and D. McClure,
1987). All of it is of fixed shape, so that nothing waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from tapkit.constants import constant, constant_like, table
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
LITTLE = 1e-8
"""By how much each point of the grid pulls to no motion, for points that do not fix all of it."""


def unit_of(size: Size) -> float:
    """How many pixels of frames of this size one pixel of 256x256 (of that many pixels, whatever the shape) is."""
    return float((size[0] * size[1]) ** 0.5 / 256)


def between(before: Sequence[Tensor], after: Sequence[Tensor]) -> Tensor:
    """The homographies from B frames to B others: [B,3,3] in `widest`, on their device, pixels of the whole size.

    Args:
        before: the `grey_pyramid` of the frames without the whole size: half of it is enough for what hundreds of
            points have in common, and a third of the work.
        after: those of the others.
    """
    batch, _, height, width = before[0].shape
    grid = Grid((2 * height, 2 * width), before[0].device)
    there, similarity, missed = align(before, after, grid.table(_halves, torch.float32).expand(batch, -1, -1))
    return _fitted(grid, there, (2 * missed < MISSED) & (similarity > FOLLOWED))


def moved(motion: Tensor, xy: Tensor) -> Tensor:
    """Points [M,2] by homographies [3,3] or [M,3,3]: [M,2], in the dtype of the points; far away from behind them."""
    dtype = widest(xy.device)
    motion, places = motion.to(xy.device, dtype), xy.to(dtype)
    if motion.ndim == 2:
        full = torch.addmm(motion[:, 2], places, motion[:, :2].T)
    else:
        full = (motion[..., :2] * places[:, None]).sum(-1) + motion[..., 2]
    return _projected(full).to(xy.dtype)


def _projected(full: Tensor) -> Tensor:
    """Homogeneous places [...,3] in the plane [...,2]; far away from behind it."""
    return full[..., :2] / full[..., 2:].clamp(min=1e-3)


def inverse(motion: Tensor) -> Tensor:
    """Of homographies [...,3,3], with 1 as the last entry: by their adjugates; what is singular stays finite."""
    back = _cofactors(motion).mT
    last = back[..., 2:, 2:]
    return back / torch.where(last.abs() < 1e-6, 1.0, last)


def near_frame(xy: Tensor, size: Size) -> Tensor:
    """Places [...,2] brought to a frame's length from the frame at most: what is carried on for long stays finite."""
    limits = constant_like([float(size[1]), float(size[0])], xy)
    return torch.minimum(torch.maximum(xy, -limits), 2 * limits)


class Grid:
    """The grid on frames of size (h, w), and what follows from it alone: made once.

    Places that motions are fitted to are counted from the middle of the frame, half its longer side being 1.
    """

    def __init__(self, size: Size, device: torch.device) -> None:
        self.size, self.device = size, device
        self.half = max(size) / 2

    def table(self, make: Callable[[Size], Any], dtype: torch.dtype | None = None) -> Tensor:
        """What a function makes of the size, in `widest` where not said otherwise."""
        return table(make, (self.size,), dtype or widest(self.device), self.device)

    def ends(self, there: Tensor) -> Tensor:
        """Places [...,K,2] in pixels of frames half the size, as motions are fitted to them."""
        return torch.add(self.table(_corner), there, alpha=2 / self.half)

    def in_pixels(self, motion: Tensor) -> Tensor:
        """Motions [B,3,3] of such places as those of pixels, 1 being their last entry."""
        whole = (motion.view(-1, 9) @ self.table(_to_pixels)).view(-1, 3, 3)
        return whole / whole[:, 2:, 2:]


def _halves(size: Size) -> list[list[float]]:
    """The grid in pixels of frames half the size, column by column, [K,2]."""
    y, x = ([(n + 0.5) * side / 2 / count for n in range(count)] for count, side in zip(GRID, size, strict=True))
    return [[across, down] for across in x for down in y]


def _corner(size: Size) -> list[list[float]]:
    """The upper left corner, as motions are fitted to it, [1,2]."""
    return [[-side / max(size) for side in reversed(size)]]


def _starts(size: Size) -> list[list[float]]:
    """The grid, as motions are fitted to it, and 1: [K,3]."""
    (left, top), half = _corner(size)[0], max(size) / 2
    return [[2 * x / half + left, 2 * y / half + top, 1.0] for x, y in _halves(size)]


def _products(size: Size) -> list[list[float]]:
    """Products of these three numbers with each other [K,9]."""
    return [[a * b for a in start for b in start] for start in _starts(size)]


def _still(size: Size) -> list[list[float]]:
    """`_moments` [4,9] where nothing moves, by so much as all motions are pulled to that."""
    of = [[1.0, x, y, x * x + y * y] for x, y, _ in _starts(size)]
    pairs = list(zip(of, _products(size), strict=True))
    return [[LITTLE * sum(n[row] * p[k] for n, p in pairs) for k in range(9)] for row in range(4)]


def _to_pixels(size: Size) -> list[list[float]]:
    """What makes of the nine entries of a motion those of the same in pixels [9,9]."""
    (left, top), scale = _corner(size)[0], 2 / max(size)
    there = [[scale, 0.0, left], [0.0, scale, top], [0.0, 0.0, 1.0]]
    back = [[1 / scale, 0.0, -left / scale], [0.0, 1 / scale, -top / scale], [0.0, 0.0, 1.0]]
    return [[back[i][j] * there[k][n] for i in range(3) for n in range(3)] for j in range(3) for k in range(3)]


@lru_cache(maxsize=1)
def _pairs() -> list[list[int]]:
    """Two different points of the grid for each try."""
    generator, count = torch.Generator().manual_seed(0), GRID[0] * GRID[1]
    first = torch.randint(count, (TRIES,), generator=generator)
    other = (first + torch.randint(1, count, (TRIES,), generator=generator)) % count
    pairs: list[list[int]] = torch.stack([first, other]).tolist()
    return pairs


def _similarities(size: Size) -> list[list[float]]:
    """What makes of the places of all points in the next frame [2K], first x and then y, the similarities through two
    of them, four numbers for each: [2K,4*TRIES].

    A similarity is a complex number and a shift: b = turn a + shift. Numbers: turn, shift.
    """
    grid = [complex(x, y) for x, y in _halves(size)]
    count = len(grid)
    made = [[0.0] * (4 * TRIES) for _ in range(2 * count)]
    for number, (first, other) in enumerate(zip(*_pairs(), strict=True)):
        turned = 1 / (grid[first] - grid[other])
        # turn = (b[first] - b[other]) turned, shift = b[first] - turn a[first]
        for point, turn in ((first, turned), (other, -turned)):
            shift = float(point == first) - turn * grid[first]
            for row, unit in ((point, 1), (count + point, 1j)):
                parts = turn * unit, shift * unit
                made[row][4 * number : 4 * number + 4] = [n for part in parts for n in (part.real, part.imag)]
    return made


def _under_similarities(size: Size) -> list[list[float]]:
    """What makes of the four numbers of a similarity where it takes all points, first x and then y: [4,2K]."""
    x, y = zip(*_halves(size), strict=True)
    one, zero = [1.0] * len(x), [0.0] * len(x)
    return [[*x, *y], [*(-n for n in y), *x], [*one, *zero], [*zero, *one]]


def _near_best(grid: Grid, there: Tensor, followed: Tensor) -> Tensor:
    """Which points [B,K] bool are near where the similarity takes them that most of the `followed` [B,K] agree with."""
    ends = there.transpose(1, 2).flatten(1)
    single, batch = there.dtype, len(there)
    tries = (ends @ grid.table(_similarities, single)).view(batch, TRIES, 4)
    under = grid.table(_under_similarities, single).expand(batch, -1, -1)
    off = torch.baddbmm(ends[:, None], tries, under, beta=-1)
    squares = off.view(batch, TRIES, 2, -1).square().sum(2)
    agree = ((squares < (WITHIN / 2) ** 2) & followed[:, None]).sum(2)
    best = agree.argmax(1)[:, None, None].expand(-1, -1, squares.shape[2])
    return squares.gather(1, best)[:, 0] < WITHIN**2


def _fitted(grid: Grid, there: Tensor, followed: Tensor) -> Tensor:
    """The homographies [B,3,3] of pixels that most of the `followed` points [B,K] agree with; there [B,K,2] is where
    they are in the next frame, pixels of half the size."""
    starts, ends, near = grid.table(_starts), grid.ends(there), _near_best(grid, there, followed)
    one = starts[:, 2:].expand(*ends.shape[:2], 1)
    counted = torch.cat([one, ends, ends.square().sum(2, keepdim=True)], 2) * followed[..., None]
    weighted, pixel = counted * near[..., None], 1 / grid.half
    motion = _homography(grid, weighted)
    for _ in range(SWEEPS - 1):
        off = _projected(starts @ motion.mT) - ends
        spread = torch.add(starts[:, 2], off.square().sum(2), alpha=1 / (pixel * WITHIN / 2) ** 2)
        motion = _homography(grid, counted / spread.square()[..., None])
    # A frame that is turned inside out, or folded up, was not followed; nor was one that is not a number.
    determinant = (motion[:, 0] * torch.linalg.cross(motion[:, 1], motion[:, 2])).sum(1)
    sound = (determinant > 0.1) & (determinant < 10) & (followed.sum(1) >= LEAST)
    still = torch.eye(3, dtype=motion.dtype, device=motion.device)
    return torch.where(sound[:, None, None], grid.in_pixels(motion), still)


def _homography(grid: Grid, weighted: Tensor) -> Tensor:
    """Least squares [B,3,3], linear in its entries, 1 being the last one (R. Hartley and A. Zisserman, Multiple View
    Geometry, section 4.1), of the weights of all points times 1, u, v and u^2 + v^2, [B,K,4], (u, v) being their ends.

    With p = (x, y, 1) the starts, h and k the first two rows and g the last one, the sum of w (h p - u g p)^2 +
    w (k p - v g p)^2 has its least where S h = U g, S k = V g and the first two entries of (R - U S^-1 U - V S^-1 V) g
    are 0: S, U, V, R are the sums of w p p' times 1, u, v and u^2 + v^2. So nothing larger than 3x3 is inverted, and a
    library's solver, which may wait for the device or not be recordable, is not asked.
    """
    batch = len(weighted)
    still, products = (grid.table(made).expand(batch, -1, -1) for made in (_still, _products))
    sums = torch.baddbmm(still, weighted.mT, products)
    sides, rest = sums[:, 1:3].reshape(batch, 6, 3), sums[:, 3].view(batch, 3, 3)
    inverse = _inverse(sums[:, 0].view(batch, 3, 3))
    # U S^-1 beside V S^-1
    across = (sides @ inverse).view(batch, 2, 3, 3).transpose(1, 2).reshape(batch, 3, 6)
    rest = torch.baddbmm(rest, across, sides, alpha=-1)
    last = torch.linalg.cross(rest[:, 0], rest[:, 1])
    last = (last / last[:, 2:])[:, None]
    return torch.cat([last @ across, last], 2).view(batch, 3, 3)


def _inverse(matrices: Tensor) -> Tensor:
    """Of symmetric matrices [B,3,3]."""
    cofactors = _cofactors(matrices)
    return cofactors / (matrices[:, 0] * cofactors[:, 0]).sum(1)[:, None, None]


def _cofactors(matrices: Tensor) -> Tensor:
    """Of matrices [...,3,3]: the transposed of their inverses times their determinants."""
    turned = matrices.index_select(-2, constant([1, 2, 0, 2, 0, 1], torch.long, matrices.device))
    found: Tensor = torch.linalg.cross(turned[..., :3, :], turned[..., 3:, :])
    return found

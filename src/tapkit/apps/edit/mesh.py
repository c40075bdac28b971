"""From a frame back to the reference frame, densely: what rendering asks for.

Planar motions are exact at each pixel. A mesh adds what the points know beyond that: their residuals, interpolated by
moving least squares on a grid and fading out beyond the points' hull.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tapkit.apps.edit.hull import hull, outside, radius
from tapkit.apps.edit.models import apply
from tapkit.apps.edit.motion import Motion
from tapkit.apps.edit.prepare import Prepared
from tapkit.apps.edit.sampling import enlarged
from tapkit.apps.edit.warps import LEAST_LOCAL, Local, mls

STEP = 8
"""Pixels between the crossings of the grid."""
FOLD = 0.05
"""Least determinant of a mesh's Jacobian, relative to that of the plane motion: below it, it folds over."""
SMOOTHER = 5
"""How often a mesh that folds is made smoother, before it is given up."""
NEIGHBOURS = 8
ALPHA = 2.0
"""Weights fall with the fourth power of the distance: with the second power far points flatten every bend."""


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels of a frame."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def around(cls, xy: np.ndarray, size: tuple[int, int], margin: float = 2.0) -> Box | None:
        """The smallest one within a frame of `size` that holds positions [n,2]; None if they are all outside."""
        known = xy[np.isfinite(xy).all(-1)]
        if len(known) < len(xy):  # a corner behind the horizon: anywhere
            return cls(0, 0, size[1], size[0])
        if not len(known):
            return None
        low, high = np.floor(known.min(0) - margin), np.ceil(known.max(0) + margin)
        left, top = (int(v) for v in np.clip(low, 0, (size[1], size[0])))
        right, bottom = (int(v) for v in np.clip(high, 0, (size[1], size[0])))
        return cls(left, top, right, bottom) if right > left and bottom > top else None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.bottom - self.top, self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns of an image."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def pixels(self) -> np.ndarray:
        """Centres of its pixels [h,w,2] float32."""
        x = np.arange(self.left, self.right, dtype=np.float32) + np.float32(0.5)
        y = np.arange(self.top, self.bottom, dtype=np.float32) + np.float32(0.5)
        return np.stack(np.meshgrid(x, y), -1)

    def grid(self, step: int = STEP) -> np.ndarray:
        """Crossings of a grid that covers it, the first at its upper left corner [gh,gw,2] float32."""
        height, width = self.size
        x = self.left + step * np.arange(-(-width // step) + 1, dtype=np.float32)
        y = self.top + step * np.arange(-(-height // step) + 1, dtype=np.float32)
        return np.stack(np.meshgrid(x, y), -1)


class Warp:
    """The way between the reference frame and each frame, for one region.

    Args:
        motion: of the region.
        prepared: the tracks that it was fitted to; None: the plane motion alone.
        local: the kind of the local models of the mesh.
        step: pixels between the crossings of its grid.
    """

    def __init__(
        self, motion: Motion, prepared: Prepared | None = None, *, local: Local = "affine", step: int = STEP
    ) -> None:
        self.motion, self.local, self.step = motion, local, step
        self.given_up: list[int] = []
        """Frames whose mesh folded over and was replaced by the plane motion."""
        self._mesh = prepared is not None
        self._last: tuple[tuple[int, Box, bytes | None], np.ndarray] | None = None
        if prepared is not None:
            self._p = prepared.xy[motion.rows, motion.reference]
            self._q = prepared.xy[motion.rows]
            self._weight = _steady(prepared.weight[motion.rows] * prepared.weight[motion.rows][:, [motion.reference]])

    @cached_property
    def reach(self) -> float:
        """Pixels by which a mesh may leave the plane motion."""
        return 0.0 if not self._mesh else 8.0 + self._largest()

    def back(self, t: int, box: Box, then: np.ndarray | None = None, matrix: np.ndarray | None = None) -> np.ndarray:
        """Where the pixels of a box of frame t are on the reference frame, [h,w,2] float32.

        `then`: a homography from there on, to the pixels of an artwork. `matrix`: a plane motion to take instead of the
        frame's own (between two frames, for motion blur).
        """
        plane = np.linalg.inv(self.motion.matrices[t] if matrix is None else matrix)
        then = np.eye(3) if then is None else then
        found = self._points(t) if self._mesh else None
        if found is None:
            return plane_pixels(then @ plane, box)
        key = (t, box, None if matrix is None else matrix.tobytes())
        if self._last is None or self._last[0] != key:  # the same frame is asked for by artwork, matte and mask
            mesh = self._meshed(t, apply(plane, box.grid(self.step).astype(np.float64)), *found)
            self._last = key, mesh.astype(np.float64)
        return enlarged(apply(then, self._last[1]), self.step, box.size)

    def forward(self, t: int, xy: np.ndarray) -> np.ndarray:
        """Where positions [n,2] of the reference frame are on frame t."""
        plane = self.motion.matrices[t]
        there = apply(plane, xy)
        found = self._points(t) if self._mesh else None
        if found is None:
            return there
        on_plane, known, weight = found
        # The way back is known; its inverse by a few steps of a fixed point.
        inverse, at = np.linalg.inv(plane), there
        for _ in range(8):
            miss = xy - self._meshed(t, apply(inverse, at), on_plane, known, weight, grid=False)
            at = apply(plane, apply(inverse, at) + miss)
        return np.asarray(at)

    def _points(self, t: int) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Points as the plane motion takes them back, where they really were, and their weights; None: too few."""
        weight = self._weight[:, t]
        used = np.flatnonzero(weight > 0.02)
        if len(used) < max(LEAST_LOCAL[self.local], 4) or t == self.motion.reference:
            return None
        on_plane = apply(np.linalg.inv(self.motion.matrices[t]), self._q[used, t])
        known, weight = self._p[used], weight[used]
        fine = np.isfinite(on_plane).all(-1)
        fine[fine] &= _agree(on_plane[fine], (known - on_plane)[fine])
        if fine.sum() < 4:
            return None
        return on_plane[fine], known[fine], weight[fine]

    def _meshed(
        self,
        t: int,
        flat: np.ndarray,
        on_plane: np.ndarray,
        known: np.ndarray,
        weight: np.ndarray,
        grid: bool = True,
    ) -> np.ndarray:
        """Places of the plane way back [...,2] with the points' residuals on top."""
        places = flat.reshape(-1, 2)
        spacing = typical_spacing(on_plane)
        outline = hull(on_plane)
        fall = 1 - smoothstep(0.0, max(radius(outline), spacing), outside(places, outline))
        smoother = max(0.5 * spacing, 0.5)
        for _ in range(SMOOTHER + 1):
            moved = mls(places.astype(np.float32), on_plane, known, weight, self.local, ALPHA, smoother)
            mesh: np.ndarray = (places + fall[:, None] * (moved - places)).reshape(flat.shape)
            if not grid or not folds(mesh, flat):
                return mesh
            smoother *= 2
        self.given_up.append(t)
        return flat

    def _largest(self) -> float:
        predicted = self.motion.path(self._p).swapaxes(0, 1)
        gap = np.nan_to_num(self._q - predicted, posinf=0, neginf=0)[self._weight > 0]
        return float(np.quantile(np.hypot(*gap.T), 0.98)) if len(gap) else 0.0  # a few may be wrong


def plane_pixels(matrix: np.ndarray, box: Box) -> np.ndarray:
    """A homography at the pixels of a box [h,w,2] float32, built from its rows and columns."""
    x = np.arange(box.left, box.right) + 0.5
    y = np.arange(box.top, box.bottom) + 0.5

    def plane(row: int) -> np.ndarray:
        column = (matrix[row, 1] * y + matrix[row, 2]).astype(np.float32)
        return np.asarray((matrix[row, 0] * x).astype(np.float32)[None, :] + column[:, None])

    out = np.empty((*box.size, 2), np.float32)
    out[..., 0], out[..., 1] = plane(0), plane(1)
    if abs(matrix[2, 0]) * box.right + abs(matrix[2, 1]) * box.bottom < 1e-12 and matrix[2, 2] == 1:
        return out
    depth = plane(2)
    bad = depth <= 1e-6 if matrix[2, 2] > 0 else depth >= -1e-6
    depth[bad] = 1
    out /= depth[..., None]
    out[bad] = -1e4  # behind the horizon: nowhere
    return out


def _steady(weight: np.ndarray) -> np.ndarray:
    """Weights [N,T] that go to and from 0 over some frames, and never are more than they were."""
    padded = np.pad(weight, ((0, 0), (1, 1)), "edge")
    mean = (padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]) / 3
    return np.asarray(np.minimum(weight, mean) * (weight > 0))


def _agree(xy: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Which points [n,2] move as their neighbours do: within 4 MAD + 2 px of the median of the nearest eight."""
    if len(xy) <= NEIGHBOURS:
        return np.ones(len(xy), bool)
    square = squares(xy, xy)
    near = np.argpartition(square, NEIGHBOURS, 1)[:, : NEIGHBOURS + 1]
    middle = np.median(residual[near], 1)
    distance = np.hypot(*(residual - middle).T)
    return np.asarray(distance <= 4 * np.median(distance) + 2)


def typical_spacing(xy: np.ndarray) -> float:
    """Median distance of points [n,2] to their nearest neighbour; 1 where there is none."""
    if len(xy) < 2:
        return 1.0
    square = squares(xy, xy)
    np.fill_diagonal(square, np.inf)
    return max(float(np.median(np.sqrt(square.min(1)))), 1.0)


def squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances [n,m] of points [n,2] and [m,2]."""
    x = a[:, :1] - b[:, 0]
    y = a[:, 1:] - b[:, 1]
    return np.asarray(x * x + y * y)


def smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """0 up to `low`, 1 from `high` on, smooth between."""
    u = np.clip((x - low) / max(high - low, 1e-9), 0, 1)
    return np.asarray(u * u * (3 - 2 * u))


def folds(mesh: np.ndarray, flat: np.ndarray) -> bool:
    """Whether a grid [gh,gw,2] turns over anywhere, compared with the plane one."""
    if min(mesh.shape[:2]) < 2 or not np.isfinite(flat).all():
        return False

    def area(grid: np.ndarray) -> np.ndarray:
        across, down = grid[:-1, 1:] - grid[:-1, :-1], grid[1:, :-1] - grid[:-1, :-1]
        return np.asarray(across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0])

    before = area(flat)
    return bool((area(mesh) * np.sign(before) < FOLD * np.abs(before)).any())

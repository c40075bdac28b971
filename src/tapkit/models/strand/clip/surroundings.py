"""How the frame as a whole moves, the same whatever is asked, and where points would be if they moved with it.

A fixed grid is followed by Lucas-Kanade from frame to frame, and the homography that most of it agrees with is taken
(M. Fischler and R. Bolles, RANSAC, CACM 1981; then weighted least squares with the weights of S. Geman and D. McClure,
1987). Points that are hidden are carried on by it, and looked for there by the pixels of their query, warped as the
frame was since.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.constants import constant_like
from tapkit.models.base import Size
from tapkit.models.strand.clip.film import Film, unit_of
from tapkit.nn.alignment import RADIUS, align, find
from tapkit.nn.precision import widest
from tapkit.nn.transfer import indices, sent

GRID = 9, 16
"""Points of the grid (rows, columns)."""
TRIES = 64
"""Similarities through two of them that are tried."""
WITHIN = 1.0
"""Pixels: a point of the grid agrees with a motion."""
LEAST = 12
"""Points of the grid that must have been followed, or the frame is taken to stand still."""
KEPT = 12
"""Pixels on each side of a query that are kept, from which the warped ones are taken."""
REACH = 6.0
"""Pixels of a frame of 256x256: so far from where the surroundings carried it a point is looked for."""
FITS = 0.8
"""Correlation of the query's pixels from which their place is taken."""
NOT_THERE = -0.5
"""Said in place of a correlation where they went further than `REACH`."""


def dominant(film: Film) -> Tensor:
    """The motion of most of the frame from each frame to the next: float64 [T-1,3,3] on the CPU, pixels."""
    if len(film) < 2:
        return torch.zeros(0, 3, 3, dtype=torch.float64)
    before = film.grey(0)
    size = before[0].shape[2], before[0].shape[3]
    grid, found = sent(_grid(size), before[0].device), []
    for frame in range(1, len(film)):
        after = film.grey(frame)
        found.append(_followed(before, after, grid))
        before = after
    # One copy for the whole clip: the host waits once.
    there = torch.stack([torch.cat([places, kept[:, None].to(places)], 1) for places, kept in found]).cpu()
    return torch.stack([_motion(size, each[:, :2], each[:, 2] > 0) for each in there])


def _followed(before: tuple[Tensor, ...], after: tuple[Tensor, ...], grid: Tensor) -> tuple[Tensor, Tensor]:
    """Where places of a grid [K,2] are on the next frame [K,2], and whether they were followed, bool [K]."""
    there, similarity = align(before, after, grid[None])
    again, _ = align(after, before, there, grid[None] - there, levels=1)
    return there[0], ((again[0] - grid).square().sum(-1) < 0.5) & (similarity[0] > 0.7)


def _motion(size: tuple[int, int], there: Tensor, followed: Tensor) -> Tensor:
    """The homography float64 [3,3] by what `_followed` found in frames of (height, width)."""
    height, width = size
    middle = torch.tensor([width, height], dtype=torch.float64) / 2
    scale = max(height, width) / 2
    start, end = ((points[followed].double() - middle) / scale for points in (_grid(size), there))
    if len(start) < LEAST:
        return torch.eye(3, dtype=torch.float64)
    motion = _fitted(start, end, 1 / scale)
    norm = torch.tensor([[1 / scale, 0, -middle[0] / scale], [0, 1 / scale, -middle[1] / scale], [0, 0, 1]])
    norm = norm.double()
    whole: Tensor = torch.linalg.inv(norm) @ motion @ norm
    return whole / whole[2, 2]


def _grid(size: tuple[int, int]) -> Tensor:
    """Places all over a frame of (height, width): [K,2] on the CPU."""
    y, x = ((torch.arange(n) + 0.5) * (side / n) for n, side in zip(GRID, size, strict=True))
    return torch.stack(torch.meshgrid(x, y, indexing="ij"), -1).flatten(0, 1)


def _fitted(start: Tensor, end: Tensor, pixel: float) -> Tensor:
    """The homography [3,3] that most of the points [K,2] agree with; `pixel` is the size of one."""
    a, b = torch.view_as_complex(start), torch.view_as_complex(end.contiguous())
    chosen = torch.randint(len(a), (2, TRIES), generator=torch.Generator().manual_seed(0))
    spread = a[chosen[0]] - a[chosen[1]]
    turn = torch.where(spread == 0, torch.ones_like(spread), (b[chosen[0]] - b[chosen[1]]) / spread)
    shift = b[chosen[0]] - turn * a[chosen[0]]
    off = (turn[:, None] * a + shift[:, None] - b).abs() / pixel
    agrees = off[(off < WITHIN).sum(1).argmax()] < 2 * WITHIN
    weights = agrees.double()
    motion = torch.eye(3, dtype=torch.float64)
    for _ in range(5):
        motion = _homography(start, end, weights)
        off = (moved(motion, start) - end).square().sum(-1) / pixel**2
        weights = (1 + off / (WITHIN / 2) ** 2) ** -2
    # A frame that is turned inside out, or folded up, was not followed.
    sound = bool(motion.isfinite().all()) and 0.1 < float(torch.linalg.det(motion)) < 10
    return motion if sound else torch.eye(3, dtype=torch.float64)


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
    rows = rows * weights.repeat(2)[:, None].sqrt()
    still = torch.tensor([1, 0, 0, 0, 1, 0, 0, 0], dtype=rows.dtype)
    left = torch.cat([u, v]) * weights.repeat(2).sqrt() - rows @ still
    normal = rows.T @ rows + 1e-6 * torch.eye(8, dtype=rows.dtype)
    entries = still + torch.linalg.solve_ex(normal, rows.T @ left).result
    return torch.cat([entries, torch.ones_like(entries[:1])]).view(3, 3)


def moved(motion: Tensor, xy: Tensor) -> Tensor:
    """Points [M,2] by homographies [3,3] or [M,3,3]: [M,2], in the dtype of the points."""
    exact = widest(xy.device)
    full = (motion.to(xy.device, exact) @ F.pad(xy.to(exact), (0, 1), value=1.0)[..., None])[..., 0]
    depth = torch.where(full[:, 2:].abs() < 1e-3, 1e-3, full[:, 2:])
    return (full[:, :2] / depth).to(xy.dtype)


def near_frame(xy: Tensor, size: Size) -> Tensor:
    """Places [...,2] brought to a frame's length from the frame at most: what is carried on for long stays finite."""
    height, width = size
    limits = constant_like([width, height], xy)
    return torch.minimum(torch.maximum(xy, -limits), 2 * limits)


class Template(NamedTuple):
    """The pixels around N queries."""

    patches: Tensor
    """[N,1,2k+1,2k+1] grey levels, the query in the middle."""

    @classmethod
    def cut(cls, film: Film, t: Tensor, xy: Tensor) -> Template:
        """Around xy [N,2] on frames t [N]."""
        side = 2 * KEPT + 1
        patches = xy.new_zeros(len(t), 1, side, side)
        ticks = torch.arange(-KEPT, KEPT + 1, device=xy.device, dtype=torch.float32)
        offsets = torch.stack([ticks.repeat(side), ticks.repeat_interleave(side)], -1)
        starts = t.tolist()
        for frame in sorted(set(starts)):
            rows = indices((n for n, start in enumerate(starts) if start == frame), xy.device)
            image = film.grey(frame)[0]
            patches[rows, 0] = _sample(image, (xy[rows, None] + offsets)[None])[0].view(-1, side, side)
        return cls(patches)

    def warped(self, inverse: Tensor) -> Tensor:
        """What `alignment.find` looks for [1,N,(2r+3)^2], where the frame was warped: `inverse` [N,2,2] leads from
        distances in the frame looked at to distances in that of the query."""
        radius = RADIUS + 1
        ticks = torch.arange(-radius, radius + 1, device=inverse.device, dtype=torch.float32)
        offsets = torch.stack([ticks.repeat(len(ticks)), ticks.repeat_interleave(len(ticks))], -1)
        places = torch.einsum("nij,kj->nki", inverse, offsets) + KEPT + 0.5
        size = 2 * KEPT + 1
        found = F.grid_sample(
            self.patches, places[:, None] * (2 / size) - 1, padding_mode="border", align_corners=False
        )
        return found[:, 0, 0][None]


def _sample(image: Tensor, places: Tensor) -> Tensor:
    """Bilinear samples of [1,1,H,W] at places [1,N,K,2] -> [1,N,K]."""
    size = constant_like([image.shape[3], image.shape[2]], places)
    return F.grid_sample(image, places * (2 / size) - 1, padding_mode="border", align_corners=False)[:, 0]


class Carried(NamedTuple):
    """Where N points are on T frames if they move with their surroundings."""

    xy: Tensor
    """[N,T,2] where the query's pixels fit best around there."""
    fits: Tensor
    """[N,T] how well, correlation -1..1, or `NOT_THERE`."""
    fits_first: Tensor
    """[N,T] the same, unwarped, where the first run says that the point is."""


def carried(film: Film, size: Size, motions: Tensor, t: Tensor, xy: Tensor, there: Tensor, trusted: Tensor) -> Carried:
    """Carry queries t [N], xy [N,2] on by the `dominant` motions.

    `there` [N,T,2] are the places of the first run; where it is `trusted` [N,T] and the pixels do not tell, it says
    from where a point is carried on.
    """
    unit = unit_of(size)
    template, count = Template.cut(film, t, xy), len(t)
    place, warp = xy.clone(), torch.eye(3, dtype=widest(xy.device), device=xy.device).repeat(count, 1, 1)
    same = torch.eye(2, device=xy.device).expand(count, 2, 2)
    result = Carried(there.clone(), torch.zeros_like(there[..., 0]), torch.zeros_like(there[..., 0]))
    starts, motions = t.tolist(), sent(motions.to(warp.dtype), xy.device)
    for frame in range(len(film)):
        on = indices((n for n, start in enumerate(starts) if start < frame), xy.device)
        if len(on):
            motion, image = motions[frame - 1], film.grey(frame)[0]
            warp[on] = motion @ warp[on]
            expected = near_frame(moved(motion, place[on]), size)
            some = Template(template.patches[on])
            found, fits = find(some.warped(_inverse(warp[on], xy[on])), image, expected[None])
            near = (found[0] - expected).square().sum(-1).sqrt() < REACH * unit
            fits = torch.where(near, fits[0], NOT_THERE)
            result.xy[on, frame] = torch.where(near[:, None], found[0], expected)
            result.fits[on, frame] = fits
            result.fits_first[on, frame] = find(some.warped(same[on]), image, there[on, frame][None])[1][0]
            told = torch.where(trusted[on, frame, None], there[on, frame], expected)
            place[on] = torch.where((fits > FITS)[:, None], found[0], told)
        now = indices((n for n, start in enumerate(starts) if start == frame), xy.device)
        result.xy[now, frame], result.fits[now, frame], result.fits_first[now, frame] = xy[now], 1.0, 1.0
    return result


def _inverse(warp: Tensor, xy: Tensor) -> Tensor:
    """Of the linear part of homographies [N,3,3] at xy [N,2]: float32 [N,2,2]."""
    xy = xy.to(warp.dtype)
    middle = moved(warp, xy)
    columns = [moved(warp, xy + step) - middle for step in torch.eye(2, dtype=xy.dtype, device=xy.device)]
    (a, c), (b, d) = (column.T for column in columns)
    determinant = a * d - b * c
    # Where a frame has been folded up nothing can be looked for any more.
    determinant = torch.where(determinant.abs() < 1e-3, 1e-3, determinant)
    return (torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], 1) / determinant[:, None, None]).float()

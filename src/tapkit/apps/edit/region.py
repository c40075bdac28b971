"""Regions of a frame: a polygon or a mask, and the points that are tracked to follow one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw

from tapkit.coords import Size
from tapkit.errors import QueryError, ShapeError, UsageError
from tapkit.types import Queries

LEAST_POINTS, MOST_POINTS = 200, 600
POINT_AREA = 100.0
"""Square pixels for each point, between those two numbers."""
DILATION = 0.15
"""How far beyond the region points are placed, as a share of its size."""
BAND, BAND_POINTS = 20, 40
"""At least so many points lie in a band of so many pixels around the region."""


@dataclass(frozen=True, eq=False)
class Region:
    """An area of one frame, pixels, corner origin."""

    polygon: np.ndarray
    """[k,2] float64: its outline; of a mask, the corners of its bounding box."""
    inside: np.ndarray | None = None
    """The mask [H,W] bool; None: the polygon is meant."""

    @classmethod
    def of(cls, polygon: Any = None, *, box: Any = None, mask: Any = None) -> Region:
        """From the vertices of a polygon [k,2] (k >= 3; any order round), a box (left, top, right, bottom), or a mask
        [H,W] (nonzero = inside). Raises `UsageError` unless it is exactly one of them and encloses some area."""
        if sum(part is not None for part in (polygon, box, mask)) != 1:
            raise UsageError("a region is a polygon, a box or a mask: give exactly one of them")
        if mask is not None:
            inside = np.asarray(mask) != 0
            if inside.ndim != 2:
                raise ShapeError(f"a mask must be [H,W], got {list(inside.shape)}")
            if not inside.any():
                raise UsageError("the mask is empty: nothing in it is marked")
            rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
            corners = rectangle(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
            return cls(corners, inside)
        if box is not None:
            left, top, right, bottom = numbers(box, 4, "a box is left, top, right, bottom")
            if not (left < right and top < bottom):
                raise UsageError(f"a box is left, top, right, bottom with left < right and top < bottom, got {box}")
            return cls(rectangle(left, top, right, bottom))
        vertices = np.asarray(polygon, np.float64)
        if vertices.ndim != 2 or vertices.shape[1] != 2 or len(vertices) < 3:
            raise ShapeError(f"a polygon is [k,2] with three vertices at least, got {list(vertices.shape)}")
        if not np.isfinite(vertices).all():
            raise QueryError("the vertices of a polygon must be finite numbers")
        x, y = vertices.T
        if abs(float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())) < 1:
            raise UsageError("the polygon encloses no area: its vertices lie on a line")
        return cls(vertices)

    @property
    def corners(self) -> np.ndarray:
        """[4,2]: the polygon if it has four vertices, else the corners of its bounding box, clockwise on the screen."""
        if len(self.polygon) == 4:
            return self.polygon
        low, high = self.polygon.min(0), self.polygon.max(0)
        return rectangle(low[0], low[1], high[0], high[1])

    def raster(self, size: Size) -> np.ndarray:
        """[H,W] bool: pixels whose centres lie inside. Raises `ShapeError` for a mask of another size."""
        if self.inside is not None:
            if self.inside.shape != size:
                (height, width), (own_height, own_width) = size, self.inside.shape
                raise ShapeError(f"the mask is {own_width}x{own_height}, the video {width}x{height}")
            return self.inside
        return fill(self.polygon, size)

    def contains(self, xy: np.ndarray) -> np.ndarray:
        """Whether positions [n,2] lie inside -> bool [n]."""
        if self.inside is not None:
            height, width = self.inside.shape
            column, row = np.floor(np.nan_to_num(xy, nan=-1)).astype(int).T
            on = (column >= 0) & (row >= 0) & (column < width) & (row < height)
            out = np.zeros(len(xy), bool)
            out[on] = self.inside[row[on], column[on]]
            return out
        return in_polygon(xy, self.polygon)


def rectangle(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """Corners [4,2]: upper left, upper right, lower right, lower left."""
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)


def numbers(values: Any, count: int, what: str) -> list[float]:
    """`count` finite numbers, or `UsageError`."""
    try:
        found = [float(value) for value in np.asarray(values, np.float64).ravel()]
    except (TypeError, ValueError) as error:
        raise UsageError(f"{what}, got {values!r}") from error
    if len(found) != count or not np.isfinite(found).all():
        raise UsageError(f"{what}, got {values!r}")
    return found


def in_polygon(xy: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Whether positions [n,2] lie inside a polygon [k,2], by the even-odd rule -> bool [n]."""
    inside = np.zeros(len(xy), bool)
    x, y = xy.T
    with np.errstate(divide="ignore", invalid="ignore"):
        for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, 0), strict=True):
            crosses = (y0 > y) != (y1 > y)
            inside ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return inside


def fill(polygon: np.ndarray, size: Size) -> np.ndarray:
    """[H,W] bool: pixels whose centres lie inside a polygon [k,2], which may reach beyond the frame."""
    height, width = size
    out = np.zeros(size, bool)
    low = np.clip(np.floor(polygon.min(0)).astype(int), 0, (width, height))
    high = np.clip(np.ceil(polygon.max(0)).astype(int), 0, (width, height))
    if (high <= low).any():
        return out
    x, y = np.meshgrid(np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5)
    out[low[1] : high[1], low[0] : high[0]] = in_polygon(np.stack([x.ravel(), y.ravel()], 1), polygon).reshape(x.shape)
    return out


def coverage(polygon: np.ndarray, size: Size, finer: int = 4) -> np.ndarray:
    """[H,W] float32: how much of each pixel a polygon [k,2] covers, 0..1, from `finer` x `finer` samples."""
    height, width = size
    image = Image.new("L", (width * finer, height * finer))
    shifted = (np.clip(polygon, -4 * max(size), 5 * max(size)) * finer - 0.5).round(3)
    ImageDraw.Draw(image).polygon([tuple(vertex) for vertex in shifted.tolist()], fill=255)
    return np.asarray(image.reduce(finer), np.float32) / 255


def grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    """A mask [H,W] bool, larger by so many pixels on each side (a square; negative: smaller)."""
    if pixels == 0:
        return mask
    if pixels < 0:
        return ~grown(~mask, -pixels)
    field = torch.from_numpy(mask.astype(np.float32))[None, None]
    for kernel in ((2 * pixels + 1, 1), (1, 2 * pixels + 1)):
        field = F.max_pool2d(field, kernel, 1, (kernel[0] // 2, kernel[1] // 2))
    return np.asarray(field[0, 0].numpy() > 0)


def points_for(
    region: Region, size: Size, frame: int, *, count: int | None = None, image: np.ndarray | None = None, seed: int = 0
) -> Queries:
    """Points to track with a region: a jittered grid over it and a little beyond, and some more in a band around it.

    Args:
        region: on `frame`.
        size: (height, width) of the video.
        count: about how many; None: one for each 100 square pixels, 200 to 600.
        image: the frame [H,W,3] uint8: points then move to the most textured place of their cell.
        seed: of the jitter.

    Raises `UsageError` for a region outside the frame.
    """
    mask = region.raster(size)
    area = int(mask.sum())
    if not area:
        raise UsageError(f"the region lies outside the frame, which is {size[1]}x{size[0]} pixels")
    wide = grown(mask, max(round(DILATION * area**0.5), 2))
    wanted = int(np.clip(area / POINT_AREA, LEAST_POINTS, MOST_POINTS)) if count is None else count
    if wanted < 1:
        raise UsageError(f"a region needs one point at least, got {wanted}")
    dice = np.random.default_rng(seed)
    texture = None if image is None else cornerness(image)
    found = _jittered(wide, (float(wide.sum()) / wanted) ** 0.5, dice, texture)
    band = grown(mask, BAND) & ~mask
    missing = BAND_POINTS - int(band[np.floor(found[:, 1]).astype(int), np.floor(found[:, 0]).astype(int)].sum())
    if count is None and missing > 0 and band.any():
        more = _jittered(band, (float(band.sum()) / BAND_POINTS) ** 0.5, dice, texture)
        found = np.concatenate([found, more])
    return Queries.at(frame, np.unique(found.round(2), axis=0))


def _jittered(mask: np.ndarray, step: float, dice: np.random.Generator, texture: np.ndarray | None) -> np.ndarray:
    """One place in each cell of a grid that lies in the mask, [n,2]."""
    height, width = mask.shape
    step = max(step, 1.0)
    x, y = np.meshgrid(np.arange(step / 2, width, step), np.arange(step / 2, height, step))
    centre = np.stack([x.ravel(), y.ravel()], 1)
    # Several places in each cell; the one with most texture is taken.
    tries = 1 if texture is None else 6
    offset = dice.uniform(-0.35, 0.35, (len(centre), tries, 2)) * step
    places = np.clip(centre[:, None] + offset, 0, (width - 1e-3, height - 1e-3))
    column, row = np.floor(places).astype(int)[..., 0], np.floor(places).astype(int)[..., 1]
    score = np.where(mask[row, column], 1.0 if texture is None else 1.0 + texture[row, column], 0)
    best = score.argmax(1)
    chosen = np.arange(len(centre))
    found = places[chosen, best][score[chosen, best] > 0]
    if not len(found):  # smaller than a cell
        rows, columns = np.nonzero(mask)
        found = np.array([(columns.mean() + 0.5, rows.mean() + 0.5)])
    return np.asarray(found)


def cornerness(image: np.ndarray) -> np.ndarray:
    """How well a place can be found again, 0..1 [H,W]: the smaller eigenvalue of the structure of 7 x 7 pixels
    (J. Shi and C. Tomasi, Good Features to Track, 1994)."""
    grey = torch.from_numpy(np.ascontiguousarray(image)).float().mean(-1)[None, None]
    gx = F.pad(grey[..., 2:] - grey[..., :-2], (1, 1, 0, 0))
    gy = F.pad(grey[..., 2:, :] - grey[..., :-2, :], (0, 0, 1, 1))
    products = torch.cat([gx * gx, gy * gy, gx * gy], 1)
    xx, yy, xy = F.avg_pool2d(products, 7, 1, 3)[0].unbind(0)
    least = ((xx + yy) / 2 - (((xx - yy) / 2) ** 2 + xy**2).sqrt()).clamp(min=0).sqrt()
    return np.asarray((least / least.max().clamp(min=1e-6)).numpy())


def points_in(region: Region, xy: np.ndarray, weight: np.ndarray, margin: float = DILATION) -> np.ndarray:
    """Rows of the points [n,2] with weight > 0 that lie in a region or within a margin of it -> int64 [m]."""
    if region.inside is not None:
        wide = Region(region.polygon, grown(region.inside, max(round(margin * float(region.inside.sum()) ** 0.5), 2)))
    else:
        middle = region.polygon.mean(0)
        wide = Region(middle + (region.polygon - middle) * (1 + 2 * margin))
    return np.flatnonzero((weight > 0) & wide.contains(xy))


def signed_distance(mask: np.ndarray, longest: int = 32) -> np.ndarray:
    """Distance of each pixel's centre to the border of a mask [H,W], positive inside, cut off at `longest` pixels."""
    return np.asarray(_distance(mask, longest) - _distance(~mask, longest), np.float32)


def _distance(mask: np.ndarray, longest: int) -> np.ndarray:
    """To the nearest pixel outside the mask, less half a pixel; exact up to `longest` (P. Felzenszwalb and
    D. Huttenlocher, 2012: first along columns, then along rows)."""
    height, width = mask.shape
    far = float(longest + 1)
    down = np.full((height, width), far, np.float32)
    run = np.full(width, far, np.float32)
    for order in (range(height), range(height - 1, -1, -1)):
        run = np.full(width, far, np.float32)
        for row in order:
            run = np.where(mask[row], np.minimum(run + 1, far), 0)
            down[row] = np.minimum(down[row], run)
    square = down * down
    best = square.copy()
    for shift in range(1, min(longest, width - 1) + 1):
        np.minimum(best[:, shift:], square[:, :-shift] + shift * shift, out=best[:, shift:])
        np.minimum(best[:, :-shift], square[:, shift:] + shift * shift, out=best[:, :-shift])
    return np.asarray(np.where(mask, np.minimum(np.sqrt(best) - 0.5, longest), 0), np.float32)


def checked_polygon(values: Sequence[float], what: str) -> np.ndarray:
    """Numbers x, y, x, y, ... as vertices [k,2]. Raises `UsageError`."""
    if len(values) < 6 or len(values) % 2:
        raise UsageError(f"{what} takes x,y for each vertex, three of them at least, got {len(values)} numbers")
    return np.asarray(values, np.float64).reshape(-1, 2)

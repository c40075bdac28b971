"""Pictures read between their pixels: bicubic or Lanczos, with smaller copies where they are shrunk, nothing beyond the
border.

Bicubic, OpenCV is used where it is installed, since it is quicker; PyTorch's sampling does the same (both take
a = -0.75). OpenCV's Lanczos is of eight pixels, from a table of 32 places between two pixels: that of six is made here.
Places are pixels of the picture, corner origin.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F

SHARP = 1.5
"""Up to so many pixels of the picture for one of the frame, it is read as it is."""
Resampling = Literal["bicubic", "lanczos"]
RESAMPLINGS: tuple[Resampling, ...] = ("bicubic", "lanczos")
_REACH = 3
"""Of the Lanczos window, pixels to each side."""
_AT_ONCE = 1 << 15
"""Places that Lanczos reads at a time: their values stay in the processor's cache."""


@cache
def opencv() -> ModuleType | None:
    """OpenCV, if it is installed."""
    try:
        import cv2
    except ImportError:
        return None
    cv2.setNumThreads(1)
    return cv2


class Pyramid:
    """A picture [h,w,C] float32, and halves of it made when they are needed."""

    def __init__(self, image: np.ndarray) -> None:
        self.levels = [np.ascontiguousarray(image, np.float32)]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the whole picture."""
        height, width = self.levels[0].shape[:2]
        return height, width

    def level(self, number: int) -> np.ndarray:
        """The picture, halved so many times (or as often as it can be) by area averaging."""
        while len(self.levels) <= number and min(self.levels[-1].shape[:2]) > 1:
            self.levels.append(_halved(self.levels[-1]))
        return self.levels[min(number, len(self.levels) - 1)]

    def read(self, xy: np.ndarray, shrink: float = 1.0, resampling: Resampling = "bicubic") -> np.ndarray:
        """Values at places [...,2] (pixels of the whole picture) -> [...,C]; 0 beyond the border.

        `shrink`: pixels of the picture for one of the frame. Where it is more than `SHARP`, smaller copies are blended,
        so that no detail flickers; there all is bicubic.
        """
        if resampling == "lanczos" and shrink <= SHARP:
            return lanczos(self.levels[0], xy)
        depth = max(np.log2(max(shrink, 1e-6)) - np.log2(SHARP), 0.0)
        low = int(depth)
        share = depth - low
        out = self._at(low, xy)
        if share > 0.01 and min(self.level(low).shape[:2]) > 1:
            out = out * np.float32(1 - share) + self._at(low + 1, xy) * np.float32(share)
        return out

    def _at(self, number: int, xy: np.ndarray) -> np.ndarray:
        image = self.level(number)
        height, width = self.size
        scale = np.array([image.shape[1] / width, image.shape[0] / height], np.float32)
        return bicubic(image, (xy * scale) if number else xy)


def _halved(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    field = torch.from_numpy(image).permute(2, 0, 1)[None]
    half = F.adaptive_avg_pool2d(field, (max(height // 2, 1), max(width // 2, 1)))
    return np.ascontiguousarray(half[0].permute(1, 2, 0).numpy())


def bicubic(image: np.ndarray, xy: np.ndarray, edge: bool = False) -> np.ndarray:
    """Values of [h,w,C] float32 at places [a,b,2] -> [a,b,C] float32.

    `edge`: beyond the border the nearest pixel, instead of 0.
    """
    places = np.asarray(xy, np.float32)
    cv: Any = opencv()
    if cv is not None and max(image.shape[:2]) < 32767 and max(places.shape[:2]) < 32767:
        x, y = (np.ascontiguousarray(np.clip(places[..., axis] - 0.5, -1e4, 4e4)) for axis in (0, 1))
        border = cv.BORDER_REPLICATE if edge else cv.BORDER_CONSTANT
        found = cv.remap(image, x, y, cv.INTER_CUBIC, borderMode=border, borderValue=0)
        return np.asarray(found.reshape(*places.shape[:2], image.shape[2]))
    height, width = image.shape[:2]
    grid = torch.from_numpy(places) * torch.tensor([2 / width, 2 / height]) - 1
    field = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    found = F.grid_sample(
        field, grid[None], mode="bicubic", padding_mode="border" if edge else "zeros", align_corners=False
    )
    return np.ascontiguousarray(found[0].permute(1, 2, 0).numpy())


def resampled(image: np.ndarray, xy: np.ndarray, resampling: Resampling, edge: bool = False) -> np.ndarray:
    """Values of [h,w,C] float32 at places [a,b,2], by one of `RESAMPLINGS`."""
    return (lanczos if resampling == "lanczos" else bicubic)(image, xy, edge)


def lanczos(image: np.ndarray, xy: np.ndarray, edge: bool = False) -> np.ndarray:
    """`bicubic` with the Lanczos window of three pixels to each side: sharper, rings more, and is much slower.

    C. Duchon, Lanczos Filtering in One and Two Dimensions, J. Applied Meteorology 1979. The weights of a place are
    scaled to a sum of 1, so that an even picture stays even.
    """
    height, width, channels = image.shape
    border = 2 * _REACH  # what is further out is read as if it lay `_REACH` pixels beyond the border
    padded = np.pad(image, ((border, border), (border, border), (0, 0)), "edge" if edge else "constant")
    flat = np.ascontiguousarray(padded, np.float32).reshape(-1, channels)
    places = np.asarray(xy, np.float32).reshape(-1, 2)
    out = np.empty((len(places), channels), np.float32)
    taps = np.arange(1 - _REACH, _REACH + 1)
    for begin in range(0, len(places), _AT_ONCE):
        part = slice(begin, begin + _AT_ONCE)
        near = np.clip(places[part] - 0.5, -_REACH, (width + _REACH - 1, height + _REACH - 1))
        whole = np.floor(near).astype(np.int64)
        away = (near - whole)[..., None] - taps  # [n,2,6]
        weight = np.sinc(away) * np.sinc(away / _REACH)
        weight = (weight / weight.sum(-1, keepdims=True)).astype(np.float32)
        corner = (whole[:, 1] + border) * padded.shape[1] + whole[:, 0] + border
        total = np.zeros((len(near), channels), np.float32)
        for down, step in enumerate(taps):
            row = np.zeros_like(total)
            for across, shift in enumerate(taps):
                row += flat[corner + (step * padded.shape[1] + shift)] * weight[:, 0, across, None]
            total += row * weight[:, 1, down, None]
        out[part] = total
    return out.reshape(*np.shape(xy)[:-1], channels)


def bilinear(image: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Values of [h,w] or [h,w,C] at places [n,2] -> [n] or [n,C] float32; beyond the border the nearest pixel."""
    field = image[..., None] if image.ndim == 2 else image
    height, width = field.shape[:2]
    x, y = np.clip(xy[:, 0] - 0.5, 0, width - 1), np.clip(xy[:, 1] - 0.5, 0, height - 1)
    column, row = np.minimum(x.astype(int), max(width - 2, 0)), np.minimum(y.astype(int), max(height - 2, 0))
    u, v = (x - column)[:, None], (y - row)[:, None]
    right, below = np.minimum(column + 1, width - 1), np.minimum(row + 1, height - 1)
    top = field[row, column] * (1 - u) + field[row, right] * u
    bottom = field[below, column] * (1 - u) + field[below, right] * u
    out = np.asarray(top * (1 - v) + bottom * v, np.float32)
    return out[:, 0] if image.ndim == 2 else out


def enlarged(grid: np.ndarray, step: int, size: tuple[int, int]) -> np.ndarray:
    """Values at the crossings of a grid [gh,gw,C] that lie `step` pixels apart, at the pixels' centres [h,w,C].

    Crossing (0, 0) lies at the outer corner of the first pixel. `size`: (height, width), at most (gh-1, gw-1) x step.
    """
    field = torch.from_numpy(np.ascontiguousarray(grid, np.float32)).permute(2, 0, 1)[None]
    height, width = (grid.shape[0] - 1) * step, (grid.shape[1] - 1) * step
    # Twice as fine, corners on corners: every second value would be a pixel's border, those between its centre.
    across = _between(field, width, step, 3)
    both = _between(across, height, step, 2)
    return np.ascontiguousarray(both[0, :, : size[0], : size[1]].permute(1, 2, 0).numpy())


def _between(field: torch.Tensor, length: int, step: int, axis: int) -> torch.Tensor:
    """Linear interpolation along one axis, at (i + 0.5) / step for i in 0..length-1."""
    place = (torch.arange(length) + 0.5) / step
    low = place.floor().long().clamp(max=field.shape[axis] - 2)
    share = place - low
    share = share.view(-1, 1) if axis == 2 else share.view(1, -1)
    return torch.lerp(field.index_select(axis, low), field.index_select(axis, low + 1), share)


def box_mean(image: np.ndarray, radius: int) -> np.ndarray:
    """Means [h,w] over squares of (2 radius + 1) pixels, cut off at the border."""
    cv: Any = opencv()
    if cv is not None:
        side = 2 * radius + 1
        kernel = (side, side)
        total = cv.boxFilter(image, cv.CV_32F, kernel, normalize=False, borderType=cv.BORDER_CONSTANT)
        return np.asarray(total / _counts(image.shape[0], image.shape[1], radius))
    out = image.astype(np.float64)
    for axis in (0, 1):
        total = np.cumsum(out, axis)
        length = out.shape[axis]
        high = np.minimum(np.arange(length) + radius, length - 1)
        low = np.arange(length) - radius - 1
        before = np.where(np.expand_dims(low >= 0, 1 - axis), np.take(total, np.maximum(low, 0), axis), 0)
        out = np.take(total, high, axis) - before
    return np.asarray(out / _counts(image.shape[0], image.shape[1], radius), np.float32)


@cache
def _counts(height: int, width: int, radius: int) -> np.ndarray:
    sides = []
    for length in (height, width):
        place = np.arange(length)
        sides.append(np.minimum(place + radius, length - 1) - np.maximum(place - radius, 0) + 1)
    return np.asarray(np.outer(*sides), np.float32)


def guided(guide: np.ndarray, values: np.ndarray, radius: int = 8, epsilon: float = 1e-3) -> np.ndarray:
    """The guided filter (K. He, J. Sun and X. Tang, Guided Image Filtering, PAMI 2013): values [h,w] whose borders move
    to those of the guide [h,w], 0..1."""
    mean_g, mean_v = box_mean(guide, radius), box_mean(values, radius)
    variance = box_mean(guide * guide, radius) - mean_g * mean_g
    slope = (box_mean(guide * values, radius) - mean_g * mean_v) / (variance + np.float32(epsilon))
    offset = mean_v - slope * mean_g
    return np.asarray(box_mean(slope, radius) * guide + box_mean(offset, radius))

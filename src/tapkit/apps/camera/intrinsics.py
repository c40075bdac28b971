"""The camera matrix: focal lengths and principal point in pixels, corner origin (the image centre is W/2, H/2)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tapkit.errors import ShapeError, UsageError

UNKNOWN_FOCAL = 1.2
"""Focal length to begin with where none is known, in longer sides of the image; COLMAP's guess, too."""


def intrinsics_of(given: Any, size: tuple[int, int], frames: int, pixel_aspect: float = 1.0) -> tuple[np.ndarray, bool]:
    """(fx, fy, cx, cy) of each frame [T,4] float64, and whether the focal length was given.

    Args:
        given: None (unknown), a focal length in pixels, (fx, fy, cx, cy), a matrix [3,3], or [T,4] or [T,3,3].
        size: (height, width).
        frames: T.
        pixel_aspect: width of a pixel divided by its height; used where there is one focal length.

    Raises `ShapeError` for another shape, `UsageError` for lengths that are not positive numbers.

    >>> intrinsics_of(500.0, (480, 640), 1)[0].tolist(), intrinsics_of(None, (480, 640), 1)[1]
    ([[500.0, 500.0, 320.0, 240.0]], False)
    """
    height, width = size
    known = given is not None
    try:
        values = np.asarray(UNKNOWN_FOCAL * max(size) if given is None else given, np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"intrinsics are numbers: a focal length, or fx, fy, cx, cy; got {given!r}") from error
    if values.shape[-2:] == (3, 3):
        values = values[..., (0, 1, 0, 1), (0, 1, 2, 2)]
    if values.ndim == 0:
        focal = float(values)
        values = np.array([focal, focal * pixel_aspect, width / 2, height / 2])
    if values.shape not in ((4,), (frames, 4)):
        raise ShapeError(
            "intrinsics are a focal length, (fx, fy, cx, cy), a matrix [3,3], or one of these for each of the "
            f"{frames} frames; got an array of shape {list(np.shape(given))}"
        )
    if not np.isfinite(values).all() or (values[..., :2] <= 0).any():
        raise UsageError("focal lengths must be positive numbers of pixels, and the principal point finite")
    return np.broadcast_to(values, (frames, 4)).copy(), known


def focal_of_view(degrees: float, width: int) -> float:
    """The focal length in pixels of a horizontal angle of view. Raises `UsageError`.

    >>> round(focal_of_view(90, 640), 6)
    320.0
    """
    if not 0 < degrees < 180:
        raise UsageError(f"an angle of view lies between 0 and 180 degrees, got {degrees}")
    return width / 2 / math.tan(math.radians(degrees) / 2)


def rays(xy: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """Pixels [...,2] as directions (x, y, 1) [...,3] of cameras [...,4]."""
    flat = (xy - camera[..., 2:]) / camera[..., :2]
    return np.concatenate([flat, np.ones((*flat.shape[:-1], 1))], -1)


def pixels(points: np.ndarray, camera: np.ndarray, nearest: float = 1e-6) -> np.ndarray:
    """Points [...,3] in front of cameras [...,4] as pixels [...,2]; depths below `nearest` are taken for it."""
    depth = np.maximum(points[..., 2:], nearest)
    found: np.ndarray = points[..., :2] / depth * camera[..., :2] + camera[..., 2:]
    return found

"""How dense particles are: the scale map, and new particles in the gaps."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapkit.errors import require

BASE, LEVELS = 1.9, 6
SAME_COLOUR = 10.0
SIGMA_MAP = 2.0


def scale_map(frame: np.ndarray, least: float = 1.0) -> np.ndarray:
    """Distance that particles keep at each pixel, [h,w] float32: 1.9^k, k the largest blur that leaves the colour.

    Args:
        frame: [3,h,w] uint8 RGB.
        least: lower bound, pixels.
    """
    cv: Any = require("cv2", "particles")
    image = np.ascontiguousarray(frame.transpose(1, 2, 0)).astype(np.float32)
    blurs = [cv.GaussianBlur(image, (0, 0), BASE**level) for level in range(LEVELS)]
    index = np.zeros(image.shape[:2], np.float32)
    same = np.ones(image.shape[:2], bool)
    for level, blurred in enumerate(blurs):
        same &= ((blurred - blurs[1]) ** 2).sum(2) < SAME_COLOUR
        index[same] = level
    spacing: np.ndarray = BASE ** cv.GaussianBlur(index, (0, 0), SIGMA_MAP)
    bounded: np.ndarray = np.maximum(spacing, least).astype(np.float32)
    return bounded


def gaps(spacing: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Where particles are missing: pixel centres [m,2] farther from all of `xy` [n,2], and one another, than `spacing`.

    Pixels are scanned row by row; each new particle marks a disc, so time is linear in pixels.
    """
    height, width = spacing.shape
    taken = np.zeros((height, width), bool)
    for x, y in xy:
        _mark(
            taken, float(x), float(y), float(spacing[min(max(int(y), 0), height - 1), min(max(int(x), 0), width - 1)])
        )
    found = []
    for row, column in zip(*np.nonzero(~taken), strict=True):
        if not taken[row, column]:
            found.append((column + 0.5, row + 0.5))
            _mark(taken, column + 0.5, row + 0.5, float(spacing[row, column]))
    return np.array(found, np.float32).reshape(-1, 2)


def _mark(taken: np.ndarray, x: float, y: float, radius: float) -> None:
    """Take the pixels whose centres lie within a disc."""
    top, left = max(int(y - radius - 0.5), 0), max(int(x - radius - 0.5), 0)
    low, right = int(y + radius + 0.5) + 1, int(x + radius + 0.5) + 1
    part = taken[top:low, left:right]
    ys = (_CENTRES[: part.shape[0]] + (top - y)) ** 2
    xs = (_CENTRES[: part.shape[1]] + (left - x)) ** 2
    part |= ys[:, None] + xs <= radius * radius


_CENTRES = np.arange(64) + 0.5
"""The largest disc has a radius of 1.9^5 = 24.8 pixels."""

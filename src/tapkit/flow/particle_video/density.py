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
    return np.maximum(spacing, least).astype(np.float32)


def gaps(spacing: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Where particles are missing: pixel centres [m,2] farther from all of `xy` [n,2], and one another, than `spacing`.

    Pixels are scanned row by row; each new particle marks a disc, so time is linear in pixels.
    """
    spatial: Any = require("scipy.spatial", "particles")
    height, width = spacing.shape
    centres = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), -1).astype(np.float32)
    taken = np.zeros((height, width), bool)
    if len(xy):
        nearest, _ = spatial.cKDTree(xy).query(centres.reshape(-1, 2), distance_upper_bound=float(spacing.max()) + 1)
        taken = nearest.reshape(height, width) <= spacing
    found = []
    squares = np.arange(-64, 65) ** 2
    for row, column in zip(*np.nonzero(~taken), strict=True):
        if taken[row, column]:
            continue
        found.append((column + 0.5, row + 0.5))
        radius = spacing[row, column]
        reach = min(int(radius), 64)
        top, left = max(row - reach, 0), max(column - reach, 0)
        low, right = min(row + reach + 1, height), min(column + reach + 1, width)
        ys = squares[64 + top - row : 64 + low - row, None]
        xs = squares[64 + left - column : 64 + right - column]
        taken[top:low, left:right] |= ys + xs <= radius * radius
    return np.array(found, np.float32).reshape(-1, 2)

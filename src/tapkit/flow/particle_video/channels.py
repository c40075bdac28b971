"""The five picture channels that motion is measured on, and how they are sampled."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapkit.errors import require

COLOUR_SCALE = 0.25
EPSILON = 0.001


def channels(frame: np.ndarray) -> np.ndarray:
    """Brightness, its x and y derivatives, and a quarter of green minus red and green minus blue.

    Args:
        frame: [3,h,w] uint8 RGB.

    Returns:
        [5,h,w] float32, in units of 0..255.
    """
    red, green, blue = frame.astype(np.float32)
    brightness = 0.299 * red + 0.587 * green + 0.114 * blue
    dx, dy = gradient(brightness)
    return np.stack([brightness, dx, dy, COLOUR_SCALE * (green - red), COLOUR_SCALE * (green - blue)])


def gradient(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and y derivatives of [...,h,w] by central differences, the border repeated (0 along an axis of one pixel)."""
    padded = np.pad(image, [(0, 0)] * (image.ndim - 2) + [(1, 1), (1, 1)], mode="edge")
    dx = 0.5 * (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2])
    dy = 0.5 * (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1])
    return dx, dy


def at(image: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Bilinear samples [n,C] of an image [C,h,w] at points [n,2] (corner origin), the border repeated."""
    height, width = image.shape[1:]
    x = np.clip(xy[:, 0] - 0.5, 0, width - 1)
    y = np.clip(xy[:, 1] - 0.5, 0, height - 1)
    x0 = np.minimum(x.astype(np.int64), max(width - 2, 0))
    y0 = np.minimum(y.astype(np.int64), max(height - 2, 0))
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    fx, fy = (x - x0).astype(np.float32), (y - y0).astype(np.float32)
    upper = image[:, y0, x0] * (1 - fx) + image[:, y0, x1] * fx
    lower = image[:, y1, x0] * (1 - fx) + image[:, y1, x1] * fx
    blended: np.ndarray = (upper * (1 - fy) + lower * fy).T
    return blended


def warped(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """The image [C,h,w] sampled at every pixel moved by flow [2,h,w], the border repeated."""
    cv: Any = require("cv2", "particles")
    y, x = np.mgrid[: flow.shape[1], : flow.shape[2]].astype(np.float32)
    x, y = x + flow[0], y + flow[1]
    return np.stack([cv.remap(c, x, y, cv.INTER_LINEAR, borderMode=cv.BORDER_REPLICATE) for c in image])


def inside(flow: np.ndarray) -> np.ndarray:
    """Whether each pixel's target lies within the frame: bool [h,w]."""
    height, width = flow.shape[1:]
    y, x = np.mgrid[:height, :width]
    x, y = x + flow[0], y + flow[1]
    ok: np.ndarray = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    return ok


def robust_weight(squared: np.ndarray) -> np.ndarray:
    """Derivative of sqrt(s + eps^2) by s."""
    weight: np.ndarray = 0.5 / np.sqrt(squared + EPSILON**2)
    return weight


def bell(value: np.ndarray, sigma: float | np.ndarray) -> np.ndarray:
    """exp(-value^2 / 2 sigma^2): 1 at 0."""
    weight: np.ndarray = np.exp(-0.5 * (value / sigma) ** 2)
    return weight

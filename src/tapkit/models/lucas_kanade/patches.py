"""Patches of grey pictures, and how well they match."""

from __future__ import annotations

import numpy as np


def peak_offset(scores: np.ndarray, index: int) -> float:
    """Where the parabola through a maximum and its neighbours peaks, -0.5..0.5 from it."""
    if not 0 < index < len(scores) - 1:
        return 0.0
    before, here, after = (float(s) for s in scores[index - 1 : index + 2])
    curvature = before - 2 * here + after
    return 0.0 if curvature >= 0 else float(np.clip(0.5 * (before - after) / curvature, -0.5, 0.5))


def patches(gray: np.ndarray, xy: np.ndarray, side: int) -> np.ndarray:
    """Square patches [N,side,side] float32 around points (corner origin), bilinear, the border repeated."""
    height, width = gray.shape
    offsets = np.arange(side) - side // 2
    x = np.clip(xy[:, 0, None] - 0.5 + offsets, 0, width - 1)
    y = np.clip(xy[:, 1, None] - 0.5 + offsets, 0, height - 1)
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    fx, fy = (x - x0)[:, None, :].astype(np.float32), (y - y0)[:, :, None].astype(np.float32)

    def at(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        values: np.ndarray = gray[rows[:, :, None], columns[:, None, :]].astype(np.float32)
        return values

    upper = at(y0, x0) * (1 - fx) + at(y0, x1) * fx
    lower = at(y1, x0) * (1 - fx) + at(y1, x1) * fx
    blended: np.ndarray = upper * (1 - fy) + lower * fy
    return blended


def normalize(patch: np.ndarray, least: float = 2.0) -> np.ndarray:
    """Zero mean and unit norm; all zero where the standard deviation is below `least` grey levels."""
    centred = patch - patch.mean((1, 2), keepdims=True)
    norm = np.linalg.norm(centred, axis=(1, 2), keepdims=True)
    flat = norm < least * patch.shape[1]
    return np.where(flat, 0.0, centred / np.maximum(norm, 1e-6)).astype(np.float32)

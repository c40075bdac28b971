"""What is known of each point on a frame, and how sure it makes us; patches and how they are compared."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Evidence(NamedTuple):
    """What is known of each point on a frame."""

    tracked: Tensor
    """[N] bool: followed; else lost."""
    back_error: Tensor
    """[N] forward-backward error in pixels."""
    match: Tensor
    """[N] correlation with the query's patch, -1..1; for lost points the best one near where they were lost."""
    age: Tensor
    """[N] frames since the query."""
    lost: Tensor
    """[N] frames since it was lost."""
    taken_up: Tensor
    """[N] bool: was lost at least once and found again."""
    edge: Tensor
    """[N] bool: at the border of the frame, where lost points that have left it wait."""


def joined(first: Tensor, second: Tensor) -> Tensor:
    """Rows of both. By numpy: on small arrays torch's threads wait for each other longer than they work."""
    return torch.from_numpy(np.concatenate([first.numpy(), second.numpy()]))


def features(evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
    """What the probabilities depend on: for points being followed [N,6], for lost ones [N,6]."""
    _, back, match, age, lost, taken_up, edge = (part.numpy() for part in evidence)
    ones, age, alike = np.ones_like(match), np.log1p(age), np.maximum(match, 0) ** 4
    followed = np.stack([ones, np.minimum(back, 2.0), match, alike, age, taken_up], -1)
    return followed, np.stack([ones, np.log1p(lost), age, match, alike, edge], -1)


def probabilities(evidence: Evidence) -> tuple[Tensor, Tensor]:
    """P(visible) [N] and P(error < radius) [N], logistic in the evidence.

    The coefficients are fitted on made clips with exact ground truth by `tools/calibrate_lucas_kanade.py`.
    """
    followed, away = features(evidence)
    logits = np.where(evidence.tracked.numpy()[:, None], followed @ np.array(FOLLOWED).T, away @ np.array(LOST).T)
    both = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return torch.from_numpy(both[:, 0]), torch.from_numpy(both[:, 1])


FOLLOWED = (
    (0.832, -0.805, 1.952, 0.390, 0.079, -1.477),
    (1.082, -0.888, 2.381, 0.129, -0.251, -2.256),
)
LOST = (
    (1.832, 0.207, -0.506, -0.714, 1.852, -2.447),
    (2.606, -0.531, -0.536, -0.036, 0.369, -0.845),
)


def search_now(lost: np.ndarray) -> np.ndarray:
    """Whether points lost for so many frames [N] are looked for: at 0-2, each third until 30, then each tenth."""
    return np.asarray((lost < 3) | ((lost < 30) & (lost % 3 == 0)) | (lost % 10 == 0))


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

"""Where a box has gone, by the points inside it: a similarity transform that outliers do not move."""

from __future__ import annotations

import numpy as np

AGREE = 2.0
"""Pixels within which a point follows a transform."""


def fit_similarity(before: np.ndarray, after: np.ndarray, agree: float = AGREE) -> tuple[float, np.ndarray]:
    """Scale and centre-free shift that take points `before` [N,2] to `after` [N,2], N >= 1, in pixels.

    All pairs of points are tried (with 16 points they are 120, so no random draws are needed); the pair that most
    points agree with to `agree` pixels wins, and least squares over those points gives the result (the closed form of
    Umeyama, 1991, rotation left out as boxes have none). With one point the scale is 1.

    Returns (s, d): a point p goes to s p + d.
    """
    before, after = np.asarray(before, np.float64), np.asarray(after, np.float64)
    first, second = np.triu_indices(len(before), 1)
    if not len(first):
        return 1.0, after[0] - before[0]
    apart = np.linalg.norm(before[second] - before[first], axis=1)
    far = apart > 1
    scale = np.ones(len(first))
    scale[far] = np.linalg.norm(after[second] - after[first], axis=1)[far] / apart[far]
    scale = np.clip(scale, 0.25, 4)
    shift = (after[first] + after[second]) / 2 - scale[:, None] * (before[first] + before[second]) / 2
    error = np.linalg.norm(scale[:, None, None] * before + shift[:, None] - after, axis=-1)  # [pairs,N]
    # Of equally many followers those that are nearest: a truncated square error (MSAC).
    best = int(np.minimum(error, agree).__pow__(2).sum(1).argmin())
    chosen = error[best] <= agree
    if chosen.sum() < 2:
        middle = np.median(after - before, axis=0)
        return 1.0, middle
    return _least_squares(before[chosen], after[chosen])


def _least_squares(before: np.ndarray, after: np.ndarray) -> tuple[float, np.ndarray]:
    centre, target = before.mean(0), after.mean(0)
    spread = ((before - centre) ** 2).sum()
    scale = float(((before - centre) * (after - target)).sum() / spread) if spread > 1 else 1.0
    scale = float(np.clip(scale, 0.25, 4))
    return scale, target - scale * centre


def move_box(box: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The box [4] carried along by its points; itself if there are none."""
    if not len(before):
        return box
    scale, shift = fit_similarity(before, after)
    return np.asarray(box.reshape(2, 2) * scale + shift).reshape(4)

"""Which points are part of the static scene, and how the camera moves its picture.

Votes of pairs of frames: in each, one motion of the camera is fitted robustly, and the points that follow it vote to be
static. Where a homography explains nearly everything (a distant or flat scene, a turning camera) it is that; else the
fundamental matrix, by the normalised eight-point algorithm within random samples (Hartley and Zisserman, section 11.6).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapkit.apps.edit.models import apply
from tapkit.apps.edit.motion import Motion, fit_motion
from tapkit.apps.edit.prepare import Prepared
from tapkit.apps.edit.region import rectangle
from tapkit.apps.edit.robust import robust_fit
from tapkit.errors import UsageError

GAPS = (2, 4, 8)
LEAST_COMMON = 12
"""Points that a pair of frames must share."""
AGREE = 1.5
"""Pixels: the distance to the epipolar line, or to where the homography takes a point."""
FLAT = 0.8
"""Share of the points that a homography must explain, to be taken for the camera's motion."""
LEAST_RATIO = 0.35
"""A fundamental matrix that explains fewer is no evidence."""
STATIC = 0.7
LEAST_PAIRS = 3
MOST_PAIRS = 48
LEAST_STATIC = 20
SAMPLES = 128


@dataclass(frozen=True, eq=False)
class Votes:
    """What the pairs of frames say of each point."""

    score: np.ndarray
    """[N], 0..1: share of its pairs in which it follows the camera; 0.5 where there are too few."""
    pairs: np.ndarray
    """[N] int: pairs in which it was seen."""

    @property
    def static(self) -> np.ndarray:
        """Rows of the points of the static scene, int64; all that were seen, if hardly any are."""
        found = np.flatnonzero((self.score >= STATIC) & (self.pairs >= LEAST_PAIRS))
        return found if len(found) >= LEAST_STATIC else np.flatnonzero(self.pairs >= 0)


def static_votes(prepared: Prepared, seed: int = 0) -> Votes:
    """Let pairs of frames vote which points belong to the static scene."""
    count, frames = prepared.weight.shape
    gaps = [gap for gap in GAPS if gap < frames] or ([1] if frames > 1 else [])
    pairs = [(t, t + gap) for gap in gaps for t in range(0, frames - gap, max(gap // 2, 1))]
    if len(pairs) > MOST_PAIRS:
        pairs = [pairs[i] for i in np.linspace(0, len(pairs) - 1, MOST_PAIRS).astype(int)]
    agreed, seen = np.zeros(count), np.zeros(count, int)
    for number, (first, second) in enumerate(pairs):
        both = np.flatnonzero((prepared.weight[:, first] > 0) & (prepared.weight[:, second] > 0))
        if len(both) < LEAST_COMMON:
            continue
        inlier = _pair(prepared.xy[both, first], prepared.xy[both, second], seed + number)
        if inlier is not None:
            agreed[both] += inlier
            seen[both] += 1
    score = np.where(seen >= LEAST_PAIRS, agreed / np.maximum(seen, 1), 0.5)
    return Votes(score, seen)


def _pair(p: np.ndarray, q: np.ndarray, seed: int) -> np.ndarray | None:
    """Which points [n] follow the camera from one frame to another; None: the pair says nothing."""
    found = robust_fit("homography", p, q, np.ones(len(p)), None, seed)
    if found is not None:
        with np.errstate(invalid="ignore"):
            flat: np.ndarray = np.hypot(*(apply(found.matrix, p) - q).T) < AGREE
        if flat.mean() >= FLAT:
            return flat
    matrix = fundamental(p, q, seed)
    if matrix is None:
        return None
    inlier = sampson(matrix, p, q) < AGREE
    return inlier if inlier.mean() >= LEAST_RATIO else None


def fundamental(p: np.ndarray, q: np.ndarray, seed: int = 0) -> np.ndarray | None:
    """The fundamental matrix [3,3] with most support among random samples of eight, fitted again to its inliers."""
    if len(p) < 8:
        return None
    dice = np.random.default_rng(seed)
    rows = np.argsort(dice.random((SAMPLES, len(p))), 1)[:, :8]
    models = _eight(p[rows], q[rows])
    best = min(models, key=lambda m: float(np.minimum(sampson(m, p, q), AGREE).sum()))
    for _ in range(3):
        inlier = sampson(best, p, q) < AGREE
        if inlier.sum() < 8:
            return None
        best = _eight(p[inlier][None], q[inlier][None])[0]
    return np.asarray(best)


def _eight(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Fundamental matrices [S,3,3] of samples [S,k,2], k >= 8, of rank two."""
    (a, to_p), (b, to_q) = _normal(p), _normal(q)
    one = np.ones((*a.shape[:2], 1))
    h, g = np.concatenate([a, one], 2), np.concatenate([b, one], 2)
    rows = (g[..., :, None] * h[..., None, :]).reshape(*a.shape[:2], 9)
    f = np.linalg.svd(rows, full_matrices=True)[2][:, -1].reshape(-1, 3, 3)
    u, s, v = np.linalg.svd(f)
    s[:, 2] = 0
    return np.asarray(np.swapaxes(to_q, 1, 2) @ ((u * s[:, None]) @ v) @ to_p)


def _normal(xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    middle = xy.mean(1, keepdims=True)
    scale = np.sqrt(2) / np.maximum(np.hypot(*np.moveaxis(xy - middle, -1, 0)).mean(1), 1e-9)
    matrix = np.zeros((len(xy), 3, 3))
    matrix[:, 0, 0] = matrix[:, 1, 1] = scale
    matrix[:, :2, 2] = -scale[:, None] * middle[:, 0]
    matrix[:, 2, 2] = 1
    return (xy - middle) * scale[:, None, None], matrix


def sampson(matrix: np.ndarray, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Sampson's distance [n] of pairs of points to a fundamental matrix, pixels."""
    h, g = np.column_stack([p, np.ones(len(p))]), np.column_stack([q, np.ones(len(q))])
    there, back = h @ matrix.T, g @ matrix
    algebraic = (g * there).sum(1)
    slope = (there[:, :2] ** 2).sum(1) + (back[:, :2] ** 2).sum(1)
    return np.asarray(np.abs(algebraic) / np.sqrt(np.maximum(slope, 1e-12)))


def background_motion(
    prepared: Prepared, reference: int, kind: str = "homography", mask: np.ndarray | None = None, seed: int = 0
) -> Motion:
    """How the static scene moves in the picture, from the reference frame.

    Args:
        mask: [H,W] of the reference frame, what does not belong to it; None: the points vote.

    Raises `UsageError` where no point of it is visible on that frame.
    """
    height, width = prepared.size
    if mask is not None:
        if mask.shape != prepared.size:
            raise UsageError(f"the mask is {mask.shape[1]}x{mask.shape[0]}, the video {width}x{height}")
        column, row = np.floor(np.clip(prepared.xy[:, reference], 0, (width - 1, height - 1))).astype(int).T
        rows = np.flatnonzero(~(mask[row, column] != 0) & (prepared.weight[:, reference] > 0))
    else:
        rows = static_votes(prepared, seed).static
    if not len(rows):
        raise UsageError("there is no point of the background: track some outside of what moves")
    return fit_motion(prepared, rows, rectangle(0, 0, width, height), reference, kind, seed=seed)

"""Which points are part of the static scene, and how the camera moves its picture.

Votes of pairs of frames: in each, one motion of the camera is fitted robustly, and the points that follow it vote to be
static. Where a homography explains nearly everything (a distant or flat scene, a turning camera) it is that; else the
fundamental matrix (see `camera.epipolar`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapkit.apps.camera.epipolar import two_view
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
    inlier = agreeing(p, q, seed)
    return inlier if inlier is not None and inlier.mean() >= LEAST_RATIO else None


def agreeing(p: np.ndarray, q: np.ndarray, seed: int = 0) -> np.ndarray | None:
    """Which of the points [n,2] in two frames agree with the epipolar geometry that most of them have; None: there
    are too few."""
    both = np.concatenate([p, q])
    middle = both.mean(0)
    scale = max(float(np.abs(both - middle).max()), 1.0)
    one, other = (np.column_stack([(xy - middle) / scale, np.ones(len(xy))]) for xy in (p, q))
    found = two_view(one, other, AGREE / scale, np.random.default_rng(seed), calibrated=False)
    return None if found is None else found.inlier


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

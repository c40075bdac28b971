"""EgoPoints: coarse distances, and whether points are followed out of the picture.

Source: Darkhalil et al., "EgoPoints: Advancing Point Tracking for Egocentric Videos", WACV 2025, as their evaluation
script computes them. Their accuracy of re-identification is not computed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tapkit import coords
from tapkit.coords import Size
from tapkit.errors import ShapeError

COARSE = (8, 16, 24)
"""Pixels of a 256 x 256 frame."""


class ViewMetrics(NamedTuple):
    """Figures of one video over frames after the first. Fractions 0..1; NaN = undefined."""

    delta_coarse: float
    """Mean over 8, 16, 24 px of the share of valid entries with a smaller error (the authors' delta_avg*)."""
    out_of_view: float
    """Share of entries annotated as out of view whose predicted position is outside the picture (OOVA)."""
    in_view: float
    """Share of entries annotated as visible or hidden in the picture whose predicted position is in it (IVA)."""


def view_metrics(
    truth_xy: np.ndarray, valid: np.ndarray, in_view: np.ndarray, out_of_view: np.ndarray, xy: np.ndarray, size: Size
) -> ViewMetrics:
    """Score one video: positions [N,T,2] in pixels of a frame of `size` (height, width), masks [N,T] bool.

    The border belongs to the picture. Raises `ShapeError` when shapes disagree.

    >>> truth, yes = np.zeros((1, 2, 2)), np.ones((1, 2), bool)
    >>> view_metrics(truth, yes, yes, ~yes, truth + 10, (256, 256)).delta_coarse.__round__(3)
    0.667
    """
    truth_xy, xy = np.asarray(truth_xy, np.float64), np.asarray(xy, np.float64)
    masks = [np.asarray(mask, bool) for mask in (valid, in_view, out_of_view)]
    if truth_xy.shape != xy.shape or xy.ndim != 3 or any(mask.shape != xy.shape[:2] for mask in masks):
        raise ShapeError(f"expected positions [N,T,2] and masks [N,T], got {list(truth_xy.shape)} and {list(xy.shape)}")
    with np.errstate(invalid="ignore"):
        distance = np.linalg.norm(coords.resize(xy - truth_xy, size, (256, 256)), axis=-1)[:, 1:]
        height, width = size
        inside = np.asarray(((xy >= 0) & (xy <= np.array([width, height]))).all(-1))[:, 1:]
    known, within, without = (mask[:, 1:] for mask in masks)
    near = [_share(distance < limit, known) for limit in COARSE]
    return ViewMetrics(float(np.mean(near)), _share(~inside, without), _share(inside, within))


def _share(right: np.ndarray, counted: np.ndarray) -> float:
    total = int(counted.sum())
    return float((right & counted).sum() / total) if total else float("nan")

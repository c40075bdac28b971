"""PointOdyssey: delta, survival and the median trajectory error (specs/pointodyssey.md section 5).

Source: Zheng et al., "PointOdyssey: A Large-Scale Synthetic Dataset for Long-Term Point Tracking", ICCV 2023,
section 5, as their evaluation script computes it. Note that delta here is over *valid* frames, hidden ones
included; it is not TAP-Vid's delta.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tapkit import coords
from tapkit.coords import Size
from tapkit.errors import ShapeError
from tapkit.metrics.tapvid import THRESHOLDS

SURVIVAL_THRESHOLD = 16.0
"""Pixels of a 256 x 256 frame, of the released script; the paper's text says 50."""


class TrajectoryMetrics(NamedTuple):
    """Figures of one video. Shares are fractions 0..1, lengths pixels of a 256 x 256 frame; NaN = undefined."""

    delta: np.ndarray
    """[X] share of valid entries after frame 0 with an error below each threshold."""
    delta_avg: float
    survival: float
    """Mean over points of the share of frames before the first failure."""
    mte: float
    """Median trajectory error: median over valid frames, mean over points that have any."""
    track_mte: np.ndarray
    """[N] median error of each point, NaN without a valid frame."""
    track_frames: np.ndarray
    """[N] int64 frames before the first failure (T if none)."""
    undefined_tracks: int
    """Points without a valid frame: left out of `mte`, and counted here."""


def trajectory_metrics(
    truth_xy: np.ndarray,
    valid: np.ndarray,
    xy: np.ndarray,
    size: Size = (256, 256),
    survival_threshold: float = SURVIVAL_THRESHOLD,
) -> TrajectoryMetrics:
    """Score one video whose points are all asked for on frame 0.

    `truth_xy`, `xy` [N,T,2] pixels of a frame of `size` (height, width); `valid` [N,T] bool: the ground truth is
    known there, hidden or not. Distances are taken after scaling to 256 x 256. A frame that is not valid cannot
    fail. Raises `ShapeError` when shapes disagree.
    """
    truth_xy, xy, valid = np.asarray(truth_xy, np.float64), np.asarray(xy, np.float64), np.asarray(valid, bool)
    if truth_xy.shape != xy.shape or truth_xy.ndim != 3 or valid.shape != xy.shape[:2]:
        raise ShapeError(
            f"expected positions [N,T,2] and valid [N,T], got {list(truth_xy.shape)}, {list(xy.shape)} and "
            f"{list(valid.shape)}"
        )
    with np.errstate(invalid="ignore"):
        offset = coords.resize(xy - truth_xy, size, (256, 256))
        distance = np.hypot(offset[..., 0], offset[..., 1])
    later = valid[:, 1:]
    total = int(later.sum())
    near = (distance[:, 1:, None] < np.asarray(THRESHOLDS)) & later[..., None]
    delta = near.sum((0, 1)) / total if total else np.full(len(THRESHOLDS), np.nan)
    failed = valid & ~(distance <= survival_threshold)  # NaN has failed
    frames = (~np.logical_or.accumulate(failed, axis=1)).sum(1)
    medians = np.array([np.median(d[v]) if v.any() else np.nan for d, v in zip(distance, valid, strict=True)])
    known = ~np.isnan(medians)
    return TrajectoryMetrics(
        delta=delta,
        delta_avg=float(delta.mean()),
        survival=float(frames.mean() / xy.shape[1]) if xy.size else float("nan"),
        mte=float(medians[known].mean()) if known.any() else float("nan"),
        track_mte=medians,
        track_frames=frames.astype(np.int64),
        undefined_tracks=int((~known).sum()),
    )

"""TAP-Vid: which queries are asked, and how answers are scored (specs/tapvid_benchmark.md sections 4 and 5).

Source: Doersch et al., "TAP-Vid: A Benchmark for Tracking Any Point in a Video", NeurIPS 2022, section 3.
Positions are (x, y) in pixels of the frame the metric is defined on (256 x 256 in the papers), corner origin;
predictions and ground truth only have to agree with each other. Nothing here is averaged in silence: what has
no denominator is NaN, and `metrics.statistics.mean_defined` counts such values instead of averaging them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from tapkit.errors import ShapeError, UsageError

QueryMode = Literal["first", "strided"]
QUERY_MODES: tuple[QueryMode, ...] = ("first", "strided")
THRESHOLDS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Pixels of a 256 x 256 frame; a position counts as right when its error is strictly below."""


class QueryRows(NamedTuple):
    """Which track is asked for from which frame: both [Q] int64."""

    track: np.ndarray
    """Row of the ground truth."""
    frame: np.ndarray
    """Frame of the query."""


def sample_queries(visible: np.ndarray, mode: QueryMode = "first", stride: int = 5) -> QueryRows:
    """The queries of a clip, from ground-truth visibility [N,T] bool, in the official order.

    first: one for each track that is ever visible, at its first visible frame, tracks in order.
    strided: at frames 0, stride, 2 stride, ... every track visible there, by frame and then by track.

    >>> sample_queries(np.array([[False, True, True], [False, False, False]])).frame.tolist()
    [1]
    """
    seen = np.asarray(visible, dtype=bool)
    if seen.ndim != 2:
        raise ShapeError(f"visibility must be [N,T], got {list(seen.shape)}")
    if mode == "first":
        track = np.flatnonzero(seen.any(1))
        return QueryRows(track, seen[track].argmax(1).astype(np.int64))
    if mode != "strided":
        raise UsageError(f"query mode must be 'first' or 'strided', got {mode!r}")
    if stride < 1:
        raise UsageError(f"the stride between query frames must be at least 1, got {stride}")
    step, track = np.nonzero(seen[:, ::stride].T)
    return QueryRows(track.astype(np.int64), (step * stride).astype(np.int64))


class Counts(NamedTuple):
    """Sums from which all TAP-Vid figures follow; sums of sums are again sums, over any split of the entries."""

    evaluated: np.ndarray
    """[...] entries that count at all."""
    agreeing: np.ndarray
    """[...] of them, predicted visibility right."""
    visible: np.ndarray
    """[...] of them, visible in the ground truth."""
    within: np.ndarray
    """[...,X] visible ones whose position is right, for each threshold."""
    hits: np.ndarray
    """[...,X] visible, predicted visible and right: true positives."""
    false: np.ndarray
    """[...,X] predicted visible but hidden or wrong: false positives."""

    def sum(self, axis: int | tuple[int, ...] | None = None) -> Counts:
        """Summed over leading axes (None: all of them)."""
        lead = self.evaluated.ndim
        axes = tuple(range(lead)) if axis is None else tuple(a % lead for a in np.atleast_1d(axis).tolist())
        return Counts(*(field.sum(axes, dtype=np.int64) for field in self))

    def binned(self, index: np.ndarray, bins: int) -> Counts:
        """Summed over the entries of each bin: `index` [...] int gives the bin, negative = in none."""
        keep = index >= 0
        chosen = index[keep]

        def total(field: np.ndarray) -> np.ndarray:
            out = np.zeros((bins, *field.shape[index.ndim :]), np.int64)
            np.add.at(out, chosen, field[keep])
            return out

        return Counts(*(total(field) for field in self))

    def figures(self, thresholds: tuple[float, ...] = THRESHOLDS) -> dict[str, np.ndarray]:
        """The official figures, fractions 0..1 of shape [...], NaN where undefined.

        Keys: occlusion_accuracy, pts_within_X and jaccard_X for each threshold, average_pts_within_thresh
        (the papers' delta_avg), average_jaccard (AJ).
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            within = self.within / self.visible[..., None]
            jaccard = self.hits / (self.visible[..., None] + self.false)
            out = {"occlusion_accuracy": self.agreeing / self.evaluated}
        for i, threshold in enumerate(thresholds):
            out[f"pts_within_{threshold:g}"] = within[..., i]
            out[f"jaccard_{threshold:g}"] = jaccard[..., i]
        out["average_pts_within_thresh"] = within.mean(-1)
        out["average_jaccard"] = jaccard.mean(-1)
        return out


def evaluated_entries(query_frame: np.ndarray, frames: int, mode: QueryMode) -> np.ndarray:
    """Which frames of each query count -> bool [...,Q,T].

    first: those after the query frame; strided: all but the query frame. Fractional query frames [...,Q]
    are rounded half to even, as the reference does.
    """
    query = np.rint(np.asarray(query_frame, dtype=np.float64))[..., None]
    time = np.arange(frames)
    if mode not in QUERY_MODES:
        raise UsageError(f"query mode must be 'first' or 'strided', got {mode!r}")
    counts: np.ndarray = time > query if mode == "first" else time != query
    return counts


def compare(
    truth_xy: np.ndarray,
    truth_visible: np.ndarray,
    xy: np.ndarray,
    visible: np.ndarray,
    evaluated: np.ndarray,
    thresholds: tuple[float, ...] = THRESHOLDS,
) -> Counts:
    """What each entry contributes, as `Counts` of booleans [...,Q,T] and [...,Q,T,X]; sum them as you need.

    `truth_xy`, `xy` [...,Q,T,2] pixels; `truth_visible`, `visible`, `evaluated` [...,Q,T] bool. Positions of
    entries that are hidden in the ground truth are never looked at (they may be NaN). Predictions that are not
    finite are wrong.
    """
    truth_xy, xy = np.asarray(truth_xy), np.asarray(xy)
    if truth_xy.shape != xy.shape or truth_xy.shape[-1:] != (2,):
        raise ShapeError(
            f"ground truth {list(truth_xy.shape)} and prediction {list(xy.shape)} must both be [...,Q,T,2]"
        )
    for name, mask in (("truth_visible", truth_visible), ("visible", visible), ("evaluated", evaluated)):
        if np.shape(mask) != xy.shape[:-1]:
            raise ShapeError(f"{name} must be {list(xy.shape[:-1])} like the positions, got {list(np.shape(mask))}")
    seen = np.asarray(truth_visible, dtype=bool) & evaluated
    said = np.asarray(visible, dtype=bool) & evaluated
    # Squared distances in float64 against squared thresholds: the reference's comparison, without its root.
    with np.errstate(invalid="ignore", over="ignore"):
        squared = np.square(xy.astype(np.float64) - truth_xy.astype(np.float64)).sum(-1)
        near = squared[..., None] < np.square(np.asarray(thresholds, np.float64))
    within = near & seen[..., None]
    return Counts(
        evaluated=np.asarray(evaluated, dtype=bool),
        agreeing=evaluated & (np.asarray(truth_visible, bool) == np.asarray(visible, bool)),
        visible=seen,
        within=within,
        hits=within & said[..., None],
        false=said[..., None] & ~within,
    )


def tapvid_metrics(
    query_frame: np.ndarray,
    truth_xy: np.ndarray,
    truth_visible: np.ndarray,
    xy: np.ndarray,
    visible: np.ndarray,
    mode: QueryMode = "first",
    trackwise: bool = False,
    where: np.ndarray | None = None,
) -> Mapping[str, np.ndarray]:
    """The official figures of one clip or a batch of clips, fractions 0..1; NaN where undefined.

    `query_frame` [...,Q], positions [...,Q,T,2] in pixels of the metric's frame (256 x 256 in the papers),
    visibilities [...,Q,T] bool. Result values have shape [...], or [...,Q] with `trackwise`.
    `where` [...,Q,T] bool leaves further entries out (frames that were never annotated).

    >>> xy = np.zeros((1, 3, 2)); seen = np.ones((1, 3), bool)
    >>> float(tapvid_metrics(np.array([0]), xy, seen, xy + 1.0, seen)["average_jaccard"])
    0.8
    """
    frames = np.shape(truth_visible)[-1]
    evaluated = evaluated_entries(query_frame, frames, mode)
    if where is not None:
        evaluated = evaluated & where
    entries = compare(truth_xy, truth_visible, xy, visible, evaluated)
    return entries.sum(-1 if trackwise else (-1, -2)).figures()

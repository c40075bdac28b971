"""How well each track and each detection fit together, by one of three rules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tapkit.apps.objects.detections import Detections, iou
from tapkit.apps.objects.options import ObjectOptions
from tapkit.apps.objects.track import Track

HIDDEN = 0.05
"""Visibility up to which a point does not count at all."""


def similarity(tracks: Sequence[Track], found: Detections, options: ObjectOptions) -> np.ndarray:
    """[N,M] float64 in 0..1."""
    if not tracks or not len(found):
        return np.zeros((len(tracks), len(found)))
    if options.rule == "iou":
        return iou(np.stack([track.box for track in tracks]), found.xyxy)
    if options.rule == "nettrack":
        return _nettrack(tracks, found)
    values = _net(tracks, found, options)
    return _normalised(values) if options.normalise else values


def _net(tracks: Sequence[Track], found: Detections, options: ObjectOptions) -> np.ndarray:
    """LBM, App. A.2: share of points inside x min(1, A_i/A_j) x score x class factor; fused, as NetTrack fuses it, with
    the overlap of the detection and the box that the points have carried here.

    Points count by their visibility, and all together as half of them at least: of an object that is nearly hidden the
    few points still seen may be those that lay on what hides it, and must not outweigh an object that is seen whole.
    """
    share = np.zeros((len(tracks), len(found)))
    few = np.zeros(len(tracks), bool)
    for row, track in enumerate(tracks):
        weight = np.where(track.visible > HIDDEN, track.visible, 0.0)
        if len(weight):
            share[row] = weight @ found.contains(track.xy) / max(weight.sum(), 0.5 * len(weight))
        few[row] = track.seen.sum() < options.fuse_below
    larger = np.minimum(1, np.array([track.area for track in tracks])[:, None] / found.area)
    labels = np.array([track.label for track in tracks])[:, None]
    same = (labels == found.label) | (labels == "") | (found.label == "")
    penalty = np.where(same, 1.0, options.other_class)
    values = share * larger * found.score * penalty
    overlap = iou(np.stack([track.carried for track in tracks]), found.xyxy) * found.score * penalty
    weight_of_overlap = np.where(few, max(options.overlap, 0.5), options.overlap)[:, None]
    return np.asarray(np.sqrt((1 - weight_of_overlap) * values**2 + weight_of_overlap * overlap**2))


def _nettrack(tracks: Sequence[Track], found: Detections) -> np.ndarray:
    """NetTrack, Sec. 3.3, at the frame being matched: quadratic mean of containment and overlap.

    The area weight is rounded to one decimal; visibility and class are not used.
    """
    share = np.stack([found.contains(track.xy).mean(0) if len(track.xy) else np.zeros(len(found)) for track in tracks])
    larger = np.minimum(1, np.round(np.array([track.area for track in tracks])[:, None] / found.area, 1))
    overlap = iou(np.stack([track.box for track in tracks]), found.xyxy)
    return np.asarray(np.sqrt(0.5 * (share * larger) ** 2 + 0.5 * overlap**2))


def _normalised(values: np.ndarray) -> np.ndarray:
    """Mean of the softmax over detections and over tracks; pairs without any similarity stay at 0."""
    raised = np.exp(values)
    mean = (raised / raised.sum(1, keepdims=True) + raised / raised.sum(0, keepdims=True)) / 2
    return np.where(values > 0, mean, 0)

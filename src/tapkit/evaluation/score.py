"""From the answers for a clip to its figures, and from clips to a benchmark's figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tapkit import coords
from tapkit.datasets.base import Clip
from tapkit.evaluation.predict import Prediction
from tapkit.evaluation.protocol import METRIC_SIZE
from tapkit.metrics.calibration import Reliability, reliability
from tapkit.metrics.egopoints import view_metrics
from tapkit.metrics.pck import PCK_T_SIZE, pck
from tapkit.metrics.pointodyssey import trajectory_metrics
from tapkit.metrics.redetection import RedetectionEvents, hidden_before, redetection_events, robustness
from tapkit.metrics.tapvid import THRESHOLDS, Counts, QueryMode, compare, evaluated_entries

AGE_EDGES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Frames since the query: bins [1,2), [2,4), ..., [1024, inf)."""
HIDDEN_EDGES = (0, 1, 2, 4, 8, 16, 32, 64, 128)
"""Longest time the point has been hidden since the query, frames: [0,1) never, [1,2), ..., [128, inf)."""
SPEED_EDGES = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Motion of the point from the frame before, pixels of 256 x 256: [0,.25), ..., [32, inf)."""


class TrackScore(NamedTuple):
    """One query. Fractions 0..1 rounded to four digits; None = undefined."""

    track: int
    """Row of the ground truth."""
    frame: int
    """Of the query."""
    aj: float | None
    delta_avg: float | None
    oa: float | None


class ClipScore(NamedTuple):
    """Everything known about one model on one clip; sums can be added over clips."""

    clip: str
    fingerprint: str
    frames: int
    queries: int
    seconds: float
    figures: dict[str, float]
    """Fractions 0..1 or pixels; NaN = undefined."""
    age: Counts
    hidden: Counts
    speed: Counts
    visible_reliability: Reliability
    confidence_reliability: Reliability | None
    """None: the card names no radius, so confidence means nothing that could be checked."""
    events: RedetectionEvents
    """Empty in mode strided, where one track stands for many queries."""
    tracks: tuple[TrackScore, ...]
    """Each query on its own; empty in mode strided, for the same reason."""


def score_clip(
    clip: Clip,
    prediction: Prediction,
    mode: QueryMode,
    confidence_radius: float | None = None,
    radius_size: tuple[int, int] | None = None,
    families: Sequence[str] = ("tapvid",),
) -> ClipScore:
    """Score one clip; `families` of figures as in `Dataset.metrics`.

    `confidence_radius` is in pixels of a frame of `radius_size` (height, width; None: of the video).
    """
    rows, frame = prediction.track, prediction.frame
    truth = coords.resize(clip.xy[rows].astype(np.float64), clip.size, METRIC_SIZE)
    xy = coords.resize(prediction.xy.astype(np.float64), clip.size, METRIC_SIZE)
    seen = clip.visible[rows]
    evaluated = evaluated_entries(frame, clip.frames, mode)
    if clip.counted is not None:
        evaluated = evaluated & clip.counted[rows]
    entries = compare(truth, seen, xy, prediction.said, evaluated)
    figures = {key: float(value) for key, value in entries.sum().figures().items()}
    # A tracker's failures are told forwards from the query, also where both directions are scored.
    later = evaluated & evaluated_entries(frame, clip.frames, "first")
    figures |= {f"robustness/{k}": v for k, v in robustness(truth, seen, xy, prediction.said, later)._asdict().items()}
    figures |= _family_figures(clip, prediction, truth, xy, evaluated, families)
    return ClipScore(
        clip=clip.name,
        fingerprint=clip.fingerprint(),
        frames=clip.frames,
        queries=len(rows),
        seconds=prediction.seconds,
        figures=figures,
        age=entries.binned(_bins(np.abs(np.arange(clip.frames) - frame[:, None]), AGE_EDGES), len(AGE_EDGES)),
        hidden=entries.binned(_bins(_longest_hidden(seen, frame), HIDDEN_EDGES), len(HIDDEN_EDGES)),
        speed=entries.binned(_speed_bins(truth, seen), len(SPEED_EDGES)),
        visible_reliability=reliability(prediction.visible, seen, evaluated),
        confidence_reliability=_confidence(clip, prediction, seen & evaluated, confidence_radius, radius_size),
        events=redetection_events(truth, seen, xy, prediction.said) if mode == "first" else RedetectionEvents.join([]),
        tracks=_track_scores(prediction, entries) if mode == "first" else (),
    )


def _track_scores(prediction: Prediction, entries: Counts) -> tuple[TrackScore, ...]:
    figures = entries.sum(-1).figures()
    keys = ("average_jaccard", "average_pts_within_thresh", "occlusion_accuracy")
    columns = [[None if np.isnan(v) else round(float(v), 4) for v in figures[key]] for key in keys]
    return tuple(map(TrackScore, prediction.track.tolist(), prediction.frame.tolist(), *columns))


def _family_figures(
    clip: Clip,
    prediction: Prediction,
    truth: np.ndarray,
    xy: np.ndarray,
    evaluated: np.ndarray,
    families: Sequence[str],
) -> dict[str, float]:
    out: dict[str, float] = {}
    if "pointodyssey" in families:
        valid = (clip.visible if clip.valid is None else clip.valid)[prediction.track]
        ours, paper = (trajectory_metrics(truth, valid, xy, METRIC_SIZE, limit) for limit in (16.0, 50.0))
        out |= {
            "pointodyssey/delta_avg": ours.delta_avg,
            "pointodyssey/survival_16": ours.survival,
            "pointodyssey/survival_50": paper.survival,
            "pointodyssey/mte": ours.mte,
        }
    if "egopoints" in families and clip.in_view is not None and clip.out_of_view is not None:
        rows = prediction.track
        known = clip.visible[rows] if clip.valid is None else clip.valid[rows]
        view = view_metrics(clip.xy[rows], known, clip.in_view[rows], clip.out_of_view[rows], prediction.xy, clip.size)
        out |= {f"egopoints/{key}": value for key, value in view._asdict().items()}
    if "pck" in families and clip.mask_area is not None:
        original = clip.xy[prediction.track]
        seen = clip.visible[prediction.track]
        out["pck/pck_0.2"] = pck(original, seen, prediction.xy, clip.mask_area, evaluated)
        both = np.stack([original, prediction.xy]).astype(np.float64)
        theirs, ours = coords.resize(both, clip.size, PCK_T_SIZE)
        area = clip.mask_area * (PCK_T_SIZE[0] * PCK_T_SIZE[1] / (clip.size[0] * clip.size[1]))
        out["pck/pck_t"] = pck(theirs, seen, ours, area, evaluated)
    return out


def _bins(values: np.ndarray, edges: Sequence[float]) -> np.ndarray:
    """Bin of each value, -1 below the first edge."""
    return np.searchsorted(np.asarray(edges), values, side="right") - 1


def _longest_hidden(seen: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """[Q,T] longest run of hidden frames between the query and each frame, that frame included."""
    time = np.arange(seen.shape[1])
    run = hidden_before(seen) + np.where(seen, 0, 1)
    run[seen] = 0
    # A run that began before the query counts from the query on; the query frame itself is visible.
    after = np.maximum.accumulate(np.where(time >= frame[:, None], run, 0), axis=1)
    backward = (hidden_before(seen[:, ::-1]) + np.where(seen[:, ::-1], 0, 1)) * ~seen[:, ::-1]
    before = np.maximum.accumulate(np.where(time[::-1] <= frame[:, None], backward, 0), axis=1)[:, ::-1]
    return np.where(time >= frame[:, None], after, before)


def _speed_bins(truth: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """[Q,T] bin of the motion since the frame before, where the point is visible on both."""
    bins = np.full(seen.shape, -1)
    if seen.shape[1] > 1:
        both = seen[:, 1:] & seen[:, :-1]
        motion = np.linalg.norm(np.where(both[..., None], np.diff(truth, axis=1), 0.0), axis=-1)
        bins[:, 1:] = np.where(both, _bins(motion, SPEED_EDGES), -1)
    return bins


def _confidence(
    clip: Clip, prediction: Prediction, counted: np.ndarray, radius: float | None, size: tuple[int, int] | None
) -> Reliability | None:
    if radius is None:
        return None
    with np.errstate(invalid="ignore"):
        offset = coords.resize(prediction.xy - clip.xy[prediction.track], clip.size, size or clip.size)
        right = np.hypot(offset[..., 0], offset[..., 1]) < radius
    return reliability(prediction.confidence, right, counted)


# -- files ----------------------------------------------------------------------------------------


def to_json(score: ClipScore) -> dict[str, Any]:
    """Plain values; NaN becomes None."""
    return {
        "clip": score.clip,
        "fingerprint": score.fingerprint,
        "frames": score.frames,
        "queries": score.queries,
        "seconds": round(score.seconds, 4),
        "figures": {key: None if np.isnan(value) else value for key, value in score.figures.items()},
        **{name: [field.tolist() for field in getattr(score, name)] for name in ("age", "hidden", "speed")},
        "visible_reliability": [field.tolist() for field in score.visible_reliability],
        "confidence_reliability": None
        if score.confidence_reliability is None
        else [field.tolist() for field in score.confidence_reliability],
        "events": [field.tolist() for field in score.events],
        "tracks": [list(track) for track in score.tracks],
    }


def from_json(values: dict[str, Any]) -> ClipScore:
    """The inverse of `to_json`."""
    hidden, jaccard = values["events"]
    confidence = values["confidence_reliability"]
    age, longest, speed = (Counts(*(np.array(f) for f in values[name])) for name in ("age", "hidden", "speed"))
    return ClipScore(
        values["clip"],
        values["fingerprint"],
        values["frames"],
        values["queries"],
        values["seconds"],
        {key: float("nan") if value is None else float(value) for key, value in values["figures"].items()},
        age,
        longest,
        speed,
        Reliability(*(np.array(f) for f in values["visible_reliability"])),
        None if confidence is None else Reliability(*(np.array(f) for f in confidence)),
        RedetectionEvents(
            np.array(hidden, np.int64), np.array(jaccard, np.float64).reshape(len(hidden), len(THRESHOLDS))
        ),
        tuple(TrackScore(*track) for track in values["tracks"]),
    )

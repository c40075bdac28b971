"""Does a tracker find a point again after it was hidden? AJ_RD and the plainer figures beside it.

AJ_RD: the re-detection Jaccard of TAPNext++ (specs/tapnext.md section 11). The other figures are tapkit's own;
their definitions are in `Robustness`. Positions are pixels of a 256 x 256 frame, arrays are [N,T] per clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tapkit.metrics.tapvid import THRESHOLDS

LEAST_HIDDEN = (1, 4, 16, 64, 256)
"""Frames a point must have been hidden for, one figure each."""


class Reappearances(NamedTuple):
    """Moments at which a point comes back, each longer hidden than all before it on the same track."""

    track: np.ndarray
    """[E] int64."""
    frame: np.ndarray
    """[E] int64, first visible frame."""
    hidden: np.ndarray
    """[E] int64, hidden frames just before."""


def reappearances(visible: np.ndarray) -> Reappearances:
    """All eligible events of a clip from ground-truth visibility [N,T] bool, by frame and then by track.

    A track that is hidden at first makes an event at its first visible frame, as in the reference.
    """
    seen = np.asarray(visible, dtype=bool)
    hidden = hidden_before(seen)
    longest = np.zeros(len(seen), np.int64)
    events: list[tuple[int, int, int]] = []
    for frame in range(1, seen.shape[1]):
        back = seen[:, frame] & ~seen[:, frame - 1] & (hidden[:, frame] > longest)
        for track in np.flatnonzero(back).tolist():
            longest[track] = hidden[track, frame]
            events.append((track, frame, int(hidden[track, frame])))
    table = np.array(events, np.int64).reshape(-1, 3)
    return Reappearances(table[:, 0], table[:, 1], table[:, 2])


def hidden_before(visible: np.ndarray) -> np.ndarray:
    """How many consecutive hidden frames lie just before each frame -> int64 [N,T]."""
    seen = np.asarray(visible, dtype=bool)
    out = np.zeros(seen.shape, np.int64)
    for frame in range(1, seen.shape[1]):
        out[:, frame] = np.where(seen[:, frame - 1], 0, out[:, frame - 1] + 1)
    return out


class RedetectionEvents(NamedTuple):
    """The scored events of one clip or more: pool clips by concatenating."""

    hidden: np.ndarray
    """[E] int64 frames hidden before."""
    jaccard: np.ndarray
    """[E,X] for each threshold, over the frames from the reappearance to the end."""

    @staticmethod
    def join(parts: Sequence[RedetectionEvents]) -> RedetectionEvents:
        """The events of several clips."""
        if not parts:
            return RedetectionEvents(np.zeros(0, np.int64), np.zeros((0, len(THRESHOLDS))))
        return RedetectionEvents(*(np.concatenate(field) for field in zip(*parts, strict=True)))

    def figures(self) -> dict[str, float]:
        """AJ_RD, AJ_RD_dminD and AJ_RD_DX_dminD, fractions 0..1; NaN where no event is that long."""
        out: dict[str, float] = {}
        by_length = []
        for least in LEAST_HIDDEN:
            chosen = self.jaccard[self.hidden >= least]
            means = chosen.mean(0) if len(chosen) else np.full(len(THRESHOLDS), np.nan)
            for threshold, mean in zip(THRESHOLDS, means.tolist(), strict=True):
                out[f"AJ_RD_D{threshold:g}_dmin{least}"] = mean
            out[f"AJ_RD_dmin{least}"] = float(means.mean())
            if len(chosen):
                by_length.append(float(means.mean()))
        out["AJ_RD"] = float(np.mean(by_length)) if by_length else float("nan")
        return out


def redetection_events(
    truth_xy: np.ndarray, truth_visible: np.ndarray, xy: np.ndarray, visible: np.ndarray
) -> RedetectionEvents:
    """Score every reappearance of one clip: positions [N,T,2], visibilities [N,T] bool.

    Unlike in AJ, an error exactly on the threshold counts as right (the reference's <=). A point that is first seen
    after the start of the clip makes an event there, as in the reference, also where that is its query.
    """
    seen, said = np.asarray(truth_visible, bool), np.asarray(visible, bool)
    events = reappearances(seen)
    with np.errstate(invalid="ignore"):
        squared = np.square(np.asarray(xy, np.float64) - np.asarray(truth_xy, np.float64)).sum(-1)
        within = squared[..., None] <= np.square(np.asarray(THRESHOLDS))
    jaccard = np.zeros((len(events.track), len(THRESHOLDS)))
    for row, (track, frame) in enumerate(zip(events.track.tolist(), events.frame.tolist(), strict=True)):
        truth, answer, near = seen[track, frame:, None], said[track, frame:, None], within[track, frame:]
        hits = (near & truth & answer).sum(0)
        false = (answer & ~(truth & near)).sum(0)
        jaccard[row] = hits / (truth.sum() + false)
    return RedetectionEvents(events.hidden, jaccard)


class Robustness(NamedTuple):
    """How a tracker fails, in one clip; fractions 0..1, NaN where undefined. tapkit's own definitions.

    All are over the evaluated entries. A point is lost when it is visible and further than 16 px (of 256) away.
    """

    survival: float
    """Mean over tracks of the share of evaluated frames before the point is first lost."""
    recovered: float
    """Share of reappearances after which, within 8 frames and while visible, the point is within 8 px and
    said to be visible."""
    missed: float
    """Share of visible entries said to be hidden."""
    false_visible: float
    """Share of hidden entries said to be visible."""
    jitter: float
    """Median over entries of the second difference of the position error, in pixels, where the point is visible
    on three consecutive evaluated frames and never further than 16 px away."""


def robustness(
    truth_xy: np.ndarray, truth_visible: np.ndarray, xy: np.ndarray, visible: np.ndarray, evaluated: np.ndarray
) -> Robustness:
    """`Robustness` of one clip: positions [N,T,2] in pixels of a 256 x 256 frame, masks [N,T] bool."""
    seen = np.asarray(truth_visible, bool) & evaluated
    hidden = ~np.asarray(truth_visible, bool) & evaluated
    said = np.asarray(visible, bool)
    error = np.asarray(xy, np.float64) - np.asarray(truth_xy, np.float64)
    distance = np.hypot(error[..., 0], error[..., 1])
    near = distance <= 16.0  # NaN is not near
    return Robustness(
        survival=_survival(seen & ~near, evaluated),
        recovered=_recovered(seen, said & (distance <= 8.0)),
        missed=_share(~said, seen),
        false_visible=_share(said, hidden),
        jitter=_jitter(error, seen & near),
    )


def _share(what: np.ndarray, among: np.ndarray) -> float:
    total = int(among.sum())
    return float((what & among).sum() / total) if total else float("nan")


def _survival(lost: np.ndarray, evaluated: np.ndarray) -> float:
    asked = evaluated.any(1)
    if not asked.any():
        return float("nan")
    alive = evaluated & ~np.logical_or.accumulate(lost, axis=1)
    return float((alive[asked].sum(1) / evaluated[asked].sum(1)).mean())


def _recovered(seen: np.ndarray, right: np.ndarray, frames: int = 8) -> float:
    back = seen[:, 1:] & ~seen[:, :-1] & np.logical_or.accumulate(seen, axis=1)[:, :-1]
    found = []
    for track, frame in zip(*np.nonzero(back), strict=True):
        span = slice(frame + 1, frame + 1 + frames)
        still = np.logical_and.accumulate(seen[track, span])
        found.append(bool((right[track, span] & still).any()))
    return float(np.mean(found)) if found else float("nan")


def _jitter(error: np.ndarray, steady: np.ndarray) -> float:
    three = steady[:, 2:] & steady[:, 1:-1] & steady[:, :-2]
    if not three.any():
        return float("nan")
    second = error[:, 2:] - 2 * error[:, 1:-1] + error[:, :-2]
    return float(np.median(np.hypot(second[..., 0], second[..., 1])[three]))

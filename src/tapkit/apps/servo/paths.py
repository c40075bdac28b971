"""The paths of a stage's points: those that move as one thing, from where enough of them are seen."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from tapkit.apps.servo.consensus import agree_on_similarity, tolerance_of
from tapkit.apps.servo.demonstrations import Demonstration
from tapkit.apps.servo.plan import Path2D
from tapkit.apps.servo.stages import Found, Segment, spread_out
from tapkit.apps.servo.tracking import PointTable
from tapkit.errors import UsageError

SHARE = 0.6
"""Of the frames on which a point is seen, those on which it must move with the others."""

LATE = 0.4
"""Of a stage's frames: a demonstration that shows the thing only after so many is not followed."""
LEAST_WAY = 0.06
"""Of the width: how far the points must go from the first frame to the last for a demonstration to be followed."""


def paths_of(
    table: PointTable,
    found: Found,
    used: Sequence[Demonstration],
    stage: Sequence[Segment],
    own: Sequence[Segment],
    most: int,
    number: int,
) -> tuple[Path2D, ...]:
    """Of the stage's points at most `most`, candidates first, well spread; in each demonstration that shows their way.

    A camera that looks down on something sees all of it move by one similarity, but for its height; where a point does
    not, it has been lost there, or lies on something else.

    Args:
        stage: where the stage lies in the demonstrations' frames.
        own: where it lies in the table's.
        number: of the stage, for messages.

    Raises `UsageError` where fewer than four points move as one, or no demonstration shows their way.
    """
    rows = np.flatnonzero(found.members)
    xys = [xy[rows, part.start : part.end + 1] for xy, part in zip(table.xy, own, strict=True)]
    seen = [visible[rows, part.start : part.end + 1] for visible, part in zip(table.visible, own, strict=True)]
    agree = [_together(xy, visible, table.size[1]) for xy, visible in zip(xys, seen, strict=True)]
    share = sum(a.sum(1) for a in agree) / np.maximum(sum(v.sum(1) for v in seen), 1)
    ends = np.stack([a[:, -1] for a in agree], 1).mean(1)
    good = (share >= SHARE) & (ends > 0.5) & _same_at_ends(xys, seen, table.size[1])
    if good.sum() < 4:
        raise UsageError(f"stage {number}: only {int(good.sum())} of its points move as one thing; draw more points")
    end = np.mean([xy[:, -1] for xy in xys], axis=0)
    chosen = _chosen(end, good, found.candidates[rows], most)
    made: list[Path2D] = []
    for each, xy, visible, place in zip(used, xys, agree, stage, strict=True):
        skip = _first_seen(visible[chosen])
        if skip > LATE * xy.shape[1] or not _goes_far(xy[chosen, skip:], visible[chosen, skip:], table.size[1]):
            continue  # hidden at first: what was taken for the thing hangs on the hand
        made.append(
            Path2D(
                each.frames[place.start + skip],
                xy[chosen, skip:].transpose(1, 0, 2).astype(np.float32),
                visible[chosen, skip:].T.copy(),
                each.frames[place.end],
            )
        )
    if not made:
        raise UsageError(f"stage {number}: its object is seen from early on in no demonstration")
    if len(made) < len(used):
        warnings.warn(f"stage {number}: {len(used) - len(made)} of {len(used)} demonstrations show its object too late")
    return tuple(made)


def _goes_far(xy: np.ndarray, visible: np.ndarray, width: int) -> bool:
    """Whether points [n,T,2] are at first far from where they end, in the median."""
    both = visible[:, 0] & visible[:, -1]
    way = np.linalg.norm(xy[both, 0] - xy[both, -1], axis=1)
    return len(way) >= 4 and bool(np.median(way) >= LEAST_WAY * width)


def _together(xy: np.ndarray, visible: np.ndarray, width: int) -> np.ndarray:
    """[n,T] bool: seen, and where the similarity from the last frame, on which most points agree, puts it."""
    kept = np.zeros_like(visible)
    kept[:, -1] = visible[:, -1]
    limit = tolerance_of(xy[visible[:, -1], -1], width)
    for t in range(xy.shape[1] - 1):
        both = np.flatnonzero(visible[:, t] & visible[:, -1])
        if len(both) < 4:
            continue
        fit = agree_on_similarity(xy[both, -1], xy[both, t], limit)
        if fit is not None and fit.agree.sum() >= 4:
            off = np.linalg.norm(fit(xy[:, -1]) - xy[:, t], axis=1)
            kept[:, t] = visible[:, t] & (off <= limit)
    return kept


def _same_at_ends(xys: Sequence[np.ndarray], seen: Sequence[np.ndarray], width: int) -> np.ndarray:
    """[n] bool: where the last frames of most demonstrations differ by a similarity, this point follows it closely.

    What was matched on something else that happened to lie there does so less well than what was found again.
    """
    middle = np.median(np.stack([xy[:, -1] for xy in xys]), axis=0)
    close = np.zeros((len(middle), len(xys)))
    for d, (xy, visible) in enumerate(zip(xys, seen, strict=True)):
        there = np.flatnonzero(visible[:, -1])
        limit = 0.5 * tolerance_of(middle[there], width)
        fit = agree_on_similarity(middle[there], xy[there, -1], limit)
        if fit is not None:
            close[there, d] = np.linalg.norm(fit(middle[there]) - xy[there, -1], axis=1) <= limit
    return np.asarray(close.mean(1) > 0.7)


def _chosen(end: np.ndarray, good: np.ndarray, candidates: np.ndarray, most: int) -> np.ndarray:
    """Rows of the points to keep: good candidates, then other good ones, far from one another."""
    first, rest = np.flatnonzero(good & candidates), np.flatnonzero(good & ~candidates)
    first = first[spread_out(end[first], most)] if len(first) else first
    rest = rest[spread_out(end[rest], most - len(first))] if len(rest) and len(first) < most else rest[:0]
    return np.concatenate([first, rest])


def _first_seen(visible: np.ndarray) -> int:
    """The first frame on which half of the points [n,T] are seen, or as many as ever are."""
    counts = visible.sum(0)
    enough = np.flatnonzero(counts >= max(4, min(0.5 * len(visible), 0.8 * counts.max())))
    return int(enough[0]) if len(enough) else 0

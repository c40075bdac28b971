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


def paths_of(
    table: PointTable,
    found: Found,
    used: Sequence[Demonstration],
    stage: Sequence[Segment],
    own: Sequence[Segment],
    most: int,
    number: int,
) -> tuple[Path2D, ...]:
    """Of the stage's points at most `most`, candidates first, well spread; in each demonstration.

    A camera that looks down on something sees all of it move by one similarity, but for its height; where a point does
    not, it has been lost there, or lies on something else.

    Args:
        stage: where the stage lies in the demonstrations' frames.
        own: where it lies in the table's.
        number: of the stage, for messages.

    Raises `UsageError` where fewer than four points move as one.
    """
    rows = np.flatnonzero(found.members)
    xys = [xy[rows, part.start : part.end + 1] for xy, part in zip(table.xy, own, strict=True)]
    seen = [visible[rows, part.start : part.end + 1] for visible, part in zip(table.visible, own, strict=True)]
    agree = [_together(xy, visible, table.size[1]) for xy, visible in zip(xys, seen, strict=True)]
    share = sum(a.sum(1) for a in agree) / np.maximum(sum(v.sum(1) for v in seen), 1)
    ends = np.stack([a[:, -1] for a in agree], 1).mean(1)
    good = (share >= SHARE) & (ends > 0.5)
    if good.sum() < 4:
        raise UsageError(f"stage {number}: only {int(good.sum())} of its points move as one thing; draw more points")
    end = np.mean([xy[:, -1] for xy in xys], axis=0)
    chosen = _chosen(end, good, found.candidates[rows], most)
    made = []
    for each, xy, visible, place in zip(used, xys, agree, stage, strict=True):
        skip = _first_seen(visible[chosen])
        made.append(
            Path2D(
                each.frames[place.start + skip],
                xy[chosen, skip:].transpose(1, 0, 2).astype(np.float32),
                visible[chosen, skip:].T.copy(),
            )
        )
    return tuple(made)


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
    skip = int(enough[0]) if len(enough) else 0
    if skip > 0.7 * visible.shape[1]:
        warnings.warn("in one demonstration a stage's points are seen only near its end", stacklevel=4)
    return skip

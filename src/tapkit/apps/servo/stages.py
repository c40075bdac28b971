"""Stages of a task, and the points that matter in each: those that end at the same place in every demonstration.

Vecerik et al., RoboTAP: a stage ends where the gripper closes or opens. Points that arrive at the same place of the
picture at its end in all demonstrations show what the demonstrator wanted; the cluster with most of them is the stage's
object. Points that hang on the gripper arrive there too, trivially: what does not move within the stage is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tapkit.apps.servo.demonstrations import Demonstration
from tapkit.apps.servo.tracking import PointTable
from tapkit.errors import UsageError


class Segment(NamedTuple):
    """Part of a demonstration: frames start to end, both included."""

    start: int
    end: int


@dataclass(frozen=True)
class Choice:
    """Thresholds of the choice of points."""

    spread: float = 0.03
    """Of the picture's width: how far the ends may be apart (root mean square)."""
    movement: float = 3.0
    """Times that: how far a point must come within the stage, or its starts be apart."""
    missed: int = 1
    """Demonstrations at whose end a point may be hidden, if there are five or more."""


@dataclass(frozen=True, eq=False)
class Found:
    """The object of a stage."""

    cluster: int
    scores: np.ndarray
    """[C] candidates of each cluster."""
    candidates: np.ndarray
    """[N] bool."""
    members: np.ndarray
    """[N] bool: candidates, and other points of the cluster that are seen at the end of most demonstrations."""


def segments(demonstration: Demonstration, retreats: Sequence[float | None]) -> list[Segment]:
    """The stages of a demonstration. `retreats` says for each event how far the hand then went back (metres, None:
    unknown); that part belongs to no stage."""
    found, start = [], 0
    for event, retreat in zip(demonstration.events, retreats, strict=True):
        found.append(Segment(min(start, event.frame - 2), event.frame - 1))
        start = event.frame
        if retreat is not None and demonstration.height is not None and retreat > 0:
            risen = demonstration.height[start:] - demonstration.height[start]
            start += int(np.argmax(risen >= 0.97 * retreat)) if (risen >= 0.97 * retreat).any() else 0
    return found


def retreats_of(demonstration: Demonstration) -> list[float | None]:
    """How far the hand went back after each event, before it moved on, metres; None where heights are unknown."""
    events = demonstration.events
    if demonstration.height is None:
        return [None] * len(events)
    stops = [event.frame for event in events[1:]] + [len(demonstration)]
    found: list[float | None] = []
    for event, stop in zip(events, stops, strict=True):
        rise = demonstration.height[event.frame : stop] - demonstration.height[event.frame]
        steps = np.diff(rise, prepend=rise[:1])
        falling = np.flatnonzero((steps < -5e-4) & (np.maximum.accumulate(rise) > 0.01))
        top = float(rise[: falling[0]].max()) if len(falling) else float(rise.max())
        found.append(round(max(top, 0.0), 3))
    return found


def find_object(
    table: PointTable, labels: np.ndarray, stage: Sequence[Segment], choice: Choice | None = None, number: int = 1
) -> Found:
    """The cluster that a stage is about, and its points.

    Args:
        labels: [N] cluster of each point.
        stage: where the stage lies in each demonstration.

    Raises `UsageError` where no points end at the same place in all demonstrations.
    """
    choice = choice or Choice()
    width = table.size[1]
    limit = choice.spread * width
    ends = np.stack([xy[:, s.end] for xy, s in zip(table.xy, stage, strict=True)], 1)  # [N,D,2]
    seen = np.stack([v[:, s.end] for v, s in zip(table.visible, stage, strict=True)], 1)
    allowed = choice.missed if len(stage) >= 5 else 0
    everywhere = seen.sum(1) >= len(stage) - allowed
    candidates = everywhere & (_spread(ends, seen) < limit) & moving(table, stage, choice)
    count = int(labels.max()) + 1
    scores = np.bincount(labels[candidates], minlength=count)
    if scores.max(initial=0) < 3:
        raise UsageError(
            f"stage {number}: no object is at the same place at its end in all demonstrations; "
            "more points, or demonstrations that end more alike, may help"
        )
    winner = int(scores.argmax())
    most = seen.mean(1) > 0.5
    near = _spread(ends, seen) < 2 * limit
    members = (labels == winner) & most & near & moving(table, stage, choice)
    return Found(winner, scores, candidates, members | (candidates & (labels == winner)))


def _spread(xy: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """[N] root mean square distance of positions [N,D,2] from their mean, of those that are seen; infinite for none."""
    weights = seen[..., None].astype(np.float64)
    total = weights.sum(1)
    mean = (weights * xy).sum(1) / np.maximum(total, 1)
    squares = (((xy - mean[:, None]) ** 2).sum(2) * seen).sum(1) / np.maximum(total[:, 0], 1)
    return np.where(total[:, 0] > 0, np.sqrt(squares), np.inf)


def moving(table: PointTable, stage: Sequence[Segment], choice: Choice) -> np.ndarray:
    """[N] whether points come far within the stage, or begin it at different places: not fixed to the gripper.

    The way is the distance from the end, in the middle of the demonstrations: a point that jumps once has not moved.
    """
    far = choice.movement * choice.spread * table.size[1]
    ways, starts, begun = [], [], []
    for xy, visible, segment in zip(table.xy, table.visible, stage, strict=True):
        part, seen = xy[:, segment.start : segment.end + 1], visible[:, segment.start : segment.end + 1]
        away = np.linalg.norm(part - part[:, -1:], axis=2)
        away = np.where(seen, away, np.nan)
        known = seen.sum(1) >= 3
        way = np.full(len(xy), np.nan)
        if known.any():
            way[known] = np.nanquantile(away[known], 0.75, axis=1)
        ways.append(way)
        early = (segment.end - segment.start) // 5  # the very first frame may be the worst
        starts.append(part[:, early])
        begun.append(seen[:, early])
    stacked = np.stack(ways, 1)
    known = np.isfinite(stacked).any(1)
    middle = np.zeros(len(stacked))
    middle[known] = np.nanmedian(stacked[known], axis=1)
    seen = np.stack(begun, 1)
    apart = np.where(seen.sum(1) >= 2, _spread(np.stack(starts, 1), seen), 0.0)
    return np.asarray((middle > far) | (apart > far))


def spread_out(xy: np.ndarray, count: int) -> np.ndarray:
    """Indices of at most `count` points [n,2] that lie far from one another (farthest point first)."""
    if count <= 0 or len(xy) <= count:
        return np.arange(min(len(xy), max(count, 0)))
    chosen = [int(np.linalg.norm(xy - xy.mean(0), axis=1).argmax())]
    distance = np.linalg.norm(xy - xy[chosen[0]], axis=1)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(xy - xy[chosen[-1]], axis=1))
    return np.array(sorted(chosen))

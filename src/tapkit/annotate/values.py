"""What a project answers: plain frozen values. Times are UTC in ISO form, frames integers from 0, `stop` is excluded.

Positions are (x, y) pixels of the original video, corner origin.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

State = Literal["visible", "occluded", "outside"]
"""What a human says of a point on a frame: seen, hidden behind something, out of the picture."""
Role = Literal["owner", "annotator", "reviewer"]
Stage = Literal["objects", "points", "clean-up"]
"""The three stages of TAP-Vid's annotation (Doersch et al. 2022, section 3): boxes and labels of objects, points on
them, and the correction of both by someone else."""
Progress = Literal["open", "in work", "to review", "accepted"]
"""How far a clip, or one person's share of it, has come."""
STATES: tuple[State, ...] = ("visible", "occluded", "outside")
ROLES: tuple[Role, ...] = ("owner", "annotator", "reviewer")
STAGES: tuple[Stage, ...] = ("objects", "points", "clean-up")


@dataclass(frozen=True)
class Clip:
    """A video of the project."""

    id: int
    name: str
    path: str
    """Where it is: absolute, or as it was given if it is no file."""
    content_hash: str
    """Of the video's bytes (`annotate.footprint`)."""
    frames: int
    width: int
    height: int
    fps: Fraction
    revision: int
    """Counts everything that was changed in the clip."""
    state: Progress
    points: int
    problem: str | None
    """Why the video cannot be shown: it is gone, or is not the same any more. None: it is there."""
    assigned_to: tuple[str, ...]
    """Names of the users who have it."""


@dataclass(frozen=True)
class Keyframe:
    """A position that a human set. The track passes through it."""

    t: int
    x: float
    y: float
    visible: bool
    author: int | None = None
    time: str = ""


@dataclass(frozen=True)
class Hidden:
    """Frames start..stop (excluded) of which a human says whether the point is seen."""

    start: int
    stop: int
    state: State


@dataclass(frozen=True)
class Point:
    """One point of a clip and everything that people said about it."""

    id: int
    label: str
    group: str
    colour: str
    """"#rrggbb", or empty: the palette's."""
    object: int | None
    revision: int
    """Of the clip when someone last changed this point. (Predictions do not count.)"""
    author: int | None
    keyframes: tuple[Keyframe, ...]
    hidden: tuple[Hidden, ...]
    origin: int | None = None
    """In one annotator's layer: the point of the clip that it is an answer to."""


@dataclass(frozen=True)
class PointList:
    """The points that a user sees in a clip."""

    revision: int
    points: tuple[Point, ...]
    skeleton: tuple[tuple[int, int], ...]
    can_undo: bool
    can_redo: bool


@dataclass(frozen=True)
class Box:
    """An object's box on one frame: outer edges, pixels."""

    t: int
    x0: float
    y0: float
    x1: float
    y1: float
    author: int | None = None


@dataclass(frozen=True)
class Object:
    """Something that moves, with a name: what points are chosen on."""

    id: int
    label: str
    boxes: tuple[Box, ...]


@dataclass(frozen=True, eq=False)
class Positions:
    """Where a point is on frames start..stop: what holds after all keyframes, spans and predictions."""

    id: int
    start: int
    stop: int
    xy: np.ndarray
    """[n,2] float32; NaN where nothing is known."""
    visible: np.ndarray
    """[n] bool; False where nothing is known."""
    chance: np.ndarray
    """[n] float32 P(visible): 0 or 1 where a human said so; NaN where nothing is known."""
    confidence: np.ndarray
    """[n] float32: 1 at keyframes; NaN where nothing is known."""
    disagreement: np.ndarray
    """[n] float32 pixels between what was found forwards and backwards; NaN where it was not measured."""
    source: str
    """A letter for each frame: k keyframe, p prediction, - nothing."""


@dataclass(frozen=True)
class PointSummary:
    """One point in bins of frames; None where a bin has no position."""

    id: int
    visible: tuple[float | None, ...]
    """Share of the frames with a position in which it is visible."""
    confidence: tuple[float | None, ...]
    """Least."""
    doubt: tuple[float, ...]
    """Greatest, 0 (nothing to see) to 1 (look here): `annotate.doubt`."""


@dataclass(frozen=True)
class Summary:
    """A whole clip for a timeline."""

    bins: tuple[int, ...]
    """First frame of each bin. There may be fewer bins than were asked for."""
    points: tuple[PointSummary, ...]


@dataclass(frozen=True)
class Doubt:
    """A place to look at."""

    t: int
    point: int
    reason: Literal["jump", "unsure", "disagreement", "missed", "visibility"]
    """jump: a step far longer than those around it; unsure: the tracker's confidence stays low from here on;
    disagreement: forwards and backwards, or two annotators, say different positions; missed: the tracker arrived
    elsewhere than at the keyframe that a human set; visibility: two annotators differ in whether it is seen."""
    value: float
    """Pixels; for "unsure" the least confidence, for "visibility" the number of frames."""


@dataclass(frozen=True)
class Change:
    """What an edit, an undo or a redo did."""

    revision: int
    event: int
    text: str
    """In words: "moved nose at frame 40"."""
    points: tuple[Point, ...]
    """Those that it changed, as they are now."""
    removed: tuple[int, ...]
    objects: tuple[Object, ...]
    skeleton: tuple[tuple[int, int], ...] | None
    """The skeleton, where it was changed."""


@dataclass(frozen=True)
class Stored:
    """What `store_span` did: `run` is to be handed back with what else the same run of the tracker finds."""

    run: int
    revision: int


@dataclass(frozen=True)
class Event:
    """One entry of the log."""

    id: int
    clip: int
    user: int | None
    time: str
    kind: Literal["edit", "run", "undo", "redo"]
    text: str
    points: tuple[int, ...]
    revision: int
    undone: bool


@dataclass(frozen=True, eq=False)
class Comparison:
    """A point before an event and now, over the frames that it changed."""

    before: Positions
    after: Positions


@dataclass(frozen=True)
class User:
    """An account."""

    id: int
    name: str
    role: Role
    active: bool
    created: str


@dataclass(frozen=True)
class Assignment:
    """One person's share of the work on a clip."""

    id: int
    clip: int
    user: int
    stage: Stage
    blind: bool
    """Whether others working on the clip are not seen."""
    state: Progress
    comment: str
    """The reviewer's last one."""
    created: str
    submitted: str | None
    seconds: float
    """Time spent: between edits that follow each other within a minute."""


@dataclass(frozen=True)
class Comment:
    """What someone said about a clip, a point or a frame."""

    id: int
    clip: int
    user: int | None
    time: str
    text: str
    t: int | None
    point: int | None


@dataclass(frozen=True)
class PointAgreement:
    """How far the annotators of a point agree, averaged over pairs of them. None: nothing to compare."""

    point: int
    """The point of the clip; of points that only annotators have, the first annotator's."""
    label: str
    users: tuple[int, ...]
    median: float | None
    """Median distance in pixels of a 256x256 frame, where both see it."""
    within: tuple[float, ...] | None
    """Share within 1, 2, 4, 8 and 16 of these pixels."""
    kappa: float | None
    """Cohen's, of visible or not."""


@dataclass(frozen=True)
class Agreement:
    """How far those who annotated a clip blind to each other agree."""

    clip: int
    users: tuple[int, ...]
    points: tuple[PointAgreement, ...]
    places: tuple[Doubt, ...]
    """Where they differ, the worst frame of each stretch; values in pixels of a 256x256 frame."""
    unmatched: tuple[tuple[int, int], ...]
    """(user, point) of points that only one of them has."""


@dataclass(frozen=True)
class ReportRow:
    """One person's work on one clip."""

    clip: str
    user: str
    stage: str
    state: str
    points: int
    keyframes: int
    edits: int
    seconds: float
    seconds_per_track: float | None


@dataclass(frozen=True)
class Report:
    """The work on a project."""

    rows: tuple[ReportRow, ...]
    agreement: tuple[tuple[str, float | None, float | None], ...]
    """(clip, median distance, kappa) of clips that several annotated."""

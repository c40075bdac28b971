"""Points of all demonstrations, each found in all of them: what makes the demonstrations comparable.

Vecerik et al., RoboTAP, ICRA 2024 (arXiv:2308.15975): points are drawn on frames of every demonstration, and each is
tracked through every demonstration from its first frame on. Their tracker keeps what it knows of a point as features;
here a session is shown the pictures on which points were drawn, one after the other, before the frames of the
demonstration. So any tracker with sessions will do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tapkit.apps.servo.demonstrations import Demonstration
from tapkit.engine.session import Session
from tapkit.engine.tracker import Tracker
from tapkit.errors import UsageError
from tapkit.types import FrameResult, VideoInfo

MARGIN = 0.1
"""Share of the picture at each side in which no points are drawn."""


class Reference(NamedTuple):
    """A picture and points on it."""

    image: np.ndarray
    """[H,W,3] uint8."""
    xy: np.ndarray
    """[n,2] pixels."""


@dataclass(frozen=True, eq=False)
class PointTable:
    """N points in all demonstrations."""

    demo: np.ndarray
    """[N] in which demonstration each was drawn."""
    frame: np.ndarray
    """[N] on which of its frames."""
    origin: np.ndarray
    """[N,2] where."""
    xy: tuple[np.ndarray, ...]
    """Of each demonstration: [N,T_d,2] float32 pixels."""
    visible: tuple[np.ndarray, ...]
    """Of each demonstration: [N,T_d] bool."""
    size: tuple[int, int]
    """(height, width) of the pictures."""

    def __len__(self) -> int:
        """N."""
        return len(self.demo)


def _size(image: np.ndarray) -> tuple[int, int]:
    return int(image.shape[0]), int(image.shape[1])


def started(tracker: Tracker, references: Sequence[Reference], fps: float = 15.0) -> Session:
    """A session that has seen the pictures and tracks the points on them, in their order.

    Raises `QueryError` for points outside their picture.
    """
    height, width = _size(references[0].image)
    session = tracker.start(VideoInfo(width, height, fps))  # type: ignore[arg-type]  # it takes numbers too
    rows = [np.column_stack([np.full(len(r.xy), n), r.xy]) for n, r in enumerate(references) if len(r.xy)]
    session.add(np.concatenate(rows))
    for reference in references:
        session.step(reference.image)
    return session


def follow(
    tracker: Tracker,
    references: Sequence[Reference],
    frames: Iterable[np.ndarray],
    progress: Callable[[], object] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Track the points of the references through frames that come after them.

    Returns positions [N,T,2] float32 and whether each is visible [N,T], by the threshold of the tracker's authors.
    """
    session = started(tracker, references)
    said = tracker.provenance(live=True)
    before = session.frame
    results: list[FrameResult] = []
    count = 0
    for frame in frames:
        results += session.step(frame)
        count += 1
        if progress is not None:
            progress()
    results += session.finish()
    total = sum(len(reference.xy) for reference in references)
    xy = np.zeros((total, count, 2), np.float32)
    visible = np.zeros((total, count), bool)
    for result in results:
        if 0 <= result.frame - before < count:
            xy[result.rows, result.frame - before] = result.xy
            visible[result.rows, result.frame - before] = said.visible_at(result.visible, result.confidence)
    return xy, visible


def draw_points(
    demonstrations: Sequence[Demonstration], pictures: int, points: int, random: np.random.Generator
) -> list[tuple[int, int, np.ndarray]]:
    """(demonstration, frame, xy [points,2]): uniform in the middle of frames that are spread over each demonstration.

    The frames before the gripper does something are always among them: there things are large, and where they belong.
    """
    chosen = []
    for number, each in enumerate(demonstrations):
        height, width = each.size
        times = {event.frame - 1 for event in each.events}
        spread = max(pictures - len(times), 0)
        times |= {round(t) for t in np.linspace(0, len(each) - 1, spread + 2)[1:-1]}
        for t in sorted(times):
            xy = random.uniform(MARGIN, 1 - MARGIN, (points, 2)) * (width, height)
            chosen.append((number, t, xy.astype(np.float32)))
    return chosen


def track_everywhere(
    tracker: Tracker,
    demonstrations: Sequence[Demonstration],
    pictures: int = 6,
    points: int = 24,
    seed: int = 0,
    progress: Callable[[], object] | None = None,
) -> PointTable:
    """Points drawn on some frames of every demonstration, tracked through every demonstration.

    Args:
        pictures: of each demonstration; at least one for each gripper event.
        points: drawn on each of them. The original draws 8 on every fourth frame.
        progress: called after every frame.

    Raises `UsageError` for numbers below 1.
    """
    if pictures < 1 or points < 1:
        raise UsageError(f"at least one picture and one point are needed, got {pictures} and {points}")
    drawn = draw_points(demonstrations, pictures, points, np.random.default_rng(seed))
    references = [Reference(demonstrations[d].frames[t], xy) for d, t, xy in drawn]
    found = [follow(tracker, references, each.frames, progress) for each in demonstrations]
    counts = [len(xy) for _, _, xy in drawn]
    return PointTable(
        np.repeat([d for d, _, _ in drawn], counts),
        np.repeat([t for _, t, _ in drawn], counts),
        np.concatenate([xy for _, _, xy in drawn]),
        tuple(xy for xy, _ in found),
        tuple(visible for _, visible in found),
        demonstrations[0].size,
    )


def track_from_ends(
    tracker: Tracker,
    demonstrations: Sequence[Demonstration],
    stage: Sequence[tuple[int, int]],
    points: int = 40,
    seed: int = 0,
    progress: Callable[[], object] | None = None,
) -> PointTable:
    """Points drawn on the last frame of a stage in every demonstration, tracked through that stage of every
    demonstration, backwards in time.

    What a stage is about is seen at its end in all demonstrations, from nearly the same place: there a point is found
    in another demonstration most surely, and from there it is followed without a break. A thing that lies turned, or
    far away, when the stage begins need not be recognised. (The original draws on all frames and tracks forwards:
    `track_everywhere`.)

    Args:
        stage: (first, last) frame of it in each demonstration; the table's frames are counted from the first.
        points: drawn on each last frame.

    Raises `UsageError` for numbers below 1.
    """
    if points < 1:
        raise UsageError(f"at least one point is needed, got {points}")
    random = np.random.default_rng(seed)
    height, width = demonstrations[0].size
    drawn = [random.uniform(MARGIN / 2, 1 - MARGIN / 2, (points, 2)) * (width, height) for _ in demonstrations]
    references = [
        Reference(each.frames[end], xy.astype(np.float32))
        for each, (_, end), xy in zip(demonstrations, stage, drawn, strict=True)
    ]
    xys, visibles = [], []
    for each, (start, end) in zip(demonstrations, stage, strict=True):
        backwards = each.frames[start : end + 1][::-1]
        xy, visible = follow(tracker, references, backwards, progress)
        xys.append(xy[:, ::-1])
        visibles.append(visible[:, ::-1])
    count = len(demonstrations)
    return PointTable(
        np.repeat(np.arange(count), points),
        np.repeat([end - start for start, end in stage], points),
        np.concatenate([r.xy for r in references]),
        tuple(xys),
        tuple(visibles),
        (height, width),
    )

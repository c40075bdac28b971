"""Tracking for the studio: groups of points over their frames, with results told as they come. Runs in the worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from tapkit.engine.anchors import Anchors
from tapkit.engine.control import Cancelled, Control, Progress
from tapkit.engine.session import Session
from tapkit.engine.tracker import ClipJob, Tracker
from tapkit.sinks.table import MemoryTable
from tapkit.types import FrameResult, Keyframes, Queries
from tapkit.types.storage import Block
from tapkit.video.base import Frame, Source
from tapkit.video.span import Span
from tapkit.web.regions import Group
from tapkit.web.series import numbers

EVERY = 0.1
"""Seconds between two messages; those with positions say all that is new since."""
A_POINT = 0.0016
"""Seconds added to that for each point: storing and showing many takes the server's time, which clicks need."""
LONGEST = 0.8
"""Seconds of tracking that are never more than lost with the server."""

Tell = Callable[[dict[str, Any]], None]


class JobControl(Control):
    """A control that knows how long its run was paused."""

    waited = 0.0
    """Seconds."""

    def between_frames(self, session: Session, interrupted: Callable[[], bool] = lambda: False) -> bool:
        """See `Control.between_frames`."""
        paused, started = self.paused, time.monotonic()
        goes_on = super().between_frames(session, interrupted)
        if paused:
            self.waited += time.monotonic() - started
        return goes_on

    def wait(self) -> None:
        """For work that is no session: wait while paused. Raises `Cancelled`."""
        started = time.monotonic()
        while self.paused and not self.cancelled:
            time.sleep(0.05)
        self.waited += time.monotonic() - started
        if self.cancelled:
            raise Cancelled("the run was cancelled")


class Meter:
    """Progress over several groups, as messages: steps done and in all, steps a second, seconds left."""

    def __init__(self, total: int, control: JobControl, tell: Tell) -> None:
        self.total, self._control, self._tell = total, control, tell
        self.before = 0
        """Steps of the groups that are done."""
        self._begun = time.monotonic() - control.waited
        self._last = 0.0
        self._done = 0

    def step(self, progress: Progress) -> None:
        """A frame has been stepped."""
        now = time.monotonic()
        if progress.stage != "finish":  # there a model of whole clips counts its own steps
            self._done = self.before + progress.done
        if now - self._last >= EVERY:
            self._last = now
            self.tell()

    def tell(self) -> None:
        """Say how far it is."""
        busy = time.monotonic() - self._begun - self._control.waited
        rate = self._done / busy if busy > 0 and self._done else None
        left = None if rate is None else max(self.total - self._done, 0) / rate
        self._tell({"said": "progress", "done": self._done, "total": self.total, "rate": rate, "seconds_left": left})


def track(tracker: Tracker, source: Source, groups: Sequence[Group], control: JobControl, tell: Tell) -> None:
    """Track all groups, one after the other.

    Positions are told as {"said": "positions", "start", "stop", "points": [{"id", "x", "y", "visible", "confidence"}]},
    lists over frames with None where nothing is known; the last message about a frame holds. Between two anchors a
    point is tracked from both, and the two are cross-faded. Raises `Cancelled`, and what `Tracker.track` raises.
    """
    jobs = [_Run(tracker, source, group, control, tell) for group in groups]
    meter = Meter(sum(job.steps for job in jobs), control, tell)
    control.progress = meter.step
    for job in jobs:
        job.execute()
        meter.before += job.steps
    meter.tell()


class _Run:
    """One group."""

    def __init__(self, tracker: Tracker, source: Source, group: Group, control: Control, tell: Tell) -> None:
        self.tracker = tracker
        part = Span(source, group.first, group.last + 1)
        firsts = [(anchors[0], str(point)) for point, anchors in group.points]
        queries = Queries(
            np.array([anchor.t - group.first for anchor, _ in firsts]),
            np.array([anchor[1:] for anchor, _ in firsts], np.float32),
            np.array([name for _, name in firsts]),
        )
        rest = [
            (str(point), a.t - group.first, a.x, a.y) for point, anchors in group.points for a in anchors[1:]
        ]  # fmt: skip
        size, frames = source.info.size, part.info.frames
        anchors = Anchors(
            queries.check(size, frames), Keyframes.of(rest).check(size, frames) if rest else None
        )  # fmt: skip
        ids = [point for point, _ in group.points]
        self.table = _Told(anchors, ids, group.first, len(queries), frames, tell)
        self.job = ClipJob(part, anchors, self.table, group.direction, control)
        self.steps = tracker.steps(self.job)

    def execute(self) -> None:
        """All passes; what is known is told also when it is cut short."""
        try:
            self.tracker.fill(self.job)
        finally:
            self.table.tell()
        if self.job.direction == "both":
            self.table.tell_apart()


class _Told(MemoryTable):
    """A table that tells what is new in it, some ten times a second."""

    def __init__(
        self, anchors: Anchors, ids: Sequence[int], first: int, count: int, frames: int | None, tell: Tell
    ) -> None:
        super().__init__(max(count, len(anchors.queries)), frames)
        self._anchors, self._ids, self._first, self._tell = anchors, ids, first, tell
        self._new: set[int] = set()
        self._last = time.monotonic()

    def frame(self, frame: Frame) -> None:
        """See `Sink`."""

    def result(self, result: FrameResult) -> None:
        """See `Sink`."""
        super().result(result)
        if result.final:
            self._new.add(result.frame)
            if time.monotonic() - self._last >= min(EVERY + A_POINT * len(self._ids), LONGEST):
                self.tell()

    def tell(self) -> None:
        """All that is new since the last time, runs of frames as one message each."""
        self._last = time.monotonic()
        frames = sorted(self._new)
        self._new.clear()
        if not frames:
            return
        breaks = np.flatnonzero(np.diff(frames) > 1) + 1
        for run in np.split(np.array(frames), breaks):
            results = [self._anchors.at(self, int(t)) for t in run]
            self._tell(_message(results, self._ids, self._first + int(run[0])))

    def tell_apart(self) -> None:
        """Points between two anchors once more, with how far the tracks from either side are apart: what agrees can be
        relied on."""
        anchors = self._anchors
        count = len(self._ids)
        several = [row for row in range(count) if (anchors.owner == row).sum() > 1]
        if not several:
            return
        first, last = int(anchors.queries.t.min()), int(anchors.queries.t.max())
        apart = np.full((count, last - first + 1), np.nan)
        for row in several:
            own = np.flatnonzero(anchors.owner == row)
            own = own[np.argsort(anchors.queries.t[own], kind="stable")]
            tracks = self.points(own)["xy"]
            for (before, one), (after, other) in pairwise(zip(anchors.queries.t[own].tolist(), tracks, strict=True)):
                between = slice(before + 1, after)
                apart[row, before + 1 - first : after - first] = np.linalg.norm(one[between] - other[between], axis=-1)
        message = _message([anchors.at(self, t) for t in range(first, last + 1)], self._ids, self._first + first)
        row_of = {id: row for row, id in enumerate(self._ids)}
        message["points"] = [
            {**point, "disagreement": numbers(apart[row_of[point["id"]]])}
            for point in message["points"]
            if row_of[point["id"]] in several
        ]
        self._tell(message)


def _message(results: Sequence[FrameResult], ids: Sequence[int], start: int) -> dict[str, Any]:
    shape = (len(ids), len(results))
    block: Block = {name: np.full(shape, np.nan) for name in ("x", "y", "visible", "confidence")}
    for column, result in enumerate(results):
        block["x"][result.rows, column], block["y"][result.rows, column] = result.xy.T
        block["visible"][result.rows, column] = result.visible
        block["confidence"][result.rows, column] = result.confidence
    known = np.isfinite(block["x"]).any(1)
    points = [
        {"id": ids[row], **{name: numbers(values[row]) for name, values in block.items()}}
        for row in np.flatnonzero(known).tolist()
    ]
    return {"said": "positions", "start": start, "stop": start + len(results), "points": points}

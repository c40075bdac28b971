"""A whole clip at once: the same sessions, driven over a file, in both directions, under a memory budget, resumable.

The work is a list of passes: each runs one session over the clip (forwards, or backwards from its end) for some of the
points. Results go to `Results` as they become final; with a `Checkpoint`, an interrupted run goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from tapkit.engine.checkpoint import Checkpoint
from tapkit.engine.interrupts import SafePoint
from tapkit.engine.memory import points_at_once
from tapkit.engine.results import Record, Results
from tapkit.engine.session import Session
from tapkit.errors import UsageError
from tapkit.models.base import Model
from tapkit.types import FrameResult, Queries, VideoInfo
from tapkit.video.base import Frame, Source

SAVE_EVERY = 20.0
"""Seconds between two saves of the state of a run that has a checkpoint."""

Direction = Literal["both", "forward", "backward"]


class Progress(NamedTuple):
    """How far a run is."""

    done: int
    """Frames stepped, over all passes, including those of an earlier, interrupted run."""
    total: int | None
    """Frames to step in all; None if the source does not know its length."""
    points: int
    """Points tracked in the pass that is running."""
    stage: str
    """"forward" or "backward"."""


@dataclass(frozen=True)
class Pass:
    """One session over the clip: frames start, start + step, ... for the points `rows`."""

    rows: slice
    start: int
    step: Literal[1, -1]

    def length(self, frames: int | None) -> int | None:
        """Frames it will see in a clip of `frames`."""
        if self.step < 0:
            return self.start + 1
        return None if frames is None else frames - self.start

    def local(self, queries: Queries) -> Queries:
        """Its points, with frames counted as its session counts them."""
        mine = queries[self.rows]
        return Queries((mine.t - self.start) * self.step, mine.xy, mine.ids)


def plan(model: Model, queries: Queries, info: VideoInfo, direction: Direction, budget: int | None) -> list[Pass]:
    """The passes that answer `queries`; those that go forward come last, so that frames are completed in order."""
    if direction not in ("both", "forward", "backward"):
        raise UsageError(f'direction must be "both", "forward" or "backward", got {direction!r}')
    card, count = model.card, len(queries)
    chunk = max(count, 1)
    if card.streaming != "offline":  # offline models split their points after encoding the clip once
        size = model.frame_size(info.size) or info.size
        window = getattr(model, "window", 0)  # the features of one window are held besides the points
        fixed = window * model.frame_bytes(size) if window else 0  # type: ignore[attr-defined]
        chunk = points_at_once(budget, fixed, model.point_bytes(size), count)  # type: ignore[attr-defined]
    chunks = [slice(first, min(first + chunk, count)) for first in range(0, max(count, 1), chunk)]
    if card.bidirectional:
        return [Pass(rows, 0, 1) for rows in chunks]
    passes = []
    if direction != "forward":
        for rows in chunks:
            latest = int(queries.t[rows].max(initial=0))
            if latest > 0 or direction == "backward":
                if info.frames is None:
                    raise UsageError(
                        "this source only plays forwards, so points cannot be tracked back from a later frame; "
                        'use direction="forward", or record it to a file first'
                    )
                passes.append(Pass(rows, info.frames - 1 if card.uses_past else latest, -1))
    if direction != "backward":
        for rows in chunks:
            first = 0 if card.uses_past or not count else int(queries.t[rows].min())
            passes.append(Pass(rows, first, 1))
    return passes


class Run:
    """One call of `Tracker.track`: the passes, and where their results go."""

    def __init__(
        self,
        start: Callable[[VideoInfo, Queries], Session],
        source: Source,
        queries: Queries,
        results: Results,
        direction: Direction,
        *,
        checkpoint: Checkpoint | None = None,
        progress: Callable[[Progress], None] | None = None,
        on_complete: Callable[[int, Record], None] | None = None,
    ) -> None:
        self.start, self.source, self.queries, self.results = start, source, queries, results
        self.direction, self.checkpoint = direction, checkpoint
        self.progress, self.on_complete = progress, on_complete
        self.frames = 0
        """Frames really seen (a broken file has fewer than it promises)."""
        self._completed = 0
        self._rows = {name: row for row, name in enumerate(queries.ids.tolist())}

    def execute(self, passes: list[Pass]) -> None:
        """Run all passes, or those that an earlier run left."""
        position = self.checkpoint.position() if self.checkpoint else None
        total = self._total(passes)
        before = 0
        for number, task in enumerate(passes):
            length = task.length(self.source.info.frames) or 0
            if position is not None and number < position.task:
                before += length
                self.frames = max(self.frames, task.start + length if task.step > 0 else task.start + 1)
                continue
            resumed = position is not None and number == position.task and position.within
            seen = self._run(number, task, resumed, before, total, last=number == len(passes) - 1)
            before += seen
        self._complete(self.frames)
        self.results.flush()

    def _total(self, passes: list[Pass]) -> int | None:
        lengths = [task.length(self.source.info.frames) for task in passes]
        return None if None in lengths else sum(n for n in lengths if n is not None)

    def _run(self, number: int, task: Pass, resumed: bool, before: int, total: int | None, last: bool) -> int:
        """One pass; returns how many frames it saw."""
        info = self.source.info
        local = replace(info, frames=task.length(info.frames), times=None)
        session = self.start(local, Queries.of([]) if resumed else task.local(self.queries))
        if resumed:
            assert self.checkpoint is not None
            session.load_state_dict(self.checkpoint.state())
        stage = "forward" if task.step > 0 else "backward"
        points = task.rows.stop - task.rows.start
        first = task.start + task.step * session.frame
        saved = time.monotonic()
        with SafePoint() as safe:
            for frame in self._frames(first, task, session):
                for result in session.step(frame.image):
                    self._store(result, task, last)
                if self.progress:
                    self.progress(Progress(before + session.frame, total, points, stage))
                # Only here, between two frames, do state and results say the same.
                if safe.interrupted:
                    self._save(number, session, always=True)
                    safe.leave()
                if time.monotonic() - saved > SAVE_EVERY:
                    self._save(number, session, always=False)
                    saved = time.monotonic()
            self._seen(task, session)
            for result in session.finish():
                self._store(result, task, last)
        if self.checkpoint:
            self.results.flush()
            self.checkpoint.save(number + 1, None)
        return session.frame

    def _frames(self, first: int, task: Pass, session: Session) -> Iterator[Frame]:
        if task.step < 0 and first < 0:
            return iter(())
        return self.source.frames(first, None, task.step, session.size)

    def _seen(self, task: Pass, session: Session) -> None:
        self.frames = max(self.frames, task.start + (session.frame if task.step > 0 else 1))

    def _save(self, number: int, session: Session, always: bool) -> None:
        if self.checkpoint is None:
            return
        self.results.flush()
        self.checkpoint.save(number, session.state_dict(), always)

    def _store(self, result: FrameResult, task: Pass, last: bool) -> None:
        """Put one result where it belongs; frames that can no longer change are handed to `on_complete`."""
        frame = task.start + task.step * result.frame
        rows = np.array([self._rows[name] for name in result.ids.tolist()], dtype=int)
        keep = self._wanted(rows, frame)
        self.results.write(frame, rows[keep], result.xy[keep], result.visible[keep], result.confidence[keep])
        if last and task.step > 0:
            self._complete(frame)  # frames before this one have all they will get

    def _wanted(self, rows: np.ndarray, frame: int) -> np.ndarray:
        """Which rows the direction asks for on this frame."""
        t = self.queries.t[rows]
        if self.direction == "forward":
            return np.asarray(t <= frame)
        if self.direction == "backward":
            return np.asarray(t >= frame)
        return np.ones(len(rows), bool)

    def _complete(self, until: int) -> None:
        if self.on_complete is None:
            return
        while self._completed < until:
            self.on_complete(self._completed, self.results.at(self._completed))
            self._completed += 1

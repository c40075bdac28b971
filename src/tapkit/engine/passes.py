"""The passes over a clip, carried out one after the other by the loop of `run`.

Results go to a table as they become final; with a `Checkpoint`, an interrupted run can be resumed. Sinks follow the
table: they get each frame once nothing about it can change any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from tapkit.engine.anchors import Anchors
from tapkit.engine.checkpoint import Checkpoint
from tapkit.engine.control import Control
from tapkit.engine.offline import Direction, Pass
from tapkit.engine.run import Keep, Part, run
from tapkit.engine.session import Session
from tapkit.sinks.base import Sink
from tapkit.sinks.table import Table
from tapkit.types import FrameResult, Queries, VideoInfo
from tapkit.video.base import Frame, Source

PERIODIC_BYTES = 64 << 20
"""A state larger than this is only saved when the run is about to end: writing it again and again would cost more than
it saves (the encoded frames of a whole clip, for offline models)."""


class ClipRun:
    """One call of `Tracker.track`: the passes over a clip, the table they fill, and the sinks that follow it.

    Args:
        start: makes the session of a pass: (info as the pass sees the clip, points) -> session.
        source: the clip.
        anchors: what is tracked.
        table: takes all results.
        direction: what is kept of them.
        sinks: get every frame once, in order, as soon as nothing about it can change; and the frames of the last pass.
            Whoever made them finishes them.
        control: progress, pause, cancel.
        checkpoint: where the run is kept.
        ahead: see `run`.
    """

    def __init__(
        self,
        start: Callable[[VideoInfo, Queries], Session],
        source: Source,
        anchors: Anchors,
        table: Table,
        direction: Direction,
        *,
        sinks: Sequence[Sink] = (),
        control: Control | None = None,
        checkpoint: Checkpoint | None = None,
        ahead: bool = False,
    ) -> None:
        self.start, self.source, self.anchors, self.table = start, source, anchors, table
        self.direction, self.checkpoint, self.ahead = direction, checkpoint, ahead
        self.control = control or Control()
        self.follower = _Follower(anchors, table, sinks)
        self.frames = 0
        """Frames really seen (a broken file has fewer than it promises)."""

    def restart(self) -> None:
        """Begin anew, with other passes; what sinks have been given they are not given again."""
        self.frames = 0
        if self.checkpoint is not None:
            self.checkpoint.forget()

    def execute(self, passes: list[Pass], points: int | None = None) -> None:
        """Run all passes, or those that an earlier run left. `points`, how many each has, is kept with the run."""
        self.control.refuse_corrections(
            "a run over a whole clip takes its keyframes when it starts: cancel it, and track again with keyframes="
        )
        position = self.checkpoint.position() if self.checkpoint else None
        if self.checkpoint is not None and points is not None:
            self.checkpoint.points = points
        lengths = [task.length(self.source.info.frames) for task in passes]
        total = None if None in lengths else sum(length or 0 for length in lengths)
        before = 0
        for number, task in enumerate(passes):
            if position is not None and number < position.task:
                length = lengths[number] or 0
                before += length
                self.frames = max(self.frames, task.start + length if task.step > 0 else task.start + 1)
                continue
            resumed = position is not None and number == position.task and position.within
            before += self._run(number, task, resumed, Part(before, total), last=number == len(passes) - 1)
        if self.direction == "backward":  # only the beginning was read: nothing is known of where the clip ends
            self.frames = max(self.frames, self.source.info.frames or 0)
        self.follower.complete(self.frames)
        self.table.flush()

    def _run(self, number: int, task: Pass, resumed: bool, part: Part, last: bool) -> int:
        """One pass; returns how many frames it saw."""
        info = self.source.info
        local = replace(info, frames=task.length(info.frames), times=None)
        session = self.start(local, Queries.of([]) if resumed else task.local(self.anchors.queries))
        if resumed:
            assert self.checkpoint is not None
            session.load_state_dict(self.checkpoint.state())
        place = _Placed(self.table, task, self.anchors.queries, self.direction)
        sinks: list[Sink] = [place]
        if last and task.step > 0:
            sinks.append(_Completed(self.follower, task))
        keep = None
        if self.checkpoint is not None:
            keep = Keep(place, lambda running, urgent: self._save(number, running, urgent))
        part = replace(part, stage="forward" if task.step > 0 else "backward")
        first = task.frame(session.frame)
        frames = self._frames(first, task, session)
        run(session, frames, sinks, self.control, part=part, keep=keep, ahead=self.ahead)
        self.frames = max(self.frames, task.start + (session.frame if task.step > 0 else 1))
        if self.checkpoint:
            self.table.flush()
            self.checkpoint.save(number + 1, None)
        return session.frame

    def _frames(self, first: int, task: Pass, session: Session) -> Iterator[Frame]:
        if task.step < 0 and first < 0:
            return iter(())
        return self.source.frames(first, None, task.step, session.size)

    def _save(self, number: int, session: Session, urgent: bool) -> None:
        assert self.checkpoint is not None
        if not urgent and session.state_bytes() > PERIODIC_BYTES:
            return
        self.table.flush()
        self.checkpoint.save(number, session.state_dict())


class _Placed:
    """Puts the results of a pass where they belong in the table."""

    def __init__(self, table: Table, task: Pass, queries: Queries, direction: Direction) -> None:
        self.table, self.task, self.direction = table, task, direction
        self.t = queries.t

    def frame(self, frame: Frame) -> None:
        """See `Sink`."""

    def result(self, result: FrameResult) -> None:
        """See `Sink`."""
        frame, rows = self.task.frame(result.frame), result.rows + self.task.rows.start
        if self.direction != "both":
            keep = self.t[rows] <= frame if self.direction == "forward" else self.t[rows] >= frame
            if not keep.all():
                rows = rows[keep]
                result = result._replace(
                    xy=result.xy[keep], visible=result.visible[keep], confidence=result.confidence[keep]
                )
        self.table.result(result._replace(frame=frame, rows=rows, names=None))

    def finish(self) -> None:
        """See `Sink`; the table is filled by several passes."""


class _Completed:
    """In the pass that goes over the clip last: frames before the newest answer have all they will get."""

    def __init__(self, follower: _Follower, task: Pass) -> None:
        self.follower, self.task = follower, task

    def frame(self, frame: Frame) -> None:
        """See `Sink`."""
        self.follower.frame(frame)

    def result(self, result: FrameResult) -> None:
        """See `Sink`."""
        self.follower.complete(self.task.frame(result.frame))

    def finish(self) -> None:
        """See `Sink`; the last frames are completed by `ClipRun`."""


class _Follower:
    """Hands the frames of a table, completed one after the other, to sinks."""

    def __init__(self, anchors: Anchors, table: Table, sinks: Sequence[Sink]) -> None:
        self.anchors, self.table, self.sinks = anchors, table, tuple(sinks)
        self._completed = 0
        self._shown = -1

    def frame(self, frame: Frame) -> None:
        """A frame of the last pass; in one that is run again, only those that have not been shown."""
        if frame.index <= self._shown:
            return
        self._shown = frame.index
        for sink in self.sinks:
            sink.frame(frame)

    def complete(self, until: int) -> None:
        """Frames before `until` cannot change any more."""
        if not self.sinks:
            return
        while self._completed < until:
            result = self.anchors.at(self.table, self._completed)
            self._completed += 1
            for sink in self.sinks:
                sink.result(result)

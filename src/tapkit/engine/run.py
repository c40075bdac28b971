"""The one loop: frames go into a session, results go to sinks. Files, cameras and whole clips are all run by it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tapkit.engine.ahead import Ahead, Ready
from tapkit.engine.control import Cancelled, Control, Progress
from tapkit.engine.interrupts import SafePoint
from tapkit.engine.session import Session
from tapkit.models.base import Reports
from tapkit.sinks.base import Sink
from tapkit.types import FrameResult
from tapkit.video.base import Frame

SAVE_EVERY = 4.0
"""Seconds between two saves of a run that is kept: what a crash can cost."""
SAVE_SHARE = 0.05
"""Of the time, at most, goes into saving: a large state is saved less often."""


@dataclass(frozen=True)
class Part:
    """Where a run stands within a larger one of several passes."""

    before: int = 0
    """Frames stepped in earlier passes."""
    total: int | None = None
    """Frames of all passes; None: unknown."""
    stage: str = "forward"


@dataclass(frozen=True)
class Keep:
    """How a run is kept, so that it can be resumed: `save` writes the session's state, which must agree with what
    `table`, one of the sinks, has taken."""

    table: Sink
    save: Callable[[Session, bool], None]
    """Called with the session and whether it is urgent (the run is about to end)."""


def run(
    session: Session,
    frames: Iterable[Frame],
    sinks: Sequence[Sink] = (),
    control: Control | None = None,
    *,
    part: Part | None = None,
    keep: Keep | None = None,
    ahead: bool = False,
) -> None:
    """Step `session` over `frames` and hand everything to `sinks`; returns when all has been said.

        session = tracker.start(video.info, queries)
        run(session, video.frames(), [Overlay("out.mp4", video.info), Callback(print)], control)

    Args:
        session: started, with or without points.
        frames: pictures RGB uint8 [H,W,3] of the video's size or of the session's.
        sinks: see `Sink`; each is finished exactly once, whatever happens.
        control: progress, pause, cancel, stop, corrections.
        part, keep: for runs that are parts of a larger one, and that can be resumed.
        ahead: make frames ready in a second thread while those before are tracked, if `session.prepares`. Not for
            live sources, whose next frame should be as new as can be.

    Raises `Cancelled`, KeyboardInterrupt, whatever a frame, the tracker, a sink or the progress callback raises; with
    `keep` the state is saved first, unless it is the tracker or the table that failed.
    """
    loop = _Loop(session, tuple(sinks), control or Control(), part or Part(), keep)
    with finishing(loop.sinks):
        ready = Ahead(frames, session.prepare, session.frames_at_once) if ahead and session.prepares else frames
        loop.step_all(ready)


class _Loop:
    """One call of `run`."""

    def __init__(
        self, session: Session, sinks: tuple[Sink, ...], control: Control, part: Part, keep: Keep | None
    ) -> None:
        self.session, self.sinks, self.control, self.part, self.keep = session, sinks, control, part, keep
        self._consistent = True
        """Whether the table has all that the session has said: only then is a saved state of use."""

    def step_all(self, frames: Iterable[Frame | Ready]) -> None:
        """The frames, then what the session still owes."""
        coming, due = iter(frames), time.monotonic() + SAVE_EVERY
        with SafePoint() as safe:
            try:
                while self.control.between_frames(self.session, lambda: safe.interrupted is not None):
                    # Only here, between two frames, do the session and the sinks say the same.
                    if safe.interrupted is not None:
                        if self.control.interrupt == "stop":
                            safe.forget()
                            break
                        safe.leave()
                    frame = next(coming, None)
                    if frame is None:
                        break
                    self._step(frame)
                    if self.keep is not None and time.monotonic() > due:
                        started = time.monotonic()
                        self.keep.save(self.session, False)
                        saved = time.monotonic()
                        due = saved + max(SAVE_EVERY, (saved - started) / SAVE_SHARE)
            except BaseException:
                if self.keep is not None and self._consistent:
                    self.keep.save(self.session, True)
                raise
            finally:
                close = getattr(coming, "close", None)
                if close is not None:
                    close()
            self._consistent = False
            self._hand_on(self._finish(), None)

    def _finish(self) -> list[FrameResult]:
        """What the session still owes; a model that reports meanwhile is listened to, and can be cancelled."""
        model = self.session.model
        if not isinstance(model, Reports):
            return self.session.finish()

        def report(done: int, total: int) -> None:
            if self.control.cancelled:
                raise Cancelled("the run was cancelled")
            self.control.report(Progress(done, total, len(self.session), "finish"))

        model.report = report
        try:
            return self.session.finish()
        finally:
            model.report = None

    def _step(self, coming: Frame | Ready) -> None:
        self._consistent = False
        started = time.perf_counter()
        frame = coming.frame if isinstance(coming, Ready) else coming
        results = self.session.step(coming if isinstance(coming, Ready) else coming.image)
        seconds = time.perf_counter() - started
        self._hand_on(results, frame)
        self._consistent = True
        part = self.part
        done = part.before + self.session.frame
        self.control.report(Progress(done, part.total, len(self.session), part.stage, seconds, frame.index))

    def _hand_on(self, results: Sequence[FrameResult], frame: Frame | None) -> None:
        """Every sink gets everything, even if another one fails; the first failure then goes on up."""
        failure: Exception | None = None
        table_failed = False
        for sink in self.sinks:
            try:
                if frame is not None:
                    sink.frame(frame)
                for result in results:
                    sink.result(result)
            except Exception as error:
                failure = failure or error
                table_failed |= self.keep is not None and sink is self.keep.table
        if failure is not None:
            self._consistent = frame is not None and not table_failed
            raise failure


@contextmanager
def finishing(sinks: Sequence[Sink]) -> Iterator[None]:
    """Finish every sink at the end, whatever happens within. Their first failure is raised, unless something else went
    wrong before."""
    try:
        yield
    except BaseException as error:
        for failure in _finish(sinks):
            error.add_note(f"and then, while it was finished: {failure}")
        raise
    for failure in _finish(sinks):
        raise failure


def _finish(sinks: Sequence[Sink]) -> list[Exception]:
    failures: list[Exception] = []
    for sink in sinks:
        try:
            sink.finish()
        except Exception as error:
            failures.append(error)
    return failures

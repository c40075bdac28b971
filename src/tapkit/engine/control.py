"""Control of a run from another thread or task: progress, pause, cancel, stop, corrections."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Literal, NamedTuple

from tapkit.errors import TapkitError, UsageError
from tapkit.types import Queries

if TYPE_CHECKING:
    from tapkit.engine.session import Session


class Cancelled(TapkitError):
    """The run was cancelled; what it had computed is kept where it has a place to keep it."""

    exit_code = 130


class Progress(NamedTuple):
    """How far a run is."""

    done: int
    """Steps taken: frames over all passes (two directions are two), including those of an earlier, interrupted run."""
    total: int | None
    """Steps in all; None if the source does not know its length."""
    points: int
    """Points tracked in the pass that is running."""
    stage: str
    """"forward" or "backward"; "finish" while a model of whole clips (see `tapkit.models.base.Reports`) works after the
    last frame: `done` and `total` then count its own steps."""
    seconds: float = 0.0
    """Time the tracker took for the newest frame."""
    frame: int = 0
    """The clip's number of the newest frame."""


class Control:
    """Handed to a run by whoever started it. All methods may be called from any thread, before and while it runs.

        control = Control(progress=print)
        thread = threading.Thread(target=lambda: tapkit.track("clip.mp4", grid=20, control=control))
        thread.start()
        control.cancel()                       # the run raises Cancelled after the frame at hand

    Args:
        progress: called after every frame, in the thread of the run; False is None. (A bar: progress=True of
            `tapkit.track`, or `tapkit.engine.progress.reporting`.)
        interrupt: what Ctrl-C and SIGTERM do to a run in the main thread: "cancel" raises KeyboardInterrupt after the
            frame at hand, "stop" ends the video there.
    """

    def __init__(
        self,
        progress: Callable[[Progress], object] | Literal[False] | None = None,
        interrupt: Literal["cancel", "stop"] = "cancel",
    ) -> None:
        if progress is not None and progress is not False and not callable(progress):
            raise UsageError(f"progress must be a function that is called with a Progress, or None, got {progress!r}")
        self.progress = progress or None
        self.interrupt = interrupt
        self._changed = threading.Condition()
        self._cancelled = self._stopped = self._paused = False
        self._corrections: deque[tuple[Queries, Future[None]]] = deque()
        self._refused: str | None = None

    # -- for whoever started the run --------------------------------------------------------------

    def cancel(self) -> None:
        """End the run after the frame at hand, paused or not: it keeps what is done and raises `Cancelled`."""
        self._set("_cancelled")

    def stop(self) -> None:
        """End the video after the frame at hand: what is still owed is computed, and the run returns as usual."""
        self._set("_stopped")

    def pause(self) -> None:
        """Wait after the frame at hand until `resume`, `stop` or `cancel`."""
        self._set("_paused")

    def resume(self) -> None:
        """Continue a paused run."""
        with self._changed:
            self._paused = False
            self._changed.notify_all()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    @property
    def paused(self) -> bool:
        """Whether the run waits, or will wait after the frame at hand."""
        return self._paused

    def correct(self, id: str, frame: int, x: float, y: float) -> Future[None]:
        """Set a point of the running session to (x, y), pixels of the video, on `frame`: it is tracked from there on.

        Taken up before the next frame is stepped. The future then holds None, or the `QueryError` of a point that is
        not tracked, lies outside, or of a frame that the tracker no longer holds. Runs over whole clips take their
        keyframes when they start (`keyframes=`); a correction of one is refused with `UsageError`.
        """
        return self.correct_all(Queries.at(frame, [(x, y)], [id]))

    def correct_all(self, points: Queries) -> Future[None]:
        """As `correct`, for several points at once: ids of points that are tracked, frames and positions."""
        future: Future[None] = Future()
        with self._changed:
            if self._refused is not None:
                future.set_exception(UsageError(self._refused))
            else:
                self._corrections.append((points, future))
        return future

    # -- for the run ------------------------------------------------------------------------------

    def between_frames(self, session: Session, interrupted: Callable[[], bool] = lambda: False) -> bool:
        """Wait while paused, hand corrections to the session. False: the video ends here. Raises `Cancelled`.

        `interrupted` says whether a signal has come, which ends a pause; no condition can be notified by a signal.
        """
        with self._changed:
            while self._paused and not (self._cancelled or self._stopped or interrupted()):
                self._changed.wait(0.1)
            if self._cancelled:
                raise Cancelled("the run was cancelled")
            waiting = list(self._corrections)
            self._corrections.clear()
        for points, future in waiting:
            try:
                session.correct(points)
            except TapkitError as error:
                future.set_exception(error)
            else:
                future.set_result(None)
        return not self._stopped

    def refuse_corrections(self, why: str) -> None:
        """Answer all corrections, those that wait too, with `UsageError`."""
        with self._changed:
            self._refused = why
            while self._corrections:
                self._corrections.popleft()[1].set_exception(UsageError(why))

    def report(self, progress: Progress) -> None:
        """Tell whoever wants to know."""
        if self.progress is not None:
            self.progress(progress)

    def _set(self, flag: str) -> None:
        with self._changed:
            setattr(self, flag, True)
            self._changed.notify_all()

"""What a run says while it works: a progress bar at a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from tapkit.errors import UsageError

if TYPE_CHECKING:  # commands import this before they know whether there is anything to do
    from tapkit.engine.control import Progress

    Reporter = Callable[[Progress], object]


def reporting(progress: Any, what: str = "tracking") -> AbstractContextManager[Reporter | None]:
    """What an argument progress= asks for: a function, called with a `Progress`; True for a bar on standard error; None
    or False for nothing.

        with reporting(True) as report:
            tracker.track(video, queries, progress=report)

    Raises `UsageError` for anything else.
    """
    if progress is None or progress is False:
        return nullcontext(None)
    if progress is True:
        return progress_of(what)
    return nullcontext(check_reporter(progress))


def check_reporter(progress: Any) -> Any:
    """`progress`, if it can be called. Raises `UsageError`."""
    if not callable(progress):
        raise UsageError(
            "progress must be a function that is called with how far the run is, True for a bar, or False for none, "
            f"got {progress!r}"
        )
    return progress


def drawn(report: Reporter | None, points: int) -> Callable[[int, int], None] | None:
    """`report` for those who only count (frames done, frames in all): what is drawn."""
    if report is None:
        return None

    from tapkit.engine.control import Progress

    def tell(done: int, total: int) -> None:
        report(Progress(done, total, points, "drawing", frame=done - 1))

    return tell


def say(text: str) -> None:
    """A line for the person at the terminal (standard error: standard output is for results)."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def progress_of(what: str, quiet: bool = False) -> Iterator[Callable[[Progress], object] | None]:
    """A progress bar with frames/s and time left; plain lines every few seconds where there is no terminal."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with _bar(what) as report:
            yield report
    else:
        yield _Lines(what)


@contextmanager
def _bar(what: str) -> Iterator[Callable[[Progress], object]]:
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.TaskProgressColumn(),
        bars.TextColumn("{task.fields[rate]}"),
        bars.TimeElapsedColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None, rate="")
        rate = _Rate()

        def report(now: Progress) -> None:
            text = f"{_doing(what, now)}, frame {now.frame}"
            bar.update(task, total=now.total, completed=now.done, rate=speed(rate(now.done)), description=text)

        yield report


def _doing(what: str, now: Progress) -> str:
    points = f" {now.points} points" if now.points else ""
    return f"{what}{points}" if now.stage == what else f"{what}{points}, {now.stage}"


class _Lines:
    """A line every five seconds, and one at the end."""

    def __init__(self, what: str) -> None:
        self.what, self.rate, self.last = what, _Rate(), time.monotonic()

    def __call__(self, now: Progress) -> None:
        rate = self.rate(now.done)
        if time.monotonic() - self.last < 5 and now.done != now.total:
            return
        self.last = time.monotonic()
        left = f", {(now.total - now.done) / rate:.0f} s left" if now.total and rate > 0 else ""
        share = f", {100 * now.done // now.total} %" if now.total else ""
        say(f"{_doing(self.what, now)}: frame {now.frame}{share}, {speed(rate)}{left}")


def speed(rate: float) -> str:
    """Frames a second for people; seconds a frame where they are slow.

    >>> speed(12.345), speed(0.04), speed(0.0)
    ('12.3 frames/s', '25.0 s a frame', '- frames/s')
    """
    if rate <= 0:
        return "- frames/s"
    return f"{rate:.1f} frames/s" if rate >= 1 else f"{1 / rate:.1f} s a frame"


class _Rate:
    """Frames a second since the first report."""

    def __init__(self) -> None:
        self.first: tuple[float, int] | None = None

    def __call__(self, done: int) -> float:
        now = time.monotonic()
        if self.first is None:
            self.first = (now, done)
            return 0.0
        return (done - self.first[1]) / max(now - self.first[0], 1e-6)

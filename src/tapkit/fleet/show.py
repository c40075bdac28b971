"""How far a run over many videos is, for the person at the terminal: a bar, else a line every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tapkit.engine.progress import say, speed
from tapkit.fleet.summary import Report, Status

EVERY = 10.0
"""Seconds between two lines."""


@contextmanager
def progress(quiet: bool = False) -> Iterator[Report | None]:
    """A `report` for `tapkit.fleet.run`."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with _bar() as report:
            yield report
    else:
        yield _Lines()


@contextmanager
def _bar() -> Iterator[Report]:
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[said]}"),
        bars.TimeElapsedColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("videos", total=None, said="")

        def report(status: Status) -> None:
            bar.update(task, total=status.counts.total, completed=ended(status), said=said(status))

        yield report


class _Lines:
    """The first state, then one every few seconds, then the last."""

    def __init__(self) -> None:
        self.last, self.told = float("-inf"), -1

    def __call__(self, status: Status) -> None:
        done, total = ended(status), status.counts.total
        if time.monotonic() - self.last > EVERY or (done == total and done != self.told):
            self.last, self.told = time.monotonic(), done
            say(f"videos {done}/{total}, {said(status)}")


def ended(status: Status) -> int:
    """Items of which nothing more is to be done."""
    return status.counts.done + status.counts.there + status.counts.failed


def said(status: Status) -> str:
    """Processes, speed and failures."""
    rate = speed(status.frames / status.seconds) if status.seconds > 0 and status.frames else ""
    failed = f"{status.counts.failed} failed" if status.counts.failed else ""
    return ", ".join(part for part in (f"{status.workers} at work", rate, failed) if part)

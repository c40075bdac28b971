"""What is told of a run over many videos, while it runs and afterwards."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from tapkit import storage
from tapkit.errors import UsageError, one_line
from tapkit.fleet.worklist import Counts, Row, WorkList

COLUMNS = ("name", "source", "state", "points", "frames", "seconds", "error")
"""Of the report, one line for each item."""


class Status(NamedTuple):
    """How far a run is."""

    counts: Counts
    workers: int
    """Processes or actors that are at work."""
    seconds: float
    """Since the run began."""
    frames: int
    """That this run has done."""


Report = Callable[[Status], object]


@dataclass(frozen=True)
class Summary:
    """What a run has come to."""

    total: int
    """Items on the work list."""
    done: int
    """Of these, all that are done, in earlier runs too."""
    there: int
    """Whose result was there before."""
    failed: int
    left: int
    """That still wait: the run ended early."""
    frames: int
    """Frames of this run."""
    seconds: float
    """Wall time of this run."""
    worklist: str
    """The work list, which holds what became of each item."""

    @property
    def rate(self) -> float:
        """Frames per second of this run, of all processes together."""
        return self.frames / self.seconds if self.seconds > 0 else 0.0

    def to_json(self) -> dict[str, Any]:
        """All of it, with the failures (the first thousand), as JSON."""
        failures = [
            {"name": row.item.name, "source": row.item.source, "error": row.error} for row in self.failures(1000)
        ]
        return {**asdict(self), "frames_per_second": round(self.rate, 2), "failures": failures}

    def failures(self, most: int | None = None) -> Iterator[Row]:
        """The items that failed, with their sentence."""
        with WorkList(Path(self.worklist)) as worklist:
            yield from islice(worklist.rows("failed"), most)

    def lines(self, failures: int = 20) -> Iterator[str]:
        """A table for people: figures, then the first failures with their sentence."""
        heads = ("videos", "done", "there", "failed", "left", "frames", "frames/s", "seconds")
        yield "".join(f"{head:>10}" for head in heads)
        counts = (self.total, self.done, self.there, self.failed, self.left, self.frames)
        yield "".join(f"{count:10}" for count in counts) + f"{self.rate:10.1f}{self.seconds:10.1f}"
        for row in self.failures(failures):
            yield one_line(f"failed: {row.item.source}: {row.error}")
        if self.failed > failures:
            yield f"and {self.failed - failures} more failures, which --report FILE.csv has all"


def summary_of(worklist: WorkList, status: Status) -> Summary:
    """The summary of a run that has come so far."""
    counts = worklist.counts()
    return Summary(
        counts.total, counts.done, counts.there, counts.failed, counts.waiting + counts.running,
        status.frames, round(status.seconds, 3), str(worklist.path),
    )  # fmt: skip


def write_report(summary: Summary, path: Path) -> None:
    """Every item with what became of it, as .csv or .json; one at a time, so that memory does not grow with them."""
    check_report(path)
    write = _write_csv if path.suffix.lower() == ".csv" else _write_json
    with (
        WorkList(Path(summary.worklist)) as worklist,
        storage.atomic(path) as part,
        open(part, "w", newline="", encoding="utf-8", errors="replace") as file,
    ):
        write(file, summary, worklist.rows())


def _write_csv(file: TextIO, summary: Summary, rows: Iterator[Row]) -> None:
    table = csv.DictWriter(file, COLUMNS)
    table.writeheader()
    table.writerows(_line(row) for row in rows)


def _write_json(file: TextIO, summary: Summary, rows: Iterator[Row]) -> None:
    file.write(json.dumps({**asdict(summary), "frames_per_second": round(summary.rate, 2)})[:-1] + ', "videos": [')
    for number, row in enumerate(rows):
        file.write(",\n" * bool(number) + json.dumps({**_line(row), "facts": dict(row.facts)}))
    file.write("]}\n")


def check_report(path: Path) -> None:
    """Raise `UsageError` for an ending that no report has."""
    if path.suffix.lower() not in (".csv", ".json"):
        raise UsageError(f"a report is a .csv or .json file, not {path.name}")


def is_report(path: Path) -> bool:
    """Whether something stands there that `write_report` has written, and may write again."""
    begins = ",".join(COLUMNS) if path.suffix.lower() == ".csv" else '{"total": '
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(len(begins)) == begins
    except OSError:
        return False


def _line(row: Row) -> dict[str, Any]:
    known = {name: row.facts.get(name, "") for name in ("points", "frames", "seconds")}
    return {"name": row.item.name, "source": row.item.source, "state": row.state, **known, "error": row.error}

"""Options that several commands share: which points, which model; and how a run talks while it works."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapkit.errors import UsageError
from tapkit.parsing import read_options as read_options  # for the commands, beside the option itself

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tapkit.engine.control import Progress
    from tapkit.engine.tracker import Tracker
    from tapkit.types import Keyframes, Queries
    from tapkit.video.base import Source

Grid = Annotated[int | None, typer.Option("--grid", min=1, help="A regular grid of N x N points.")]
Points = Annotated[
    Path | None,
    typer.Option("--points", help="CSV file with columns t,x,y (and id), or tracks (.npz, .zarr) to track again."),
]
At = Annotated[list[str] | None, typer.Option("--at", metavar="T,X,Y", help="One point: frame,x,y. Repeatable.")]
Mask = Annotated[Path | None, typer.Option("--mask", help="Image whose non-black pixels are to be tracked.")]
Corners = Annotated[int | None, typer.Option("--corners", min=1, help="The N best corners.")]
OnFrame = Annotated[int, typer.Option("--frame", min=0, help="Frame of --grid, --mask and --corners.")]
Model = Annotated[str, typer.Option("--model", "-m", help="Tracker; `tapkit models` lists them.")]
Weights = Annotated[Path | None, typer.Option("--weights", help="Checkpoint file, instead of the official one.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]
Option = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="An option of the model. Repeatable.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]


def read_points(
    source: Source,
    *,
    grid: int | None,
    points: Path | None,
    at: list[str] | None,
    mask: Path | None,
    corners: int | None,
    frame: int,
) -> Queries:
    """The points that the options ask for; a 16 x 16 grid if they ask for none."""
    from tapkit.api import make_queries
    from tapkit.types import Queries

    parts = [_points_of(points)] if points is not None else []
    if at:
        parts.append(Queries.of([_triple(text) for text in at]))
    if grid is None and mask is None and corners is None and not parts:
        grid = 16
    given = parts[0] if len(parts) == 1 else None
    if len(parts) == 2:
        given = Queries.join([parts[0], parts[1].with_ids(f"at{i}" for i in range(len(parts[1])))])
    return make_queries(source, given, grid=grid, mask=read_mask(mask), corners=corners, frame=frame)


def _is_tracks(path: Path) -> bool:
    return path.suffix.lower() in (".npz", ".zarr")


def _points_of(path: Path) -> Queries:
    from tapkit.types import Queries, Tracks

    return Tracks.load(path).queries if _is_tracks(path) else Queries.read_csv(path)


def read_keyframes(points: Path | None) -> Keyframes | None:
    """The positions that a human set in the tracks of --points; None if it names none."""
    from tapkit.types import Tracks

    if points is None or not _is_tracks(points):
        return None
    return Tracks.load(points).keyframes()


def _triple(text: str) -> tuple[float, float, float]:
    try:
        t, x, y = (float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--at takes frame,x,y such as 0,310.5,122, got {text!r}") from error
    return t, x, y


def read_mask(path: Path | None) -> Any:
    """The mask [H,W] bool in an image file: its non-black pixels. Raises `UsageError`."""
    if path is None:
        return None
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L")) > 0
    except (OSError, UnidentifiedImageError) as error:
        raise UsageError(f"the mask {path} cannot be read as an image") from error


def load_tracker(
    model: str, weights: Path | None, device: str, options: list[str] | None, quiet: bool = False
) -> Tracker:
    """The tracker, with a line about its licence if that forbids commercial use, and the download shown."""
    from tapkit import api, registry

    card = registry.card(model)
    if not card.commercial and not quiet:
        say(f"note: the weights of {card.id} are {card.weights_licence}: not for commercial use")
    return api.load(model, weights, device, report=None if quiet else Download(card.id), **read_options(options))


class Download:
    """Says how far a download is, at most once a second."""

    def __init__(self, name: str) -> None:
        self.name, self.last = name, 0.0

    def __call__(self, done: int, total: int | None) -> None:
        if time.monotonic() - self.last > 1:
            self.last = time.monotonic()
            say(f"fetching weights of {self.name}: {done >> 20} of {(total or 0) >> 20 or '?'} MB")


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
            text = f"{what} {now.points} points, {now.stage}, frame {now.frame}"
            bar.update(task, total=now.total, completed=now.done, rate=speed(rate(now.done)), description=text)

        yield report


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
        say(f"{self.what} {now.points} points, {now.stage}: frame {now.frame}{share}, {speed(rate)}{left}")


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

"""`tapkit live`: a camera, a stream or a file, tracked as it plays."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from tapkit.cli import options as o
from tapkit.errors import UsageError
from tapkit.registry import DEFAULT

if TYPE_CHECKING:
    from tapkit.engine.recorder import Recorder
    from tapkit.engine.session import Session
    from tapkit.engine.tracker import Tracker
    from tapkit.types import FrameResult, Queries
    from tapkit.video.base import Frame, Source


def live(
    source: Annotated[
        str, typer.Argument(help="Camera number (0), stream URL, or a file, played as it was recorded.")
    ] = "0",
    grid: o.Grid = None,
    points: o.Points = None,
    at: o.At = None,
    corners: o.Corners = None,
    model: o.Model = DEFAULT,
    weights: o.Weights = None,
    device: o.Device = "auto",
    option: o.Option = None,
    record: Annotated[Path | None, typer.Option(help="Record the overlay: .mp4, .webm, .gif.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Record the tracks: .npz, .zarr, .csv.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="Stop after that long.")] = None,
    every_frame: Annotated[
        bool,
        typer.Option(
            "--every-frame", help="Of a file, track every frame instead of leaving out those that come too fast."
        ),
    ] = False,
    quiet: o.Quiet = False,
) -> None:
    """Track on a camera, a stream or a file as it plays; Ctrl-C ends it and keeps what was recorded.

    Shows frames/s, latency (from a frame's arrival to its result) and the number of visible points.

      tapkit live 0 --grid 10 --record out.mp4
      tapkit live clip.mp4 --corners 200 -o tracks.csv
    """
    from tapkit.video import open_video

    tracker = o.load_tracker(model, weights, device, option, quiet)
    if tracker.card.streaming == "offline":
        raise UsageError(
            f"{model} needs the whole clip; live tracking takes a causal or windowed tracker (tapkit models)"
        )
    with open_video(f"camera:{source}" if source.isdigit() else source) as opened:
        frames = opened.frames() if every_frame or opened.live else _as_it_plays(opened)
        first = next(frames, None)
        if first is None:
            raise UsageError(f"{source} gave no frame")
        queries = _points(first, opened, grid=grid, points=points, at=at, corners=corners)
        with contextlib.ExitStack() as stack:
            sinks = _Sinks(stack, opened, tracker, queries, record, output)
            screen = stack.enter_context(_screen(quiet, tracker.card.id))
            _run(tracker.start(_unbounded(opened), queries), _until(first, frames, seconds), sinks, screen)
    for path in (record, output):
        if path is not None and not quiet:
            print(path)


def _unbounded(source: Source) -> Any:
    from dataclasses import replace

    return replace(source.info, frames=None, times=None)


def _points(first: Frame, source: Source, *, corners: int | None, **chosen: Any) -> Queries:
    """The points asked for, on the first frame."""
    from tapkit.types import Queries

    if corners is not None:
        return Queries.corners(first.image, corners)
    return o.read_points(source, mask=None, corners=None, frame=0, **chosen)


def _as_it_plays(source: Source) -> Iterator[Frame]:
    """Frames of a file at the times they are shown; those whose time has passed are left out."""
    began: float | None = None
    number = 0
    for frame in source.frames():
        now = time.perf_counter()
        began = now - frame.time if began is None else began
        late = now - began - frame.time
        if late > 0.5 / float(source.info.fps) and number:
            continue
        if late < 0:
            time.sleep(-late)
        yield frame._replace(index=number)
        number += 1


def _until(first: Frame, rest: Iterator[Frame], seconds: float | None) -> Iterator[Frame]:
    began = time.perf_counter()
    yield first
    for frame in rest:
        yield frame
        if seconds is not None and time.perf_counter() - began > seconds:
            return


def _run(session: Session, frames: Iterator[Frame], sinks: _Sinks, screen: _Screen) -> None:
    """Step until the frames end or Ctrl-C is pressed."""
    with contextlib.suppress(KeyboardInterrupt):
        for frame in frames:
            started = time.perf_counter()
            results = session.step(frame.image)
            screen.step(time.perf_counter() - started, results, session.latency)
            sinks.take(frame, results)
    sinks.end(session.finish())


class _Sinks:
    """Where results go: the recorded overlay and the recorded tracks.

    A result may come later than its frame (windowed trackers); frames wait here until theirs has come.
    """

    def __init__(
        self,
        stack: contextlib.ExitStack,
        source: Source,
        tracker: Tracker,
        queries: Queries,
        record: Path | None,
        output: Path | None,
    ) -> None:
        from tapkit._version import __version__
        from tapkit.engine.recorder import Recorder
        from tapkit.types import Provenance

        card = tracker.card
        provenance = Provenance.of(card, __version__, tracker.weights_sha256, **tracker.model.options, live=True)
        self.recorder: Recorder | None = None
        if output is not None:
            self.recorder = stack.enter_context(Recorder(output, source.info, queries, provenance))
        self.picture: Any = None
        if record is not None:
            from tapkit.video.writer import VideoWriter
            from tapkit.viz.draw import Drawer, Style

            writer = stack.enter_context(VideoWriter(record, source.info))
            self.picture = (writer, Drawer(source.info, Style(), queries=queries, source=provenance))
        self.waiting: deque[Frame] = deque()
        self.known: dict[int, list[Any]] = {}

    def take(self, frame: Frame, results: list[Any]) -> None:
        if self.recorder is not None:
            self.recorder.frame(frame.time)
        if self.picture is not None:
            self.waiting.append(frame)
        for result in results:
            if self.recorder is not None:
                self.recorder.add(result)
            if self.picture is not None:
                self.known.setdefault(result.frame, []).append(result)
        if results:
            self._draw(until=results[-1].frame)

    def end(self, results: list[Any]) -> None:
        for result in results:
            if self.recorder is not None:
                self.recorder.add(result)
            self.known.setdefault(result.frame, []).append(result)
        if self.waiting:
            self._draw(until=self.waiting[-1].index)

    def _draw(self, until: int) -> None:
        while self.waiting and self.waiting[0].index <= until:
            frame = self.waiting.popleft()
            writer, drawer = self.picture
            writer.write(drawer.draw(frame.image, _merged(self.known.pop(frame.index, []), frame.index)), frame.time)


def _merged(results: list[FrameResult], frame: int) -> FrameResult:
    """All that was said about one frame as one result."""
    from tapkit.types import FrameResult

    empty = np.zeros(0, np.float32)
    none = FrameResult(frame, np.zeros(0, np.str_), np.zeros((0, 2), np.float32), empty, empty)
    parts = [none, *results]
    return FrameResult(
        frame,
        np.concatenate([r.ids for r in parts]),
        np.concatenate([r.xy for r in parts]),
        np.concatenate([r.visible for r in parts]),
        np.concatenate([r.confidence for r in parts]),
    )


class _Screen:
    """Shows how it goes, a few times a second."""

    def __init__(self, show: Any) -> None:
        self.show, self.last, self.count = show, 0.0, 0
        self.times: deque[float] = deque(maxlen=60)
        self.arrivals: deque[float] = deque(maxlen=60)

    def step(self, seconds: float, results: list[Any], latency: int) -> None:
        now = time.perf_counter()
        self.count += 1
        self.times.append(seconds)
        self.arrivals.append(now)
        if now - self.last < 0.2 or len(self.arrivals) < 2:
            return
        self.last = now
        rate = (len(self.arrivals) - 1) / (self.arrivals[-1] - self.arrivals[0])
        newest = results[-1] if results else None
        seen = f"{int((newest.visible > 0.5).sum())}/{len(newest.ids)}" if newest else "-"
        delay = 1e3 * sum(self.times) / len(self.times) + 1e3 * latency / rate
        self.show(
            f"frame {self.count}  {rate:5.1f} frames/s  latency {delay:5.0f} ms ({latency} frames)  visible {seen}"
        )


@contextlib.contextmanager
def _screen(quiet: bool, name: str) -> Iterator[_Screen]:
    import sys

    if quiet:
        yield _Screen(lambda text: None)
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.status import Status

        with Status(name, console=Console(stderr=True)) as status:
            yield _Screen(lambda text: status.update(f"{name}  {text}"))
    else:
        last = [0.0]

        def line(text: str) -> None:
            if time.monotonic() - last[0] > 2:
                last[0] = time.monotonic()
                o.say(text)

        yield _Screen(line)

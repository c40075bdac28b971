"""`tapkit live`: a camera, a stream or a file, tracked as it plays."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tapkit.cli import options as o
from tapkit.cli.outputs import Force, claim
from tapkit.errors import UsageError
from tapkit.registry import DEFAULT

if TYPE_CHECKING:
    from tapkit.engine.control import Progress
    from tapkit.engine.session import Session
    from tapkit.sinks import Sink
    from tapkit.types import FrameResult, Provenance, Queries
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
    smooth: Annotated[
        bool, typer.Option("--smooth", help="Smooth what is recorded: still points stay still, fast ones are followed.")
    ] = False,
    seconds: Annotated[float | None, typer.Option(min=0, help="Stop after that long.")] = None,
    every_frame: Annotated[
        bool,
        typer.Option(
            "--every-frame", help="Of a file, track every frame instead of leaving out those that come too fast."
        ),
    ] = False,
    cuts: Annotated[
        Literal["ignore", "note", "redetect"],
        typer.Option(
            help="At a scene cut: nothing, say so at the end, or also track corners of the new scene instead."
        ),
    ] = "note",
    force: Force = False,
    quiet: o.Quiet = False,
) -> None:
    """Track on a camera, a stream or a file as it plays; Ctrl-C ends it and keeps what was recorded.

    Shows frames/s, latency (from a frame's arrival to its result) and the number of visible points.

      tapkit live 0 --grid 10 --record out.mp4
      tapkit live clip.mp4 --corners 200 -o tracks.csv
    """
    from tapkit import registry
    from tapkit.engine.control import Control
    from tapkit.engine.run import run
    from tapkit.sinks import OneEuro
    from tapkit.video import open_video
    from tapkit.video.pace import as_it_plays, for_seconds

    if registry.card(model).streaming == "offline":
        raise UsageError(
            f"{model} needs the whole clip; live tracking takes a causal or windowed tracker (tapkit models)"
        )
    claim(output, videos=[record], inputs=[source, points, weights], force=force)
    with open_video(f"camera:{source}" if source.isdigit() else source) as opened:
        tracker = o.load_tracker(model, weights, device, option, quiet)
        queries = o.read_points(opened, grid=grid, points=points, at=at, mask=None, corners=corners, frame=0)
        said = tracker.provenance(live=True, **({"smooth": "one-euro"} if smooth else {}))
        session = tracker.start(replace(opened.info, frames=None, times=None), queries, cuts=cuts)
        with _screen(quiet, tracker.card.id, said, session.latency) as screen:
            recording = _recording(opened, session, said, queries, record, output)
            sinks = [screen, *(OneEuro(sink, said) if smooth else sink for sink in recording)]
            frames = opened.frames() if every_frame or opened.live else as_it_plays(opened)
            run(session, for_seconds(frames, seconds), sinks, Control(screen.progress, interrupt="stop"))
        left_out = screen.left_out + getattr(opened, "dropped", 0)
    if quiet:
        return
    if left_out:
        o.say(f"{left_out} frames came too fast and were left out; {session.frame} were tracked")
    if session.cuts:
        o.say(f"scene cuts at the tracked frames {', '.join(map(str, session.cuts))}")
    for path in (record, output):
        if path is not None:
            print(path)


def _recording(
    source: Source, session: Session, said: Provenance, queries: Queries, record: Path | None, output: Path | None
) -> list[Sink]:
    """The recorded overlay and the recorded tracks, where they are wanted."""
    from tapkit.sinks import Overlay, Recorder

    sinks: list[Sink] = []
    if output is not None:
        sinks.append(Recorder(output, source.info, said))
    if record is not None:
        sinks.append(Overlay(record, source.info, latency=session.latency, queries=queries, source=said))
    return sinks


class _Screen:
    """A sink that shows how it goes, a few times a second."""

    def __init__(self, show: Callable[[str], object], said: Provenance, latency: int) -> None:
        self._show, self._said, self._latency = show, said, latency
        self._last, self._seen = 0.0, "-"
        self.left_out = 0
        """Frames of a file that were passed over to keep up with it."""
        self._index: int | None = None
        self._times: deque[float] = deque(maxlen=60)
        self._arrivals: deque[float] = deque(maxlen=60)

    def frame(self, frame: Frame) -> None:
        """See `Sink`."""
        self._arrivals.append(time.perf_counter())
        self.left_out += 0 if self._index is None else frame.index - self._index - 1
        self._index = frame.index

    def result(self, result: FrameResult) -> None:
        """See `Sink`: how many points count as visible, by the rule of the model's authors."""
        visible = self._said.visible_at(result.visible, result.confidence)
        self._seen = f"{int(visible.sum())}/{len(visible)}"

    def finish(self) -> None:
        """See `Sink`."""

    def progress(self, now: Progress) -> None:
        """After every frame."""
        self._times.append(now.seconds)
        if time.perf_counter() - self._last < 0.2 or len(self._arrivals) < 2:
            return
        self._last = time.perf_counter()
        rate = (len(self._arrivals) - 1) / (self._arrivals[-1] - self._arrivals[0])
        delay = 1e3 * sum(self._times) / len(self._times) + 1e3 * self._latency / rate
        self._show(
            f"frame {now.done}  {o.speed(rate):>12}  latency {delay:5.0f} ms ({self._latency} frames)  "
            f"visible {self._seen}"
        )


@contextlib.contextmanager
def _screen(quiet: bool, name: str, said: Provenance, latency: int) -> Iterator[_Screen]:
    import sys

    if quiet:
        yield _Screen(lambda text: None, said, latency)
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.status import Status

        with Status(name, console=Console(stderr=True)) as status:
            yield _Screen(lambda text: status.update(f"{name}  {text}"), said, latency)
    else:
        last = [0.0]

        def line(text: str) -> None:
            if time.monotonic() - last[0] > 2:
                last[0] = time.monotonic()
                o.say(text)

        yield _Screen(line, said, latency)

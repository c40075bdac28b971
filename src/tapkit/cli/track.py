"""`tapkit track`: a video goes in, tracks and an overlay come out."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tapkit.cli import footage as f
from tapkit.cli import options as o
from tapkit.cli.outputs import Force, beside, claim
from tapkit.errors import UsageError
from tapkit.registry import DEFAULT

if TYPE_CHECKING:
    from tapkit.engine.tracker import Tracker
    from tapkit.sinks import Sink
    from tapkit.types import Queries
    from tapkit.types.skeleton import Skeleton
    from tapkit.video.base import Source


def track(
    video: Annotated[str, typer.Argument(help="Video file, folder or pattern of images ('frames/*.jpg'), URL.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where the tracks go: .npz, .zarr, .csv, .parquet. [VIDEO.tracks.npz]"),
    ] = None,
    overlay: Annotated[
        Path | None,
        typer.Option("--overlay", help="Also draw them: .mp4, .webm, .gif, or a pattern such as out/%05d.png."),
    ] = None,
    grid: o.Grid = None,
    points: o.Points = None,
    at: o.At = None,
    mask: o.Mask = None,
    corners: o.Corners = None,
    frame: o.OnFrame = 0,
    skeleton: o.Skeleton = None,
    model: o.Model = DEFAULT,
    weights: o.Weights = None,
    device: o.Device = "auto",
    option: o.Option = None,
    direction: Annotated[
        Literal["both", "forward", "backward"], typer.Option(help="Both ways from each point's frame, or one.")
    ] = "both",
    memory: Annotated[str | None, typer.Option(help='Budget such as "2GB".')] = None,
    start: f.Start = None,
    end: f.End = None,
    step: f.Step = 1,
    value_range: f.ValueRange = None,
    stream: f.Stream = None,
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    quiet: o.Quiet = False,
) -> None:
    """Track points through a video.

    Without --grid, --points, --at, --mask or --corners, a grid of 16 x 16 points on --frame is tracked.
    Interrupted with Ctrl-C, the same command continues where it stopped. With --points TRACKS.npz, the points of a
    result are tracked again, through every position that a human set (tapkit import marks them).

      tapkit track clip.mp4 --grid 20 --overlay clip.overlay.mp4
      tapkit track clip.mp4 --at 0,310.5,122 --at 30,20,40 -o two.csv
    """

    target = output or beside(video, ".tracks.npz")
    read = [video, points, mask, weights]
    # A run that was interrupted has left its overlay as far as it came: the same command makes it anew.
    resumed = target.with_name(target.name + ".partial").exists()
    claim(target, inputs=read, force=force)
    claim(target, videos=[overlay], inputs=read, force=force or resumed)
    with f.open_footage(
        video, start, end, step, value_range, stream
    ) as source:  # first of all: a name mistyped must not cost a download of weights
        tracker = o.load_tracker(model, weights, device, option, quiet)
        queries = o.read_points(source, grid=grid, points=points, at=at, mask=mask, corners=corners, frame=frame)
        edges = o.read_skeleton(skeleton, points, queries)
        started = time.perf_counter()
        with o.progress_of("tracking", quiet) as progress:
            try:
                tracker.track_to(
                    target,
                    source,
                    queries,
                    direction=direction,
                    memory=memory,
                    progress=progress,
                    keyframes=o.read_keyframes(points),
                    sinks=_sinks(overlay, source, tracker, queries, edges),
                    skeleton=edges,
                )
            except KeyboardInterrupt:
                o.say(f"interrupted; what is done is kept in {target}.partial: the same command continues from there")
                raise
    seconds = time.perf_counter() - started
    summary = {
        "tracks": str(target),
        "overlay": str(overlay) if overlay else None,
        "points": len(queries),
        "frames": source.info.frames,
        "seconds": round(seconds, 3),
        "model": model,
    }
    if as_json:
        print(json.dumps(summary))
    elif not quiet:
        print(f"{target}: {len(queries)} points in {seconds:.1f} s" + (f"; overlay {overlay}" if overlay else ""))


def _sinks(path: Path | None, source: Source, tracker: Tracker, queries: Queries, edges: Skeleton) -> list[Sink]:
    """The overlay, where one is wanted. Its frames are decoded a second time, at their full size."""
    if path is None:
        return []
    if source.live:
        raise UsageError(
            "the overlay of a stream cannot be drawn afterwards; `tapkit live --record` draws while it plays"
        )
    from tapkit.sinks import Overlay

    said = tracker.provenance()
    return [
        Overlay(path, source.info, pictures=source.frames(), queries=queries, source=said, sound=True, skeleton=edges)
    ]

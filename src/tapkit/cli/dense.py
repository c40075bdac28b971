"""`tapkit dense`: every pixel of one frame, through the whole clip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tapkit.cli import footage as f
from tapkit.cli import options as o
from tapkit.cli.outputs import Force, beside, claim


def dense(
    video: Annotated[str, typer.Argument(help="Video file, folder or pattern of images.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A .zarr folder. [VIDEO.dense.zarr]")] = None,
    frame: Annotated[int, typer.Option(min=0, help="Whose pixels are tracked.")] = 0,
    step: Annotated[int, typer.Option(min=1, help="Pixels between two points.")] = 1,
    model: o.Model = "cotracker3-offline",
    weights: o.Weights = None,
    device: o.Device = "auto",
    option: o.Option = None,
    direction: Annotated[
        Literal["both", "forward", "backward"], typer.Option(help="Both ways from the frame, or one.")
    ] = "both",
    memory: Annotated[str, typer.Option(help="Budget of the network.")] = "2GB",
    start: f.Start = None,
    end: f.End = None,
    every: f.Every = 1,
    value_range: f.ValueRange = None,
    stream: f.Stream = None,
    force: Force = False,
    quiet: o.Quiet = False,
) -> None:
    """Track every pixel (or every k-th) of one frame through a clip; interrupted, the same command continues.

    tapkit dense clip.mp4 --frame 10 --step 4 -o clip.dense.zarr
    """
    from tapkit.engine.dense import track_dense

    target = output or beside(video, ".dense.zarr")
    claim(target, inputs=[video, weights], force=force)
    with f.open_footage(
        video, start, end, every, value_range, stream
    ) as source:  # first of all: a name mistyped must not cost a download of weights
        tracker = o.load_tracker(model, weights, device, option, quiet)
        with o.progress_of("tracking", quiet) as progress:
            print(track_dense(tracker, source, target, frame, step, memory, direction, progress))

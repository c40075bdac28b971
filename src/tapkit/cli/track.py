"""`tapkit track`: a video goes in, tracks and an overlay come out."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import typer

from tapkit.cli import footage as f
from tapkit.cli import options as o
from tapkit.cli.clips import clips_of
from tapkit.cli.outputs import Force, beside
from tapkit.cli.tracking import Asked, Batch, claim_results, show
from tapkit.registry import DEFAULT


def track(
    videos: Annotated[
        list[str],
        typer.Argument(
            metavar="VIDEO...",
            help="Video file, folder or pattern of images ('frames/*.jpg'), URL; or several, or a folder of videos.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Where the tracks go: .npz, .zarr, .csv, .parquet; a folder if there are several videos. "
            "[VIDEO.tracks.npz]",
        ),
    ] = None,
    overlay: Annotated[
        Path | None,
        typer.Option(
            "--overlay",
            help="Also draw them: .mp4, .webm, .gif, or a pattern such as out/%05d.png; a folder if there are several "
            "videos.",
        ),
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

    Of several videos each is tracked by itself; one that fails is reported and passed over (exit code 1), one whose
    tracks are there already is left alone.

      tapkit track takes/ --grid 10 --overlay takes
    """
    clips, several = clips_of(videos)
    asked = Asked(
        grid,
        points,
        at,
        mask,
        corners,
        frame,
        direction,
        memory,
        start,
        end,
        step,
        value_range,
        stream,
        quiet,
        skeleton,
    )
    load = cache(lambda: o.load_tracker(model, weights, device, option, quiet))
    if several:
        batch = Batch(asked, load, [points, mask, weights], force)
        summaries = batch.run(clips, output, overlay)
        if as_json:
            print(json.dumps(summaries))
        if any("error" in each for each in summaries):
            raise typer.Exit(1)
        return
    target = output or beside(clips[0], ".tracks.npz")
    claim_results(target, overlay, [clips[0], points, mask, weights], force)
    summary = asked.track(clips[0], target, overlay, load)
    if as_json:
        print(json.dumps(summary))
    elif not quiet:
        show(summary)

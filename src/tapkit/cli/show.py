"""`tapkit show`: look at stored tracks over their video without writing a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tapkit.cli import footage as f
from tapkit.cli import options as o
from tapkit.cli.outputs import present


def show(
    video: Annotated[str, typer.Argument(help="Video file, folder or pattern of images.")],
    tracks: Annotated[Path, typer.Argument(help="Tracks (.npz, .zarr, .csv, .parquet) of it.")],
    viewer: Annotated[
        Literal["auto", "rerun", "page"],
        typer.Option(help="The rerun viewer, or a page in the browser. [rerun if it is installed]"),
    ] = "auto",
    points: Annotated[str | None, typer.Option(help="Only these ids, with commas.")] = None,
    frame: Annotated[int, typer.Option("--frame", min=0, help="The frame that the page shows first.")] = 0,
    skeleton: o.Skeleton = None,
    threshold: Annotated[
        float | None, typer.Option(help="Visible from this score on. [the model authors' own]")
    ] = None,
    browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page, or only print where it is.")] = True,
    start: f.Start = None,
    end: f.End = None,
    step: f.Step = 1,
    value_range: f.ValueRange = None,
    stream: f.Stream = None,
    quiet: o.Quiet = False,
) -> None:
    """Look at stored tracks over their video, in the rerun viewer or in the browser. Nothing is written but to a
    temporary folder.

    tapkit show clip.mp4 clip.tracks.npz

    tapkit show clip.mp4 clip.tracks.npz --viewer page --frame 66
    """
    f.present_video(video)
    present(tracks)
    import shutil
    import webbrowser

    from tapkit.apps import show as app
    from tapkit.errors import require
    from tapkit.types import Tracks
    from tapkit.types.skeleton import parse_skeleton

    if viewer == "rerun":
        require("rerun", "rerun")
    stored = Tracks.load(tracks)
    if points:
        stored = stored[[name.strip() for name in points.split(",")]]
    if skeleton is not None:
        stored = stored.with_(skeleton=parse_skeleton(skeleton, stored.ids.tolist()))
    folder = app.temporary_folder()
    kept = False
    try:
        with f.open_footage(video, start, end, step, value_range, stream) as source:
            wanted = viewer == "rerun" or (viewer == "auto" and browser and app.rerun_there())
            if wanted and app.show_in_rerun(source, stored, folder, threshold):
                return
            if wanted:
                o.say("the rerun viewer failed: a page instead")
            page = app.write_page(source, stored, folder, threshold, frame)
        kept = True
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
    opened = browser and webbrowser.open(page.as_uri())
    if not opened and browser and not quiet:
        o.say("no browser was found: open this page in one")
    if not quiet or not opened:
        print(page)

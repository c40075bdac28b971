"""`tapkit draw`: stored tracks over their video."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tapkit.cli import footage as f
from tapkit.cli import options as o
from tapkit.cli.outputs import Force, claim, present


def draw(
    video: Annotated[str, typer.Argument(help="Video file, folder or pattern of images.")],
    tracks: Annotated[
        Path,
        typer.Argument(help="Tracks (.npz, .zarr, .csv, .parquet) of it, or what tapkit dense or tapkit flow wrote."),
    ],
    output: Annotated[
        Path, typer.Argument(help="Where to: .mp4, .webm, .gif, .mov, or a pattern such as out/%05d.png.")
    ],
    trail: Annotated[
        int | None,
        typer.Option(min=0, help="Frames after which a trail has faded; 0: none. [24; none in a crowd]"),
    ] = None,
    radius: Annotated[float | None, typer.Option(help="Of the dots in pixels. [by resolution and crowd]")] = None,
    color: Annotated[str, typer.Option(help="auto, position, point, id, confidence, or a colour (#ffaa00).")] = "auto",
    occluded: Annotated[
        Literal["hollow", "dashed", "hide"], typer.Option(help="How to show occluded points.")
    ] = "hollow",
    threshold: Annotated[
        float | None, typer.Option(help="Visible from this score on. [the model authors' own]")
    ] = None,
    lines: Annotated[
        int | None, typer.Option("--grid-lines", help="Spacing of faint coordinate lines in pixels.")
    ] = None,
    labels: Annotated[bool, typer.Option("--labels", help="Write the ids beside the points.")] = False,
    marks: Annotated[
        bool, typer.Option("--marks/--no-marks", help="Rings around points that jumped (red) or are unsure (amber).")
    ] = True,
    font: Annotated[
        Path | None, typer.Option(help="Font file for the ids. [one of this machine that has the letters]")
    ] = None,
    skeleton: o.Skeleton = None,
    dim: Annotated[float, typer.Option(min=0, max=1, help="Darken the footage by this much.")] = 0.0,
    kind: Annotated[
        Literal["dots", "flow", "grid"],
        typer.Option("--style", help="Of dense results: coloured dots, the flow wheel's colours, a warped grid."),
    ] = "dots",
    scale: Annotated[
        float | None, typer.Option(help="flow: pixels shown in full colour. [what 95 % of the cells stay below]")
    ] = None,
    spacing: Annotated[int | None, typer.Option(help="grid: pixels between lines. [a 24th of the longer side]")] = None,
    start: f.Start = None,
    end: f.End = None,
    step: f.Step = 1,
    value_range: f.ValueRange = None,
    stream: f.Stream = None,
    force: Force = False,
    quiet: o.Quiet = False,
) -> None:
    """Draw stored tracks over their video: trails that fade, hollow where occluded, faint where unsure.
    The skeleton that the tracks have, or that of --skeleton, is drawn too.

    tapkit draw clip.mp4 clip.tracks.npz clip.overlay.mp4 --labels

    tapkit draw clip.mp4 clip.dense.zarr clip.warped.mp4 --style grid
    """
    f.present_video(video)
    present(tracks)
    from tapkit.engine.progress import drawn
    from tapkit.errors import UsageError
    from tapkit.export.dense_files import is_dense, load_dense
    from tapkit.types import Tracks
    from tapkit.types.skeleton import parse_skeleton
    from tapkit.viz.dense import DenseStyle, draw_dense
    from tapkit.viz.draw import Style, draw_video

    style = Style(
        trail=trail,
        radius=radius,
        color=color,
        occluded=occluded,
        threshold=threshold,
        grid=lines,
        labels=labels,
        marks=marks,
        font=font,
        dim=dim,
    )
    claim(videos=[output], inputs=[video, tracks], force=force)
    if is_dense(tracks):
        if skeleton is not None:
            raise UsageError("--skeleton is for tracks of single points, not for dense results")
        look = DenseStyle(kind, scale, spacing, dots=style)
        dense = load_dense(tracks)
        with (
            f.open_footage(video, start, end, step, value_range, stream) as source,
            o.progress_of("drawing", quiet) as report,
        ):
            draw_dense(source, dense, output, look, progress=drawn(report, 0))
    else:
        stored = Tracks.load(tracks)
        if skeleton is not None:
            stored = stored.with_(skeleton=parse_skeleton(skeleton, stored.ids.tolist()))
        if kind != "dots" or scale is not None or spacing is not None:
            raise UsageError("--style, --scale and --spacing are for dense results, which tapkit dense or flow writes")
        with (
            f.open_footage(video, start, end, step, value_range, stream) as source,
            o.progress_of("drawing", quiet) as report,
        ):
            draw_video(source, stored, output, style=style, progress=drawn(report, len(stored)))
    if not quiet:
        print(output)

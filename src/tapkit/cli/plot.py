"""`tapkit plot`: positions, speeds and confidence over time, and paths."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tapkit.cli import options as o
from tapkit.cli.outputs import Force, claim, present

Scale = Annotated[str | None, typer.Option(help='What a pixel is worth, such as "0.12 mm". [pixels]')]
Points = Annotated[str | None, typer.Option(help="Only these ids, with commas.")]
Smooth = Annotated[int | None, typer.Option(min=3, help="Smooth positions over this many frames first, an odd number.")]
Hidden = Annotated[bool, typer.Option("--hidden", help="Use positions of frames in which a point was not seen, too.")]
Threshold = Annotated[float | None, typer.Option(help="Visible from this score on. [the model authors' own]")]


def plot(
    tracks: Annotated[Path, typer.Argument(help="Tracks (.npz, .zarr, .csv, .parquet).")],
    output: Annotated[
        Path | None, typer.Argument(help="Where to: .png, .svg, .pdf or .html. [TRACKS.plot.png beside the tracks]")
    ] = None,
    what: Annotated[
        str, typer.Option("--what", "-w", help="With commas: x, y, speed, visible, confidence, paths.")
    ] = "x,y,speed",
    points: Points = None,
    scale: Scale = None,
    smooth: Smooth = None,
    threshold: Threshold = None,
    hidden: Hidden = False,
    force: Force = False,
    quiet: o.Quiet = False,
) -> None:
    """Plot positions, speeds or confidence over time, or the paths; jumps are marked.

    tapkit plot clip.tracks.npz

    tapkit plot clip.tracks.npz paths.svg --what paths --points nose,tail

    tapkit plot clip.tracks.npz speeds.html --what speed,visible --scale "0.12 mm" --smooth 9
    """
    present(tracks)
    from tapkit.export.library import beside
    from tapkit.viz.plots import write_plot

    target = output or beside(tracks, "plot", ".png").with_name(f"{_stem(tracks)}.plot.png")
    claim(target, inputs=[tracks], force=force)
    kinds = tuple(name.strip() for name in what.split(",") if name.strip())
    write_plot(prepared(tracks, points, smooth), target, kinds, **measured(scale, threshold, hidden))  # type: ignore[arg-type]
    if not quiet:
        print(target)


def prepared(path: Path, points: str | None, smooth: int | None):  # type: ignore[no-untyped-def]
    """The tracks that are meant, smoothed as asked."""
    from tapkit.types import Tracks

    tracks = Tracks.load(path)
    if points:
        tracks = tracks[[name.strip() for name in points.split(",")]]
    return tracks if smooth is None else tracks.smooth(smooth)


def measured(scale: str | None, threshold: float | None, hidden: bool):  # type: ignore[no-untyped-def]
    """Arguments that plots and statistics share."""
    from tapkit.motion import Scale

    return {"scale": Scale() if scale is None else Scale.parse(scale), "threshold": threshold, "hidden": hidden}


def _stem(tracks: Path) -> str:
    return tracks.name.removesuffix(tracks.suffix).removesuffix(".tracks")

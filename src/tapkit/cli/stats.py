"""`tapkit stats`: distances, speeds, visibility and jumps of each point."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tapkit.cli import options as o
from tapkit.cli import plot as p
from tapkit.cli.outputs import Force, claim, present

SHOWN = ("id", "visible_share", "duration", "path_length", "mean_speed", "max_speed", "gaps", "jumps")
"""Columns of the printed table; files have all."""
STORED = "stored"
"""What --skeleton says for the skeleton that the tracks have."""


def stats(
    tracks: Annotated[Path, typer.Argument(help="Tracks (.npz, .zarr, .csv, .parquet).")],
    output: Annotated[Path | None, typer.Argument(help="CSV file to write. [only print]")] = None,
    points: p.Points = None,
    scale: p.Scale = None,
    smooth: p.Smooth = None,
    threshold: p.Threshold = None,
    hidden: p.Hidden = False,
    skeleton: Annotated[
        str | None,
        typer.Option(
            metavar="A-B,B-C",
            help="Of a skeleton instead: length and angle of these edges, angles of the joints; "
            "'stored': of the edges that the tracks have.",
        ),
    ] = None,
    per_frame: Annotated[
        bool, typer.Option("--per-frame", help="With --skeleton: a line for each frame instead of mean, min and max.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all as JSON.")] = False,
    force: Force = False,
    quiet: o.Quiet = False,
) -> None:
    """How far and how fast each point went, how long it was seen, where it jumped. Units are in the columns' names.

    tapkit stats clip.tracks.npz

    tapkit stats clip.tracks.npz clip.stats.csv --scale "0.12 mm" --smooth 9

    tapkit stats clip.tracks.npz legs.csv --skeleton hip-knee,knee-ankle --per-frame
    """
    present(tracks)
    from tapkit.errors import UsageError
    from tapkit.motion import edge_rows, edge_stats, write_stats
    from tapkit.motion import stats as statistics
    from tapkit.types.skeleton import parse_skeleton

    if per_frame and skeleton is None:
        raise UsageError("--per-frame goes with --skeleton")
    if output is not None:
        claim(output, inputs=[tracks], force=force)
    chosen, measure = p.prepared(tracks, points, smooth), p.measured(scale, threshold, hidden)
    if skeleton is None:
        rows = statistics(chosen, **measure)
    else:
        if skeleton != STORED:
            chosen = chosen.with_(skeleton=parse_skeleton(skeleton, chosen.ids.tolist()))
        rows = (edge_rows if per_frame else edge_stats)(chosen, **measure)
    if output is not None:
        write_stats(rows, output)
    if as_json:
        print(json.dumps(rows))
    elif output is None:
        _print(rows, SHOWN if skeleton is None else ("",))
    elif not quiet:
        print(output)


def _print(rows: list[dict[str, Any]], wanted: tuple[str, ...]) -> None:
    from tapkit.errors import one_line

    names = [name for name in rows[0] if name.startswith(wanted)] if rows else []
    table = [[one_line(name) for name in names], *([_cell(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[k]) for line in table) for k in range(len(names))]
    for line in table:
        first, *others = zip(line, widths, strict=True)
        print("  ".join([one_line(first[0]).ljust(first[1]), *(cell.rjust(width) for cell, width in others)]))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)

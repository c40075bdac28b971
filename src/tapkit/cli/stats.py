"""`tapkit stats`: distances, speeds, visibility and jumps of each point."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tapkit.cli import options as o
from tapkit.cli import plot as p
from tapkit.cli.outputs import Force, claim

SHOWN = ("id", "visible_share", "duration", "path_length", "mean_speed", "max_speed", "gaps", "jumps")
"""Columns of the printed table; files have all."""


def stats(
    tracks: Annotated[Path, typer.Argument(help="Tracks (.npz, .zarr, .csv, .parquet).")],
    output: Annotated[Path | None, typer.Argument(help="CSV file to write. [only print]")] = None,
    points: p.Points = None,
    scale: p.Scale = None,
    smooth: p.Smooth = None,
    threshold: p.Threshold = None,
    hidden: p.Hidden = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all as JSON.")] = False,
    force: Force = False,
    quiet: o.Quiet = False,
) -> None:
    """How far and how fast each point went, how long it was seen, where it jumped. Units are in the columns' names.

    tapkit stats clip.tracks.npz

    tapkit stats clip.tracks.npz clip.stats.csv --scale "0.12 mm" --smooth 9
    """
    from tapkit.motion import stats as statistics
    from tapkit.motion import write_stats

    if output is not None:
        claim(output, inputs=[tracks], force=force)
    rows = statistics(p.prepared(tracks, points, smooth), **p.measured(scale, threshold, hidden))
    if output is not None:
        write_stats(rows, output)
    if as_json:
        print(json.dumps(rows))
    elif output is None:
        _print(rows)
    elif not quiet:
        print(output)


def _print(rows: list[dict[str, Any]]) -> None:
    from tapkit.errors import one_line

    names = [name for name in rows[0] if name.startswith(SHOWN)] if rows else []
    table = [names, *([_cell(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[k]) for line in table) for k in range(len(names))]
    for line in table:
        first, *others = zip(line, widths, strict=True)
        print("  ".join([one_line(first[0]).ljust(first[1]), *(cell.rjust(width) for cell, width in others)]))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)

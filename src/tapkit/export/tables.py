"""Tables: CSV long (a row for each position) and wide (a row for each frame), Parquet, DLTdv8 points.

CSV and Parquet are the table of `tapkit.types.table`, which `Tracks.save` writes as well: pixels, y down, (0, 0) the
outer corner of the top-left pixel. CSV begins with comment lines (#) that say so, unless comment=no.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from tapkit import coords
from tapkit.export.context import Context, listed
from tapkit.export.format import Format, Job, Option, flag
from tapkit.export.found import Found
from tapkit.export.text import NameRule, read_text, write_text
from tapkit.types import table
from tapkit.types.identity import Kind, Pick
from tapkit.types.sheet import delimiter_of, numbers

_CELLS = 1 << 19
"""Points x frames that are written at a time."""


def _head(job: Job) -> table.Head:
    edges = tuple((job.names[a], job.names[b]) for a, b in job.edges)
    return table.Head(replace(job.video, frames=job.tracks.frames), job.tracks.source, job.first, skeleton=edges)


def _rows(job: Job) -> Iterator[table.Rows]:
    """The keys of some points at a time."""
    tracks, human, asked = job.tracks, job.keyframe, job.tracks.queries.t
    step = max(_CELLS // max(tracks.frames, 1), 1)
    for start in range(0, len(job.names), step):
        point, frame = np.nonzero(job.keys.key[start : start + step])
        point += start
        yield table.Rows(
            point, frame, job.keys.xy[point, frame], tracks.visible[point, frame], tracks.confidence[point, frame],
            human[point, frame], frame == asked[point],
        )  # fmt: skip


def _long(job: Job, target: Path, comment: bool = True) -> None:
    table.write_csv(target, _head(job), job.names, _rows(job), comment)


def _parquet(job: Job, target: Path) -> None:
    table.write_parquet(target, _head(job), job.names, _rows(job))


def _found(content: table.Table, context: Context) -> Found:
    """What a table holds. One that tapkit wrote, or that has a confidence, is a model's work unless it marks keys."""
    if not len(content.point):
        raise context.damaged("it has no rows with a position")
    context.left_out(f"columns ({listed(content.ignored)})", len(content.ignored))
    context.left_out(
        f"further columns that name the points ({listed(content.merged)})",
        len(content.merged),
    )
    human = content.keyframe
    if human is None and (content.head is not None or content.confidence is not None):
        human = np.zeros(len(content.point), bool)
    head = content.head
    return Found(
        content.names, content.point, content.frame, content.xy, content.visible, content.confidence, human,
        first=None if head is None else head.first, video=content.video(), source=None if head is None else head.source,
        query=content.query, skeleton=() if head is None else head.skeleton,
    )  # fmt: skip


def _pick(context: Context) -> Pick:
    """One video and one camera are meant, one scorer is taken, all animals are."""

    def pick(kind: Kind, names: list[str]) -> list[str]:
        return context.some(kind, names) if kind == "animal" else [context.one(kind, names, first=kind != "video")]

    return pick


def _read_csv(path: Path, context: Context) -> Found:
    return _found(table.read_csv(path, _pick(context)), context)


def _read_parquet(path: Path, context: Context) -> Found:
    return _found(table.read_parquet(path, _pick(context)), context)


# -- wide ---------------------------------------------------------------------------------------------


def _matrix(parts: list[np.ndarray]) -> np.ndarray:
    """Arrays [N,T] as columns beside each other, point after point: [T, N * len(parts)]."""
    return np.stack(parts, 1).reshape(-1, parts[0].shape[1]).T


def _cells(values: np.ndarray, pattern: str, missing: str) -> Iterator[str]:
    """Rows of a matrix as text, `missing` for NaN."""
    known = np.isfinite(values)
    for row, here in zip(values.round(5).tolist(), known.tolist(), strict=True):
        yield ",".join([pattern % value if there else missing for value, there in zip(row, here, strict=True)]) + "\n"


def _wide(job: Job, target: Path, comment: bool = True) -> None:
    key = job.keys.key
    visible = np.where(key, job.tracks.visible, np.nan)
    values = _matrix([job.keys.xy[..., 0], job.keys.xy[..., 1], visible])

    def parts() -> Iterator[str]:
        out = io.StringIO()
        names = [table.shown(f"{name}_{part}") for name in job.names for part in ("x", "y", "visible")]
        csv.writer(out, lineterminator="\n").writerow(["frame", "time", *names])
        yield (table.comment_lines(_head(job)) if comment else "") + out.getvalue()
        lines = _cells(values, "%.8g", "")
        for number, time, line in zip(job.numbers.tolist(), job.tracks.times().tolist(), lines, strict=True):
            yield f"{number},{time:.6f},{line}"

    write_text(target, parts())


# -- DLTdv8 -------------------------------------------------------------------------------------------


def _dltdv(job: Job, target: Path) -> None:
    """DLTdv8 xypts: a row for each frame, ptN_cam1_X and _Y, the first pixel's centre is (1, 1), NaN where missing."""
    xy = coords.to_centers(job.keys.xy) + 1

    def parts() -> Iterator[str]:
        yield ",".join(f"pt{n}_cam1_{axis}" for n in range(1, len(job.names) + 1) for axis in "XY") + "\n"
        yield from _cells(_matrix([xy[..., 0], xy[..., 1]]), "%.5f", "NaN")

    write_text(target, parts())


def _read_dltdv(path: Path, context: Context) -> Found:
    """The points of one camera: the first, if none is asked for."""
    lines = [line for line in read_text(path).split("\n") if line.strip()]
    mark = delimiter_of(lines[0])
    head = [cell.strip().strip('"') for cell in lines[0].split(mark)]
    columns = {column: m for column, name in enumerate(head) if (m := re.fullmatch(r"pt(\d+)(_cam\d+)?_([XY])", name))}
    if 0 not in columns:
        raise context.damaged("its first column is not pt1_cam1_X")
    cameras = [(m[2] or "_cam1")[1:] for m in columns.values()]
    camera = context.one("camera", cameras, first=True)
    values = np.array([numbers(line.split(mark), mark != ",") for line in lines[1:]]).reshape(-1, len(head))
    places = {(int(m[1]), m[3]): c for (c, m), cam in zip(columns.items(), cameras, strict=True) if cam == camera}
    tracks = []
    for number in sorted({number for number, _ in places}):
        x, y = coords.from_centers(values[:, [places[number, axis] for axis in "XY"]] - 1).T
        frames = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
        tracks.append((f"pt{number}", frames, x[frames], y[frames]))
    context.left_out("columns that are not ptN_camN_X or _Y", len(head) - len(columns))
    return Found.of(tracks, positional=True, frames=len(values), first=0)


_LINE = NameRule(r"[\x00-\x1f]", 200)
_COMMENT = {"comment": Option(flag, "no: without the comment lines (#) on top")}
CSV = Format(
    "csv", ".csv", "CSV, a row for each position", _long, _read_csv, _LINE, occlusion=True, timing="times",
    skeletons=True, square_only=False, bytes_per_key=50, options=_COMMENT,
)  # fmt: skip
CSV_WIDE = Format(
    "csv-wide", ".csv", "CSV, a row for each frame", _wide, _read_csv, _LINE, occlusion=True, timing="times",
    skeletons=True, square_only=False, keeps_empty=True, bytes_per_key=24, options=_COMMENT,
)  # fmt: skip
PARQUET = Format(
    "parquet", ".parquet", "Parquet, a row for each position", _parquet, _read_parquet, _LINE, occlusion=True,
    timing="times", skeletons=True, square_only=False, bytes_per_key=26,
)  # fmt: skip
DLTDV = Format("dltdv", ".csv", "DLTdv8 xypts", _dltdv, _read_dltdv, timing="index", keeps_empty=True, bytes_per_key=22)

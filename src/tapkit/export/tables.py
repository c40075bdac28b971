"""Tables: CSV long (a row for each position) and wide (a row for each frame), Parquet, DLTdv8 points.

CSV and Parquet keep tapkit's own coordinates: pixels, y down, (0, 0) the outer corner of the top-left pixel. CSV
begins with comment lines (#) that say so, unless comment=no.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tapkit import coords
from tapkit.errors import require
from tapkit.export.format import Format, Job, Option, flag
from tapkit.export.found import Context, Found
from tapkit.export.text import NameRule, parse_rate, read_text, table, write_text
from tapkit.types import VideoInfo

COLUMNS = ("id", "frame", "time", "x", "y", "visible", "confidence", "keyframe")


def _facts(job: Job) -> dict[str, Any]:
    return {**job.video.to_dict(), "frames": job.tracks.frames, "first": job.first, "model": job.tracks.source.model}


def _comment(job: Job) -> str:
    video = job.video
    return (
        f"# tapkit tracks; x right, y down, pixels of the {video.width}x{video.height} video, (0,0) = outer corner of "
        f"the top-left pixel; fps {video.fps}; frames from {job.first}\n# {json.dumps(_facts(job))}\n"
    )


def _quoted(cell: str) -> str:
    """A cell as CSV wants it, ready for a formatting pattern."""
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow([cell])
    return out.getvalue().replace("%", "%%")


# -- long ---------------------------------------------------------------------------------------------


def _long(job: Job, target: Path, comment: bool = True) -> None:
    times, tracks, human = job.tracks.times(), job.tracks, job.keyframe

    def parts() -> Iterator[str]:
        yield (_comment(job) if comment else "") + ",".join(COLUMNS) + "\n"
        for row, (name, frames, x, y) in enumerate(job.curves(job.keys.xy)):
            yield table(
                _quoted(name) + ",%d,%.6f,%.5f,%.5f,%.5g,%.5g,%d\n", job.numbers[frames], times[frames], x, y,
                tracks.visible[row, frames], tracks.confidence[row, frames], human[row, frames],
            )  # fmt: skip

    write_text(target, parts())


def _header(text: str) -> dict[str, Any]:
    """What the comment lines say of the video: our JSON, or the sentence that `Tracks.save` writes."""
    comment = "".join(line for line in text.split("\n")[:5] if line.startswith("#"))
    if found := re.search(r"\{.*\}", comment):
        values = json.loads(found[0])
        video = VideoInfo.from_dict(values)
        return {
            "width": video.width, "height": video.height, "fps": video.fps, "frames": video.frames,
            "pixel_aspect": video.pixel_aspect, "first": int(values["first"]),
        }  # fmt: skip
    if found := re.search(r"of the (\d+)x(\d+) video.*; fps ([\d/.]+)", comment):
        return {"width": int(found[1]), "height": int(found[2]), "fps": parse_rate(found[3])}
    return {}


def _read_csv(path: Path, context: Context) -> Found:
    """Long or wide, told apart by the columns; columns that are missing are taken as certain."""
    text = read_text(path)
    rows = list(csv.reader(line for line in text.split("\n") if line.strip() and not line.startswith("#")))
    if not rows:
        raise context.damaged("it has no line of column names")
    columns = [name.strip().lower() for name in rows[0]]
    short = next((n for n, row in enumerate(rows) if len(row) != len(columns)), None)
    if short is not None:
        raise context.damaged(f"row {short} has {len(rows[short])} cells instead of {len(columns)}")
    facts = _header(text)
    if {"x", "y"} <= set(columns) and {"frame", "t"} & set(columns):
        cells: dict[str, Any] = dict(zip(columns, zip(*rows[1:], strict=True), strict=True)) if len(rows) > 1 else {}
        return _from_long({name: list(values) for name, values in cells.items()}, facts, context)
    return _from_wide(rows, facts, context)


def _from_long(cells: dict[str, Any], facts: dict[str, Any], context: Context) -> Found:
    if not cells:
        raise context.damaged("it has no rows")
    ids = [str(i) for i in cells.get("id", ["0"] * len(cells["x"]))]
    order: dict[str, int] = {}
    point = np.array([order.setdefault(name, len(order)) for name in ids])

    def column(name: str) -> np.ndarray | None:
        return np.array(cells[name], dtype=float) if name in cells else None

    frame = column("frame") if "frame" in cells else column("t")
    xy = np.stack([np.array(cells[axis], dtype=float) for axis in "xy"], 1)
    assert frame is not None
    human = column("keyframe")
    return Found(
        list(order), point, frame.astype(int), xy, column("visible"), column("confidence"),
        None if human is None else human > 0, **facts,
    )  # fmt: skip


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
        names = [f"{name}_{part}" for name in job.names for part in ("x", "y", "visible")]
        csv.writer(out, lineterminator="\n").writerow(["frame", "time", *names])
        yield (_comment(job) if comment else "") + out.getvalue()
        lines = _cells(values, "%.8g", "")
        for number, time, line in zip(job.numbers.tolist(), job.tracks.times().tolist(), lines, strict=True):
            yield f"{number},{time:.6f},{line}"

    write_text(target, parts())


def _from_wide(rows: list[list[str]], facts: dict[str, Any], context: Context) -> Found:
    if "frame" not in rows[0]:
        raise context.damaged("its columns are neither id, frame, x, y nor frame, NAME_x, NAME_y")
    values = np.array([[cell or "nan" for cell in row] for row in rows[1:]], float).reshape(-1, len(rows[0]))
    where = {name: column for column, name in enumerate(rows[0])}
    names = [name[:-2] for name in rows[0] if name.endswith("_x") and f"{name[:-2]}_y" in where]
    frame = values[:, where["frame"]].astype(int)
    found, visible = [], []
    for name in names:
        x, y = values[:, where[f"{name}_x"]], values[:, where[f"{name}_y"]]
        known = np.isfinite(x) & np.isfinite(y)
        found.append((name, frame[known], x[known], y[known]))
        shown = where.get(f"{name}_visible")
        visible.append(np.ones(int(known.sum())) if shown is None else values[known, shown])
    facts.setdefault("frames", len(frame))
    return Found.of(found, visible=np.concatenate([np.zeros(0), *visible]), **facts)


# -- Parquet ------------------------------------------------------------------------------------------


def _parquet(job: Job, target: Path) -> None:
    arrow, parquet = require("pyarrow", "table"), require("pyarrow.parquet", "table")
    point, frames = np.nonzero(job.keys.key)
    xy = job.keys.xy[point, frames].astype(np.float32)
    kinds = [
        arrow.dictionary(arrow.int32(), arrow.string()),
        arrow.int32(),
        arrow.float64(),
        *[arrow.float32()] * 4,
        arrow.bool_(),
    ]
    ids = arrow.DictionaryArray.from_arrays(arrow.array(point, arrow.int32()), arrow.array(job.names, arrow.string()))
    values = [
        job.numbers[frames], job.tracks.times()[frames], xy[:, 0], xy[:, 1], job.tracks.visible[point, frames],
        job.tracks.confidence[point, frames], job.keyframe[point, frames],
    ]  # fmt: skip
    arrays = [ids, *(arrow.array(v, kind) for v, kind in zip(values, kinds[1:], strict=True))]
    schema = arrow.schema(
        list(zip(COLUMNS, kinds, strict=True)), metadata={"tapkit": json.dumps({"video": _facts(job)})}
    )
    parquet.write_table(arrow.Table.from_arrays(arrays, schema=schema), target, compression="zstd")


def _read_parquet(path: Path, context: Context) -> Found:
    parquet = require("pyarrow.parquet", "table")
    content = parquet.read_table(path)
    facts: dict[str, Any] = {}
    if meta := (content.schema.metadata or {}).get(b"tapkit"):
        facts = _header(f"# {json.dumps({'first': 0, **json.loads(meta)['video']})}")
    missing = {"frame", "x", "y"} - set(content.column_names)
    if missing:
        raise context.damaged(f"it has no column {sorted(missing)[0]!r}")
    return _from_long({name: content.column(name).to_pylist() for name in content.column_names}, facts, context)


# -- DLTdv8 -------------------------------------------------------------------------------------------


def _dltdv(job: Job, target: Path) -> None:
    """DLTdv8 xypts: a row for each frame, ptN_cam1_X and _Y, the first pixel's centre is (1, 1), NaN where missing."""
    xy = coords.to_centers(job.keys.xy) + 1

    def parts() -> Iterator[str]:
        yield ",".join(f"pt{n}_cam1_{axis}" for n in range(1, len(job.names) + 1) for axis in "XY") + "\n"
        yield from _cells(_matrix([xy[..., 0], xy[..., 1]]), "%.5f", "NaN")

    write_text(target, parts())


def _read_dltdv(path: Path, context: Context) -> Found:
    lines = [line for line in read_text(path).split("\n") if line.strip()]
    head = lines[0].split(",")
    if not re.fullmatch(r"pt\d+_cam1_X", head[0].strip()):
        raise context.damaged("its first column is not pt1_cam1_X")
    values = np.array([line.split(",") for line in lines[1:]], float)
    tracks = []
    for number in range(len(head) // 2):
        x, y = coords.from_centers(values[:, 2 * number : 2 * number + 2] - 1).T
        frames = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
        tracks.append((f"pt{number + 1}", frames, x[frames], y[frames]))
    return Found.of(tracks, positional=True, frames=len(values), first=0)


_LINE = NameRule(r"[\x00-\x1f]", 200)
_COMMENT = {"comment": Option(flag, "no: without the comment lines (#) on top")}
CSV = Format(
    "csv", ".csv", "CSV, a row for each position", _long, _read_csv, _LINE, occlusion=True, timing="times",
    square_only=False, bytes_per_key=48, options=_COMMENT,
)  # fmt: skip
CSV_WIDE = Format(
    "csv-wide", ".csv", "CSV, a row for each frame", _wide, _read_csv, _LINE, occlusion=True, timing="times",
    square_only=False, keeps_empty=True, bytes_per_key=24, options=_COMMENT,
)  # fmt: skip
PARQUET = Format(
    "parquet", ".parquet", "Parquet, a row for each position", _parquet, _read_parquet, _LINE, occlusion=True,
    timing="times", square_only=False, bytes_per_key=26,
)  # fmt: skip
DLTDV = Format("dltdv", ".csv", "DLTdv8 xypts", _dltdv, _read_dltdv, timing="index", keeps_empty=True, bytes_per_key=22)

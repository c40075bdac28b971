"""The long table of tracks, as CSV and as Parquet: one row for each position. The only reader and writer of both.

    id, frame, time, x, y, visible, confidence, keyframe, query

`id` has an apostrophe before it in CSV where a spreadsheet would take it for a formula (=, @, + or - and no number, a
tab), and a second one where it begins with one; reading takes it away again.
`frame` is counted from the number that the file names (0 unless asked otherwise); `time` is in seconds; x, y are pixels
of the original video, corner origin; visible and confidence are probabilities; `keyframe` = 1: a human set this
position; `query` = 1: the point was asked for here. Rows of a point follow each other, points in the order of the
tracks. Facts of the video and where the tracks come from stand in the file as well: in CSV as comment lines (#) on top,
a sentence for people and a line of JSON; in Parquet as the metadata "tapkit" of the schema.

What comes back: everything, in CSV rounded to 5 digits after the point (x, y), 5 significant digits (probabilities) and
a microsecond (time), in Parquet exactly. Lost are points without any position, a query whose own position is not among
the rows (it moves to the best one), the times of frames without any row (interpolated), and in CSV what rounding does
to a score within 0.001 % of the threshold. Tables of former versions and of others are read as well: id, time, visible,
confidence, keyframe and query may be missing. So are wide ones: a row for each frame, columns frame, NAME_x, NAME_y and
NAME_visible.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tapkit.errors import StorageError, require
from tapkit.types.extent import check_extent
from tapkit.types.queries import Queries
from tapkit.types.tracks import Provenance, Tracks
from tapkit.types.video_info import VideoInfo

FORMAT = 1
COLUMNS = ("id", "frame", "time", "x", "y", "visible", "confidence", "keyframe", "query")
_CHUNK = 1 << 13
"""Rows that are formatted, or parsed, at a time."""


@dataclass(frozen=True)
class Head:
    """What a table says besides its rows."""

    video: VideoInfo
    """`frames` None and `times` None where the file does not say."""
    source: Provenance | None = None
    first: int = 0
    """Number of frame 0 in the file."""
    timed: bool | None = None
    """Whether the times are the video's own; None: unknown, False: they are those of a constant rate."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "format": FORMAT,
            "video": self.video.to_dict(),
            "source": (self.source or Provenance()).to_dict(),
            "first": self.first,
            "timed": self.video.times is not None,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Head:
        """The inverse of `to_dict`; former versions had a flat mapping in CSV, and the model's name alone."""
        if values.get("format", 0) > FORMAT:
            raise StorageError(f"it was written by a newer tapkit (format {values['format']}); please update")
        video = values.get("video", values)
        source = Provenance(**values["source"]) if "source" in values else Provenance(model=video.get("model", ""))
        first = values.get("first", video.get("first", 0))
        return cls(VideoInfo.from_dict(video), source, int(first), values.get("timed"))


@dataclass(frozen=True)
class Rows:
    """K rows to be written; all arrays are [K] but for xy [K,2]."""

    point: np.ndarray
    """Index into the names."""
    frame: np.ndarray
    """Counted from 0."""
    xy: np.ndarray
    visible: np.ndarray
    confidence: np.ndarray
    keyframe: np.ndarray
    query: np.ndarray


@dataclass(frozen=True)
class Table:
    """K rows that were read; all arrays are [K] but for xy [K,2]; None: the file has no such column."""

    names: list[str]
    """Of the points, in the file's order."""
    point: np.ndarray
    """int64, index into `names`."""
    frame: np.ndarray
    """int64, in the file's own counting."""
    xy: np.ndarray
    """float64."""
    time: np.ndarray | None = None
    visible: np.ndarray | None = None
    confidence: np.ndarray | None = None
    keyframe: np.ndarray | None = None
    query: np.ndarray | None = None
    head: Head | None = None
    """None: the file says nothing about the video."""

    def video(self) -> VideoInfo | None:
        """Facts of the video, with as many frames as there are rows for at least, and its times.

        Raises `ValueError` for more frames than can be meant.
        """
        if self.head is None:
            return None
        last = int(self.frame.max()) - self.head.first + 1 if len(self.frame) else 1
        frames = max(self.head.video.frames or 0, last)
        check_extent(len(self.names), frames)
        return replace(self.head.video, frames=frames, times=self._times(self.head, frames))

    def _times(self, head: Head, frames: int) -> np.ndarray | None:
        """Seconds of each frame [T] out of the rows; None where they are those of a constant rate."""
        if self.time is None or head.timed is False or not len(self.time):
            return None
        known, row = np.unique(self.frame - head.first, return_index=True)
        seconds = self.time[row]
        inside = (known >= 0) & (known < frames)
        known, seconds = known[inside], seconds[inside]
        rate = float(head.video.fps)
        if not len(known) or (head.timed is None and np.abs(seconds - known / rate).max() < 1e-5):
            return None
        frame = np.arange(frames)
        outside = (frame - frame.clip(known[0], known[-1])) / rate
        times: np.ndarray = np.interp(frame, known, seconds) + outside
        return times


# -- writing ------------------------------------------------------------------------------------------


def write_csv(path: Path, head: Head, names: Sequence[str], blocks: Iterable[Rows], comment: bool = True) -> None:
    """Write the table row by row to `path`; memory does not grow with it. `comment` False: without the lines on top."""
    times = _seconds(head.video)
    with open(path, "w", encoding="utf-8", errors="replace", newline="\n") as file:
        file.write((comment_lines(head) if comment else "") + ",".join(COLUMNS) + "\n")
        for rows in blocks:
            for start in range(0, len(rows.point), _CHUNK):
                part = slice(start, start + _CHUNK)
                frame = rows.frame[part]
                ids = np.array([quoted(names[point]) for point in rows.point[part].tolist()], dtype=object)
                text = fill(
                    "%s,%d,%.6f,%.5f,%.5f,%.5g,%.5g,%d,%d\n", ids, frame + head.first, times[frame],
                    rows.xy[part, 0], rows.xy[part, 1], rows.visible[part], rows.confidence[part], rows.keyframe[part],
                    rows.query[part],
                )  # fmt: skip
                file.write(text)


def write_parquet(path: Path, head: Head, names: Sequence[str], blocks: Iterable[Rows]) -> None:
    """Write the table to `path`, one group of rows for each block."""
    arrow, parquet = require("pyarrow", "table"), require("pyarrow.parquet", "table")
    numbers = [arrow.int32(), arrow.float64(), *[arrow.float32()] * 4, arrow.bool_(), arrow.bool_()]
    kinds = [arrow.dictionary(arrow.int32(), arrow.string()), *numbers]
    fields = list(zip(COLUMNS, kinds, strict=True))
    schema = arrow.schema(fields, metadata={"tapkit": json.dumps(head.to_dict())})
    times = _seconds(head.video)
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for rows in blocks:
            if not len(rows.point):
                continue
            first, last = int(rows.point.min()), int(rows.point.max())
            ids = arrow.DictionaryArray.from_arrays(
                arrow.array(rows.point - first, arrow.int32()),
                arrow.array([str(name) for name in names[first : last + 1]], arrow.string()),
            )
            x, y = rows.xy.T
            values = [
                rows.frame + head.first, times[rows.frame], x, y, rows.visible, rows.confidence, rows.keyframe,
                rows.query,
            ]  # fmt: skip
            columns = [arrow.array(value, kind) for value, kind in zip(values, numbers, strict=True)]
            writer.write_table(arrow.Table.from_arrays([ids, *columns], schema=schema))


def comment_lines(head: Head) -> str:
    """The lines on top of a CSV file: a sentence for people, and everything as JSON."""
    video = head.video
    return (
        f"# tapkit tracks; x right, y down, pixels of the {video.width}x{video.height} video, (0,0) = outer corner of "
        f"the top-left pixel; fps {video.fps}; frames from {head.first}\n# {json.dumps(head.to_dict())}\n"
    )


FORMULA = re.compile(r"[=@\t\r\uff1d\uff0b\uff0d\uff20]|[+-](?![\d.]+$)|'")
"""How a cell begins that spreadsheets would compute, send or import instead of show; and our own mark against it."""


def shown(cell: str) -> str:
    """A name that no spreadsheet takes for a formula: an apostrophe is put before what would be one. Not for numbers.

    >>> shown("=1+1"), shown("nose"), shown("-3"), shown("'quoted'")
    ("'=1+1", 'nose', '-3', "''quoted'")
    """
    return "'" + cell if FORMULA.match(cell) else cell


def meant(cell: str) -> str:
    """The inverse of `shown`.

    >>> meant("'=1+1"), meant("'tis"), meant(shown("'tis"))
    ('=1+1', "'tis", "'tis")
    """
    return cell[1:] if cell[:1] == "'" and FORMULA.match(cell[1:]) else cell


def quoted(cell: str) -> str:
    """A name as CSV wants it; "#" is quoted too, since many readers take it for the beginning of a comment.

    >>> quoted("left eye"), quoted('the "big" one'), quoted("#7"), quoted("=cmd()")
    ('left eye', '"the ""big"" one"', '"#7"', "'=cmd()")
    """
    cell = shown(cell)
    return '"' + cell.replace('"', '""') + '"' if re.search('[,"#\r\n]', cell) else cell


def fill(pattern: str, *columns: np.ndarray) -> str:
    """`pattern` filled in for each row of equally long columns, as one text.

    One formatting call for all rows: about 0.3 microseconds a number, five times faster than a loop.

    >>> fill("%d %.1f|", np.array([1, 2]), np.array([0.5, 0.25]))
    '1 0.5|2 0.2|'
    """
    count = len(columns[0])
    cells: list[object] = [None] * (count * len(columns))
    for offset, column in enumerate(columns):
        cells[offset :: len(columns)] = column.tolist()
    return (pattern * count) % tuple(cells)


def _seconds(video: VideoInfo) -> np.ndarray:
    return np.array([video.time_of(t) for t in range(video.frames or 0)])


# -- reading ------------------------------------------------------------------------------------------


def read_csv(path: Path) -> Table:
    """Read a long or a wide table, told apart by the columns. Raises `StorageError`, `ValueError` for odd cells."""
    with _opened(path) as (head, columns, rows):
        plain = [name.strip().lower() for name in columns]
        if {"x", "y"} <= set(plain) and {"frame", "t"} & set(plain):
            return _long(plain, rows, head)
        if "frame" in columns:
            return _wide(columns, rows, head)
    raise damaged(path, "its columns are neither id, frame, x, y nor frame, NAME_x, NAME_y")


def read_parquet(path: Path) -> Table:
    """Read a long table. Raises `StorageError`, `ValueError` for what is no such file, `MissingExtra`."""
    arrow, parquet = require("pyarrow", "table"), require("pyarrow.parquet", "table")
    with open(path, "rb") as file:  # so that a missing file or permission is said as for any other file
        content = parquet.read_table(file)
    have = set(content.column_names)
    missing = {"frame", "x", "y"} - have
    if missing:
        raise damaged(path, f"it has no column {sorted(missing)[0]!r}")
    meta = (content.schema.metadata or {}).get(b"tapkit")

    def column(name: str, kind: type = float) -> np.ndarray | None:
        return np.asarray(content.column(name).to_numpy(), dtype=kind) if name in have else None

    names, point = ["0"], np.zeros(len(content), np.int64)
    if "id" in have:
        ids = arrow.concat_arrays([arrow.array([], arrow.string()), *content.column("id").cast(arrow.string()).chunks])
        encoded = ids.dictionary_encode()
        names, point = encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)
    frame, x, y = column("frame"), column("x"), column("y")
    assert frame is not None and x is not None and y is not None
    return Table(
        names, point, _whole(frame), np.stack([x, y], 1), column("time"), column("visible"), column("confidence"),
        column("keyframe", bool), column("query", bool), _head_of(path, json.loads(meta)) if meta else None,
    )  # fmt: skip


def damaged(path: Path, why: str) -> StorageError:
    """An error for a file that is not what it should be."""
    return StorageError(f"cannot read {path}: {why}")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Head | None, list[str], Iterator[list[str]]]]:
    """(what the comments say, names of the columns, the other rows as lists of as many cells)."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            comments, line = [], file.readline()
            while line and (line.startswith("#") or not line.strip()):
                comments.append(line)
                line = file.readline()
            if not line:
                raise damaged(path, "it has no line of column names")
            columns = next(csv.reader([line]))
            yield _from_comments(path, "".join(comments)), columns, _cells(path, csv.reader(file), len(columns))
    except UnicodeDecodeError as error:
        raise StorageError(f"{path} is not a text file (byte {error.start} is not UTF-8)") from error
    except csv.Error as error:
        raise damaged(path, f"it is not CSV ({error})") from error


def _cells(path: Path, rows: Iterator[list[str]], count: int) -> Iterator[list[str]]:
    for number, row in enumerate(rows, 1):
        if len(row) == count:
            yield row
        elif row and not row[0].startswith("#") and any(cell.strip() for cell in row):
            raise damaged(path, f"row {number} has {len(row)} cells instead of {count}")


def _from_comments(path: Path, text: str) -> Head | None:
    """Our JSON, or the sentence alone that former versions of `Tracks.save` wrote."""
    if found := re.search(r"^# ?(\{.*\})\s*$", text, re.MULTILINE):
        return _head_of(path, json.loads(found[1]))
    found = re.search(r"of the (\d+)x(\d+) video.*; fps ([\d/.]+); frames from (-?\d+)(?:; model (.*))?", text)
    if not found:
        return None
    video = VideoInfo(int(found[1]), int(found[2]), Fraction(found[3]))
    return Head(video, Provenance(model=(found[5] or "").strip()), int(found[4]))


def _head_of(path: Path, values: dict[str, Any]) -> Head:
    try:
        return Head.from_dict(values)
    except StorageError as error:
        raise damaged(path, str(error)) from error
    except (KeyError, TypeError, AttributeError) as error:
        raise damaged(path, f"what it says about the video is incomplete ({error!r})") from error


def _long(columns: list[str], rows: Iterator[list[str]], head: Head | None) -> Table:
    order: dict[str, int] = {}
    parts: dict[str, list[np.ndarray]] = {name: [np.zeros(0)] for name in ("id", *columns)}
    while chunk := list(islice(rows, _CHUNK)):
        cells = dict(zip(columns, zip(*chunk, strict=True), strict=True))
        ids = [meant(name) for name in cells.get("id", ("0",) * len(chunk))]
        parts["id"].append(np.array([order.setdefault(name, len(order)) for name in ids]))
        for name in set(columns) & {*COLUMNS[1:], "t"}:
            parse = _flags if name in ("keyframe", "query") else _numbers
            parts[name].append(parse(cells[name]))
    found = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    flags = {name: found[name] > 0 for name in ("keyframe", "query") if name in columns}
    return Table(
        list(order),
        found["id"].astype(np.int64),
        _whole(found["frame" if "frame" in columns else "t"]),
        np.stack([found["x"], found["y"]], 1),
        **{name: found.get(name) for name in ("time", "visible", "confidence")},
        **flags,
        head=head,
    )


def _wide(columns: list[str], rows: Iterator[list[str]], head: Head | None) -> Table:
    values = np.array([[cell or "nan" for cell in row] for row in rows], float).reshape(-1, len(columns))
    columns = [meant(name) for name in columns]
    where = {name: column for column, name in enumerate(columns)}
    names = [name[:-2] for name in columns if name.endswith("_x") and f"{name[:-2]}_y" in where]
    xy = np.stack([values[:, [where[f"{name}_{axis}"] for name in names]] for axis in "xy"], -1)
    shown = [where.get(f"{name}_visible") for name in names]
    point, row = np.nonzero(np.isfinite(xy).all(-1).T)
    visible = np.ones_like(xy[..., 0])
    for number, column in enumerate(shown):
        if column is not None:
            visible[:, number] = values[:, column]
    frame = _whole(values[:, where["frame"]])
    if head is None or head.video.frames is None:
        head = head and replace(head, video=replace(head.video, frames=len(frame)))
    time = values[row, where["time"]] if "time" in where else None
    return Table(names, point, frame[row], xy[row, point], time, visible[row, point], head=head)


def _numbers(cells: Sequence[str]) -> np.ndarray:
    return np.array(cells, dtype=float)


def _flags(cells: Sequence[str]) -> np.ndarray:
    """1 and 0, or True and False as other programs write them, as numbers."""
    words = {"true": "1", "false": "0", "": "0"}
    return np.array([words.get(cell.strip().lower(), cell) for cell in cells], dtype=float)


def _whole(frame: np.ndarray) -> np.ndarray:
    """Frame numbers as integers; `ValueError` for others."""
    odd = ~(np.isfinite(frame) & (frame == np.round(frame)))
    if odd.any():
        raise ValueError(f"{frame[odd][0]} is not the number of a frame")
    return frame.astype(np.int64)


# -- tracks -------------------------------------------------------------------------------------------


def tracks_of(table: Table, path: Path) -> Tracks:
    """The tracks that a table holds. Raises `StorageError` where it does not say of which video, or contradicts itself.

    Only what the file itself marks as a keyframe is one: the rest was said by a model.
    """
    video = table.video()
    if table.head is None or video is None:
        raise StorageError(
            f"{path} does not say how large the picture is, as tables by tapkit do: "
            "read it with tapkit import (Tracks.read), which takes the video or its size"
        )
    frame = table.frame - table.head.first
    check_extent(len(table.names), video.frames or 1)
    if len(frame) and frame.min() < 0:
        raise damaged(path, f"it has frame {table.frame.min()}, but its first frame is {table.head.first}")
    return scatter(table, frame, table.keyframe, video, table.head.source or Provenance())


class Positions(Protocol):
    """K positions of some points, as `Table` has them."""

    @property
    def names(self) -> list[str]: ...
    @property
    def point(self) -> np.ndarray: ...
    @property
    def xy(self) -> np.ndarray: ...
    @property
    def visible(self) -> np.ndarray | None: ...
    @property
    def confidence(self) -> np.ndarray | None: ...
    @property
    def query(self) -> np.ndarray | None: ...


def scatter(
    found: Positions, frame: np.ndarray, keyframe: np.ndarray | bool | None, video: VideoInfo, source: Provenance
) -> Tracks:
    """`Tracks` with a row for each name that has a position; probabilities that are missing are 1.

    Args:
        found: the positions; later ones of the same point and frame win.
        frame: [K] int, counted from 0, within the video.
        keyframe: [K] bool, or one for all; None: none is.
        video: with its number of frames.
        source: as the tracks are to have it.

    A point whose query is not marked, or not among the rows, is taken as asked for where a human set it, else where it
    is first visible, else where it first is.
    """
    count, frames = len(found.names), video.frames or 1
    where = (found.point, frame)
    xy = np.full((count, frames, 2), np.nan)
    xy[where] = found.xy
    cells = {name: np.zeros((count, frames)) for name in ("visible", "confidence", "keyframe", "query")}
    cells["visible"][where] = 1.0 if found.visible is None else found.visible
    cells["confidence"][where] = 1.0 if found.confidence is None else found.confidence
    cells["keyframe"][where] = False if keyframe is None else keyframe
    if found.query is not None:
        cells["query"][where] = found.query
    valid = np.isfinite(xy[..., 0])
    rows = np.flatnonzero(valid.any(1))
    best = np.select([cells[n] > 0.5 for n in ("query", "keyframe", "visible")], [4, 3, 2], valid)[rows]
    t = best.argmax(1)
    queries = Queries(t, xy[rows, t], np.array(found.names, dtype=np.str_)[rows])
    visible, confidence, human = (cells[name][rows] for name in ("visible", "confidence", "keyframe"))
    return Tracks(xy[rows], visible, confidence, valid[rows], queries, video, source, human.astype(bool))

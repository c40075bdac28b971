"""The long table of tracks, as CSV and as Parquet: one row for each position. The only reader and writer of both.

    id, frame, time, x, y, visible, confidence, keyframe, query

`id` has an apostrophe before it in CSV where a spreadsheet would take it for a formula (=, @, + or - and no number, a
tab), and a second one where it begins with one; reading takes it away again.
`frame` is counted from the number that the file names (0 unless asked otherwise); `time` is in seconds; x, y are pixels
of the original video, corner origin; visible and confidence are probabilities; `keyframe` = 1: a human set this
position; `query` = 1: the point was asked for here. Rows of a point follow each other, points in the order of the
tracks. Facts of the video, where the tracks come from and the skeleton's edges stand in the file as well: in CSV as
comment lines (#) on top, a sentence for people and a line of JSON; in Parquet as the metadata "tapkit" of the schema.

What comes back: everything, in CSV rounded to 5 digits after the point (x, y), 5 significant digits (probabilities) and
a microsecond (time), in Parquet exactly. Lost are points without any position, a query whose own position is not among
the rows (it moves to the best one), the times of frames without any row (interpolated), and in CSV what rounding does
to a score within 0.001 % of the threshold. Tables of former versions and of others are read as well: id, time, visible,
confidence, keyframe and query may be missing, points may be told apart by other columns (`tapkit.types.identity`), and
CSV may be what a spreadsheet makes of it (`tapkit.types.sheet`). So are wide ones: a row for each frame, columns frame,
NAME_x, NAME_y and NAME_visible.
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
from tapkit.types.identity import FRAME, POINT, Coded, Pick, choose, is_key, plain, points
from tapkit.types.queries import Queries
from tapkit.types.sheet import delimiter_of, encoding_of_file, numbers
from tapkit.types.skeleton import Skeleton, among
from tapkit.types.tracks import Provenance, Tracks
from tapkit.types.video_info import VideoInfo

FORMAT = 1
COLUMNS = ("id", "frame", "time", "x", "y", "visible", "confidence", "keyframe", "query")
SAME = 1e-3
"""Pixels by which two positions may differ and still be the same one, printed twice."""
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
    skeleton: Skeleton = ()
    """Edges between points, by their names in the file."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "format": FORMAT,
            "video": self.video.to_dict(),
            "source": (self.source or Provenance()).to_dict(),
            "first": self.first,
            "timed": self.video.times is not None,
            **({"skeleton": self.skeleton} if self.skeleton else {}),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Head:
        """The inverse of `to_dict`; former versions had a flat mapping in CSV, and the model's name alone."""
        if values.get("format", 0) > FORMAT:
            raise StorageError(f"it was written by a newer tapkit (format {values['format']}); please update")
        video = values.get("video", values)
        source = Provenance(**values["source"]) if "source" in values else Provenance(model=video.get("model", ""))
        first = values.get("first", video.get("first", 0))
        pairs = values.get("skeleton", [])
        if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            raise TypeError("a skeleton is pairs of ids")
        skeleton = tuple((str(first), str(second)) for first, second in pairs)
        return cls(VideoInfo.from_dict(video), source, int(first), values.get("timed"), skeleton)


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
    ignored: Sequence[str] = ()
    """Columns that were not understood."""
    merged: Sequence[str] = ()
    """Columns that name points, too, but were not needed to tell them apart."""

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
    times = head.video.times_of(head.video.frames or 0)
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
    times = head.video.times_of(head.video.frames or 0)
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


# -- reading ------------------------------------------------------------------------------------------


def read_csv(path: Path, pick: Pick | None = None) -> Table:
    """Read a long or a wide table, told apart by the columns, as programs and spreadsheets write it.

    Cells are separated by commas, semicolons, tabs or bars; decimals may stand after a comma where that separates
    nothing. `pick` says which are meant of several videos, animals, cameras or scorers (None: all).
    Raises `StorageError`, `ValueError` for odd cells.
    """
    with _opened(path) as (head, columns, rows, comma):
        known = {plain(name) for name in columns}
        axes = {name.strip().lower() for name in columns}  # underscores count: "_x" is the x of a point without a name
        if {"x", "y"} <= axes and known & set(FRAME):
            return _long(columns, rows, head, comma, pick)
        if "frame" in known:
            return _wide(columns, rows, head, comma)
    raise damaged(path, "its columns are neither id, frame, x, y nor frame, NAME_x, NAME_y")


def read_parquet(path: Path, pick: Pick | None = None) -> Table:
    """Read a long table; `pick` as for `read_csv`.

    Raises `StorageError`, `ValueError` for what is no such file, `MissingExtra`.
    """
    arrow, parquet = require("pyarrow", "table"), require("pyarrow.parquet", "table")
    with open(path, "rb") as file:  # so that a missing file or permission is said as for any other file
        content = parquet.read_table(file)
    columns = list(content.column_names)
    where = _known(columns)
    if missing := [name for name in ("frame", "x", "y") if name not in where]:
        raise damaged(path, f"it has no column {missing[0]!r}")
    meta = (content.schema.metadata or {}).get(b"tapkit")

    def coded(name: str) -> Coded:
        texts = [arrow.array([], arrow.string()), *content.column(name).cast(arrow.string()).fill_null("").chunks]
        encoded = arrow.concat_arrays(texts).dictionary_encode()
        return Coded(encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64))

    values = {name: np.asarray(content.column(column).to_numpy(), float) for name, column in where.items()}
    keys = {name: coded(name) for name in columns if is_key(name)}
    return _table(values, keys, columns, where, _head_of(path, json.loads(meta)) if meta else None, pick)


def damaged(path: Path, why: str) -> StorageError:
    """An error for a file that is not what it should be."""
    return StorageError(f"cannot read {path}: {why}")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Head | None, list[str], Iterator[list[str]], bool]]:
    """(what the comments say, names of the columns, the other rows as lists of as many cells, whether a comma may be
    that of a decimal)."""
    try:
        with open(path, encoding=encoding_of_file(path), newline="") as file:
            comments, line = [], file.readline()
            while line and (line.startswith("#") or not line.strip() or re.match(r"sep=.\s*$", line)):
                comments.append(line)
                line = file.readline()
            if not line:
                raise damaged(path, "it has no line of column names")
            mark = delimiter_of(line)
            columns = next(csv.reader([line], delimiter=mark))
            while len(columns) > 1 and not columns[-1].strip():  # a spreadsheet ends its rows with a separator
                columns.pop()
            cells = _cells(path, csv.reader(file, delimiter=mark), len(columns))
            yield _from_comments(path, "".join(comments)), columns, cells, mark != ","
    except UnicodeError as error:
        place = f"byte {error.start} is" if isinstance(error, UnicodeDecodeError) else "it is"
        raise StorageError(f"{path} is not a text file ({place} not UTF-8): save it as UTF-8") from error
    except csv.Error as error:
        raise damaged(path, f"it is not CSV ({error})") from error


def _cells(path: Path, rows: Iterator[list[str]], count: int) -> Iterator[list[str]]:
    for number, row in enumerate(rows, 1):
        if len(row) == count:
            if row[0] or any(row):
                yield row
        elif len(row) > count and not any(cell.strip() for cell in row[count:]):
            if any(row):
                yield row[:count]
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


_ALIASES = {"likelihood": "confidence", "score": "confidence", "probability": "confidence", "isquery": "query"}
"""What others call a column, without case, blanks and underscores."""


def _known(columns: Sequence[str]) -> dict[str, str]:
    """Columns that are understood as numbers: our name of it -> the file's."""
    found: dict[str, str] = {}
    names = {plain(column): column for column in reversed(columns)}
    for name in (*COLUMNS[2:], "occluded"):
        if name in names:
            found[name] = names[name]
    for theirs, ours in _ALIASES.items():
        if theirs in names:
            found.setdefault(ours, names[theirs])
    frame = next((name for name in FRAME if name in names), None)
    if frame is not None:
        found["frame"] = names[frame]
    return found


def _long(columns: list[str], rows: Iterator[list[str]], head: Head | None, comma: bool, pick: Pick | None) -> Table:
    where = _known(columns)
    place = {name: columns.index(column) for name, column in where.items()}
    values: dict[str, list[np.ndarray]] = {name: [np.zeros(0)] for name in where}
    orders: dict[str, dict[str, int]] = {column: {} for column in columns if is_key(column)}
    codes: dict[str, list[np.ndarray]] = {column: [np.zeros(0, np.int64)] for column in orders}
    while chunk := list(islice(rows, _CHUNK)):
        cells = list(zip(*chunk, strict=True))
        for column, order in orders.items():
            texts = cells[columns.index(column)]
            codes[column].append(np.array([order.setdefault(meant(name), len(order)) for name in texts], np.int64))
        for name, index in place.items():
            values[name].append(_flags(cells[index]) if name in _FLAGS else numbers(cells[index], comma))
    keys = {column: Coded(list(order), np.concatenate(codes[column])) for column, order in orders.items()}
    return _table({name: np.concatenate(v) for name, v in values.items()}, keys, columns, where, head, pick)


def _table(
    values: dict[str, np.ndarray],
    keys: dict[str, Coded],
    columns: Sequence[str],
    where: dict[str, str],
    head: Head | None,
    pick: Pick | None,
) -> Table:
    """The rows that have a position and are meant, each with its point.

    A row without x or y says that there is no position; a probability that is missing is 1.
    """
    here, _ = choose(keys, len(values["x"]), pick)
    here &= ~(np.isnan(values["x"]) | np.isnan(values["y"]))
    values = {name: array[here] for name, array in values.items()}
    keys = {column: coded.rows(here) for column, coded in keys.items()}
    frame, xy = _whole(values["frame"]), np.stack([values["x"], values["y"]], 1)
    names, point, used = points(keys, frame, xy)
    visible = values.get("visible")
    if visible is None and "occluded" in values:
        visible = 1.0 - np.nan_to_num(values["occluded"], nan=0.0)
    confidence = values.get("confidence")
    return Table(
        names, point, frame, xy, values.get("time"),
        None if visible is None else np.nan_to_num(visible, nan=1.0),
        None if confidence is None else np.nan_to_num(confidence, nan=1.0),
        **{name: values[name] > 0 for name in ("keyframe", "query") if name in values}, head=head,
        ignored=[column for column in columns if column.strip() and column not in (*where.values(), *keys)],
        merged=[c for c, coded in keys.items() if c not in used and plain(c) in POINT and len(coded.names) > 1],
    )  # fmt: skip


def _wide(columns: list[str], rows: Iterator[list[str]], head: Head | None, comma: bool) -> Table:
    values = np.array([numbers(row, comma) for row in rows], float).reshape(-1, len(columns))
    columns = [meant(name) for name in columns]
    where = {name: column for column, name in enumerate(columns)}
    if len(where) < len([name for name in columns if name]):
        raise ValueError(f"it has two columns called {max(columns, key=columns.count)}")
    counted = next(column for name, column in where.items() if plain(name) == "frame")
    names = [name[:-2] for name in columns if name.endswith("_x") and f"{name[:-2]}_y" in where]
    xy = np.stack([values[:, [where[f"{name}_{axis}"] for name in names]] for axis in "xy"], -1)
    shown = [where.get(f"{name}_visible") for name in names]
    point, row = np.nonzero(np.isfinite(xy).all(-1).T)
    visible = np.ones_like(xy[..., 0])
    for number, column in enumerate(shown):
        if column is not None:
            visible[:, number] = values[:, column]
    frame = _whole(values[:, counted])
    if head is None or head.video.frames is None:
        head = head and replace(head, video=replace(head.video, frames=len(frame)))
    time = values[row, where["time"]] if "time" in where else None
    taken = {f"{name}_{part}" for name in names for part in ("x", "y", "visible")} | {columns[counted], "time"}
    ignored = [name for name in columns if name.strip() and name not in taken]
    return Table(names, point, frame[row], xy[row, point], time, visible[row, point], head=head, ignored=ignored)


_FLAGS = ("keyframe", "query", "occluded")


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
    try:
        tracks = scatter(table, frame, table.keyframe, video, table.head.source or Provenance())
        return tracks.with_(skeleton=among(table.head.skeleton, tracks.ids.tolist()))
    except StorageError as error:
        raise damaged(path, str(error)) from error


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
        found: the positions. The same one may stand there more than once; what else is said of it is then that of
            the last.
        frame: [K] int, counted from 0, within the video.
        keyframe: [K] bool, or one for all; None: none is.
        video: with its number of frames.
        source: as the tracks are to have it.

    A point whose query is not marked, or not among the rows, is taken as asked for where a human set it, else where it
    is first visible, else where it first is.

    Raises `StorageError` for two different positions of one point on one frame.
    """
    count, frames = len(found.names), video.frames or 1
    where = (found.point, frame)
    xy = np.full((count, frames, 2), np.nan)
    xy[where] = found.xy
    _check_single(found, frame, xy)
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


def _check_single(found: Positions, frame: np.ndarray, xy: np.ndarray) -> None:
    """That none of the positions is another one than stands in `xy` [N,T,2], where they were all written."""
    twice = np.abs(found.xy - xy[found.point, frame]).max(1, initial=0) > SAME
    if twice.any():
        row = int(twice.argmax())
        raise StorageError(
            f"there are two positions for the point {found.names[found.point[row]]!r} on frame {frame[row]} (the first "
            "is 0), so they are not of one point of one video: what tells them apart is missing, or was not understood"
        )

"""Queries: the points one asks about."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tapkit import coords, storage
from tapkit.coords import Size
from tapkit.errors import QueryError, ShapeError, UsageError
from tapkit.types.identity import is_key
from tapkit.types.sheet import delimiter_of, encoding_of_file, numbers


@dataclass(frozen=True, eq=False)
class Queries:
    """Points to track: `t` [N] int64 frame indices, `xy` [N,2] float32 (corner origin), `ids` [N] str.

    Any point may start at any frame. Arrays are read-only; ids are unique.
    """

    t: np.ndarray
    xy: np.ndarray
    ids: np.ndarray

    def __post_init__(self) -> None:
        xy = np.array(self.xy, dtype=np.float32)
        if xy.size == 0:
            xy = xy.reshape(0, 2)
        if xy.ndim != 2 or xy.shape[1] != 2:
            hint = "; did you mean xy.T?" if xy.ndim == 2 and xy.shape[0] == 2 else ""
            raise ShapeError(f"query positions must be [N,2] (x, y), got {list(xy.shape)}{hint}")
        if not np.isfinite(xy).all():
            row = int(np.flatnonzero(~np.isfinite(xy).all(1))[0])
            raise QueryError(f"query {row} is at {xy[row].tolist()}: positions must be finite numbers")
        t = _frame_indices(self.t, len(xy))
        ids = _names(self.ids)
        if ids.shape != (len(xy),):
            raise ShapeError(f"ids must be [N] with N={len(xy)}, got {len(ids)} of them")
        if len(set(ids.tolist())) != len(ids):
            names, counts = np.unique(ids, return_counts=True)
            raise QueryError(
                f"ids must be unique, but {str(names[counts > 1][0])!r} occurs more than once; "
                "to track a point through several positions, give tapkit.Keyframes"
            )
        for name, array in (("t", t), ("xy", xy), ("ids", ids)):
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    # -- making them ------------------------------------------------------------------------------

    @classmethod
    def of(cls, points: Any, ids: Sequence[Any] | None = None) -> Queries:
        """From rows (t, x, y): a list of tuples, an array or a tensor [N,3]; a `Queries` is returned as it is.

        >>> Queries.of([(0, 310.5, 122.0), (7, 20.0, 30.0)]).t.tolist()
        [0, 7]
        """
        if isinstance(points, Queries):
            return points
        if hasattr(points, "detach"):
            points = points.detach().cpu().numpy()
        try:
            rows = np.asarray(points, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ShapeError(f"queries must be rows of three numbers (t, x, y), got {points!r}"[:300]) from error
        if rows.size == 0:
            rows = rows.reshape(0, 3)
        if rows.ndim != 2 or rows.shape[1] != 3:
            hint = ""
            if rows.ndim == 2 and rows.shape[0] == 3:
                hint = "; did you mean queries.T?"
            elif rows.ndim == 2 and rows.shape[1] == 2:
                hint = "; (x, y) alone needs a frame: Queries.at(frame, xy)"
            elif rows.ndim == 1 and rows.size == 3:
                hint = "; a single query is [(t, x, y)]"
            raise ShapeError(f"queries must be [N,3] (t, x, y), got {list(rows.shape)}{hint}")
        if not np.isfinite(rows).all():
            row = int(np.flatnonzero(~np.isfinite(rows).all(1))[0])
            raise QueryError(f"query {row} is {rows[row].tolist()}: frame and position must be finite numbers")
        return cls(rows[:, 0], rows[:, 1:], np.arange(len(rows)) if ids is None else list(ids))  # type: ignore[arg-type]

    @classmethod
    def at(cls, frame: int, xy: Any, ids: Sequence[Any] | None = None) -> Queries:
        """Points `xy` [N,2] on one frame."""
        xy = np.asarray(xy, dtype=np.float32)
        if xy.size == 0:
            xy = xy.reshape(0, 2)
        names = np.arange(len(xy)) if ids is None else list(ids)
        return cls(np.full(len(xy), frame), xy, names)  # type: ignore[arg-type]

    @classmethod
    def grid(
        cls, size: Size, count: int | tuple[int, int] = 10, frame: int = 0, margin: float | None = None
    ) -> Queries:
        """A regular grid over a frame of `size` (height, width): `count` points a side, or (rows, columns).

        `margin` in pixels is left free on every side; by default half a cell, so that cells tile the frame.
        Row by row from the top left.

        >>> Queries.grid((100, 200), 2).xy.tolist()
        [[50.0, 25.0], [150.0, 25.0], [50.0, 75.0], [150.0, 75.0]]
        """
        rows, columns = (count, count) if isinstance(count, int) else count
        if rows < 1 or columns < 1:
            raise UsageError(f"a grid needs at least one row and one column, got {rows}x{columns}")
        height, width = size

        def ticks(n: int, length: float) -> np.ndarray:
            if margin is None:
                return (np.arange(n) + 0.5) * length / n
            if n == 1:
                return np.array([length / 2])
            return np.linspace(margin, length - margin, n)

        x, y = np.meshgrid(ticks(columns, width), ticks(rows, height))
        return cls.at(frame, np.stack([x.ravel(), y.ravel()], 1))

    @classmethod
    def mask(cls, mask: Any, count: int | None = None, step: int = 1, frame: int = 0) -> Queries:
        """Pixel centres inside a mask [H,W] (nonzero = inside), every `step`-th row and column.

        With `count`, that many of them, evenly spread in scan order.
        """
        inside = np.asarray(mask)
        if inside.ndim != 2:
            raise ShapeError(f"a mask must be [H,W], got {list(inside.shape)}; a colour image needs .any(-1)")
        keep = np.zeros(inside.shape, bool)
        keep[step // 2 :: step, step // 2 :: step] = True
        y, x = np.nonzero((inside != 0) & keep)
        if count is not None and count < len(x):
            chosen = np.linspace(0, len(x) - 1, count).round().astype(int)
            x, y = x[chosen], y[chosen]
        return cls.at(frame, coords.from_centers(np.stack([x, y], 1).astype(np.float32)))

    @classmethod
    def corners(cls, image: Any, count: int = 100, frame: int = 0, spacing: float = 7.0) -> Queries:
        """The `count` best corners (Shi and Tomasi 1994) of an image [H,W] or [H,W,3] uint8, strongest first.

        `spacing` is the least distance between two of them, in pixels.
        """
        return cls.at(frame, _corners(np.asarray(image), count, spacing))

    @classmethod
    def random(
        cls, size: Size, count: int, generator: np.random.Generator, frames: int | None = None, frame: int = 0
    ) -> Queries:
        """`count` uniformly random points; on random frames of a clip of `frames` frames if that is given."""
        height, width = size
        xy = generator.uniform(0, 1, (count, 2)) * (width, height)
        t = np.full(count, frame) if frames is None else generator.integers(0, frames, count)
        return cls(t, xy, np.arange(count))  # type: ignore[arg-type]

    @classmethod
    def read_csv(cls, path: str | Path) -> Queries:
        """From a CSV file with a header naming the columns t (or frame), x, y and optionally id (or another usual name
        of the column that tells points apart). Spreadsheets' separators, decimal commas and encodings are understood.
        """
        return cls.of(*csv_points(path))

    # -- using them -------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.t)

    def __iter__(self) -> Iterator[tuple[int, float, float]]:
        """Rows (t, x, y)."""
        for t, (x, y) in zip(self.t.tolist(), self.xy.tolist(), strict=True):
            yield t, x, y

    def __getitem__(self, index: Any) -> Queries:
        """Some of them: an index, a slice, a mask [N], an array of indices."""
        rows = np.atleast_1d(np.arange(len(self))[index])
        return Queries(self.t[rows], self.xy[rows], self.ids[rows])

    def __repr__(self) -> str:
        if not len(self):
            return "Queries(0 points)"
        return f"Queries({len(self)} points, frames {self.t.min()}..{self.t.max()})"

    def array(self) -> np.ndarray:
        """Rows (t, x, y), float32 [N,3]."""
        return np.concatenate([self.t[:, None].astype(np.float32), self.xy], 1)

    def with_ids(self, ids: Iterable[Any]) -> Queries:
        """The same points under other names."""
        return Queries(self.t, self.xy, list(ids))  # type: ignore[arg-type]

    @staticmethod
    def join(parts: Sequence[Queries]) -> Queries:
        """Several sets as one; ids must stay unique."""
        if not parts:
            return Queries.of([])
        return Queries(
            np.concatenate([p.t for p in parts]),
            np.concatenate([p.xy for p in parts]),
            np.concatenate([p.ids for p in parts]),
        )

    def check(self, size: Size, frames: int | None = None, slack: float = 0.0) -> Queries:
        """Self, if every point lies in a clip of `frames` frames of `size` (height, width); else `QueryError`.

        `slack` pixels outside the frame are tolerated.
        """
        height, width = size
        if (self.t < 0).any() or (frames is not None and (self.t >= frames).any()):
            row = int(np.flatnonzero((self.t < 0) | (self.t >= (frames if frames is not None else np.inf)))[0])
            end = "the clip" if frames is None else f"frames 0..{frames - 1}"
            raise QueryError(f"query {self.ids[row]!s} is on frame {self.t[row]}, outside {end}")
        outside = ((self.xy < -slack) | (self.xy > np.array([width, height]) + slack)).any(1)
        if outside.any():
            row = int(np.flatnonzero(outside)[0])
            x, y = self.xy[row].tolist()
            swapped = ""
            if 0 <= y <= width and 0 <= x <= height and width != height:
                swapped = "; are x and y swapped?"
            elif (self.xy >= 0).all() and (self.xy <= 1).all() and max(size) > 2:
                swapped = "; are the positions normalised to 0..1?"
            raise QueryError(
                f"query {self.ids[row]!s} is at ({x:g}, {y:g}), outside the {width}x{height} frame{swapped}"
            )
        return self


def csv_points(path: str | Path) -> tuple[list[tuple[float, float, float]], list[str] | None]:
    """Rows (t, x, y) of a CSV file as `Queries.read_csv` takes it, and their ids if it has such a column, which may
    occur more than once."""
    with (
        storage.reading(path, "a CSV file of points"),
        open(storage.check_file(path), newline="", encoding=encoding_of_file(Path(path))) as file,
    ):
        lines = [line for line in file if not re.match(r"#|sep=.\s*$", line)]
    mark = delimiter_of(lines[0]) if lines else ","
    rows = [row for row in csv.DictReader(lines, delimiter=mark) if any(row.values())]
    if not rows:
        raise QueryError(f"{path} has no points: expected a header line t,x,y and one line for each point")
    names = {str(name).strip().lower(): name for name in rows[0] if name is not None}
    frame = names.get("t", names.get("frame"))
    if frame is None or "x" not in names or "y" not in names:
        raise QueryError(f"{path} needs the columns t, x, y in its first line, got {', '.join(names)}")
    points = []
    for number, row in enumerate(rows, 2):
        cells = [row[frame], row[names["x"]], row[names["y"]]]
        try:
            points.append(tuple(numbers(cells, mark != ",").tolist()))
        except (TypeError, ValueError, AttributeError) as error:
            raise QueryError(f"{path} line {number}: t, x and y must be numbers, got {list(row.values())}") from error
    return points, _ids(rows, names)


def _ids(rows: list[dict[str, str]], names: dict[str, str]) -> list[str] | None:
    """The names of points in the rows of a table: those of "id", else of a column that has another one for each row."""
    if "id" in names:
        return [row[names["id"]] for row in rows]
    for column in names.values():
        found = [row[column] for row in rows]
        if is_key(column) and all(found) and len(set(found)) == len(found):
            return found
    return None


_NO_TEXT = re.compile("[\\0\\ud800-\\udfff]")
"""What arrays of text or UTF-8 cannot hold."""
_MOST_NAME_BYTES = 1 << 30


def _names(ids: Any) -> np.ndarray:
    """Ids as an array of str of our own."""
    if isinstance(ids, np.ndarray) and ids.dtype.kind == "U":
        found = ids.copy()
        names = found.tolist() if found.ndim == 1 else []
    else:
        names = [str(name) for name in ids]
        longest = max(map(len, names), default=0)
        if 4 * longest * len(names) > _MOST_NAME_BYTES:  # an array has room for the longest name in each place
            raise QueryError(f"the longest name of a point has {longest} characters: too many for {len(names)} points")
        found = np.array(names, dtype=np.str_) if names else np.zeros(0, np.str_)
    wrong = next((name for name in names if _NO_TEXT.search(name)), None)
    if wrong is not None:
        raise QueryError(f"the name {wrong[:40]!r} of a point holds a character that is no text (NUL or half a pair)")
    return found


def _frame_indices(t: Any, count: int) -> np.ndarray:
    """`t` as int64 [N]; fractions are refused rather than rounded in silence."""
    values = np.asarray(t)
    if values.size == 0:
        values = values.reshape(0)
    if values.shape != (count,):
        raise ShapeError(f"query frames must be [N] with N={count}, got {list(values.shape)}")
    whole = np.array(np.round(values.astype(np.float64))).astype(np.int64)
    if count and not np.array_equal(whole.astype(np.float64), values.astype(np.float64)):
        bad = values[whole != values][0]
        raise QueryError(f"query frames are whole numbers counted from 0, got {bad}")
    return whole


def _corners(image: np.ndarray, count: int, spacing: float) -> np.ndarray:
    """Shi-Tomasi corners by the smaller eigenvalue of the 7x7 structure tensor -> [n,2] pixel centres."""
    import torch
    import torch.nn.functional as F

    if image.ndim == 3:
        image = image[..., :3].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    if image.ndim != 2:
        raise ShapeError(f"an image must be [H,W] or [H,W,3], got {list(image.shape)}")
    gray = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None, None]
    padded = F.pad(gray, (1, 1, 1, 1), mode="replicate")
    dx = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    dy = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    xx, xy, yy = (F.avg_pool2d(F.pad(p, (3,) * 4), 7, 1) for p in (dx * dx, dx * dy, dy * dy))
    score = (xx + yy) / 2 - (((xx - yy) / 2) ** 2 + xy**2).sqrt()
    radius = max(int(spacing // 2), 1)
    peak = score == F.max_pool2d(score, 2 * radius + 1, 1, radius)
    ranked = torch.where(peak & (score > 0), score, torch.zeros(())).flatten()
    strength, order = ranked.sort(descending=True, stable=True)
    chosen: list[tuple[float, float]] = []
    width = image.shape[1]
    taken = np.zeros((0, 2), np.float32)
    for value, index in zip(strength.tolist(), order.tolist(), strict=True):
        if value <= 0 or len(chosen) == count:
            break
        point = np.array([index % width + 0.5, index // width + 0.5], np.float32)
        if len(taken) and (((taken - point) ** 2).sum(1) < spacing**2).any():
            continue
        chosen.append((float(point[0]), float(point[1])))
        taken = np.array(chosen, np.float32)
    return np.array(chosen, np.float32).reshape(-1, 2)

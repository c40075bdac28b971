"""Keyframes: positions that a human set, which tracks must pass through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tapkit.errors import QueryError
from tapkit.types.queries import Queries, csv_points

SURER = 2.0
"""How much more the surer side counts between two keyframes: weights are to this power."""
_LEAST = 1e-3


def share_of_right(near: np.ndarray, left: np.ndarray, right: np.ndarray, power: float = SURER) -> np.ndarray:
    """How much the track from the right keyframe counts between two keyframes; that from the left has the rest.

    Each counts by how near its own keyframe is and by how sure it is: where one has lost the point, the other holds.
    Where both are right they agree, and the weights do not matter. On ten clips of TAP-Vid-DAVIS with two to four
    clicks this gains 6 to 2 points of delta_avg over fading by the distance alone (docs/studio/clicks.md).

    Args:
        near: [T] 0 on the left keyframe, 1 on the right one.
        left, right: [T] visible x confidence of the two tracks, 0..1; NaN counts as 0.
        power: 1 with equal sureness is a linear fade.

    Returns [T] 0..1; 0 on the left keyframe and 1 on the right one.
    """
    one, other = (_LEAST + np.nan_to_num(sure) for sure in (left, right))
    weights = ((1 - near) * one) ** power, (near * other) ** power
    return np.asarray(weights[1] / (weights[0] + weights[1]))


@dataclass(frozen=True, eq=False)
class Keyframes:
    """K positions of points that are tracked: `ids` [K] str, `t` [K] int64 frames, `xy` [K,2] float32 pixels of the
    video, corner origin. A point may have any number of them, but one on a frame. Arrays are read-only.
    """

    ids: np.ndarray
    t: np.ndarray
    xy: np.ndarray

    def __post_init__(self) -> None:
        # What holds for queries holds here, but that a point may occur more than once.
        checked = Queries(self.t, self.xy, np.arange(len(self.ids)))
        ids = np.array([str(name) for name in self.ids], dtype=np.str_) if len(self.ids) else np.zeros(0, np.str_)
        counts = Counter(zip(ids.tolist(), checked.t.tolist(), strict=True))
        if counts and (most := counts.most_common(1)[0])[1] > 1:
            (name, t), number = most
            raise QueryError(f"point {name!r} has {number} keyframes on frame {t}")
        for name, array in (("ids", ids), ("t", checked.t), ("xy", checked.xy)):
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @classmethod
    def of(cls, rows: Iterable[tuple[Any, float, float, float]]) -> Keyframes:
        """From rows (id, t, x, y).

        >>> Keyframes.of([("nose", 40, 310.5, 122.0)]).t.tolist()
        [40]
        """
        rows = list(rows)
        xy = np.array([row[2:] for row in rows], np.float32)
        return cls(np.array([str(row[0]) for row in rows]), np.array([row[1] for row in rows]), xy)

    @classmethod
    def read_csv(cls, path: str | Path) -> tuple[Queries, Keyframes | None]:
        """Points of a CSV file as `Queries.read_csv` reads it, in which an id may stand in several lines.

        Such a point is asked for on the first of its frames, and all its lines are keyframes of it; None if there are
        no such points. Raises `QueryError` for two lines of a point on one frame.
        """
        points, ids = csv_points(path)
        names = [str(name) for name in (range(len(points)) if ids is None else ids)]
        counts = Counter(names)
        several = [(name, *point) for name, point in zip(names, points, strict=True) if counts[name] > 1]
        if not several:
            return Queries.of(points, ids), None
        first: dict[str, tuple[float, float, float]] = {}
        for name, point in zip(names, points, strict=True):
            if name not in first or point[0] < first[name][0]:
                first[name] = point
        return Queries.of(list(first.values()), list(first)), cls.of(several)

    def queries(self) -> Queries:
        """Each point on the first of its frames, in the order in which points occur first."""
        order = list(dict.fromkeys(self.ids.tolist()))
        by_time = np.argsort(self.t, kind="stable")
        first = {str(self.ids[row]): int(row) for row in by_time[::-1]}
        rows = np.array([first[name] for name in order], np.int64)
        return Queries(self.t[rows], self.xy[rows], self.ids[rows])

    def __len__(self) -> int:
        return len(self.t)

    def rows(self, queries: Queries) -> np.ndarray:
        """Row of each keyframe's point among `queries`, [K] int64. Raises `QueryError` for one that is not there."""
        where = {name: row for row, name in enumerate(queries.ids.tolist())}
        missing = [name for name in self.ids.tolist() if name not in where]
        if missing:
            raise QueryError(f"there is a keyframe of a point {missing[0]!r}, but no such point is tracked")
        return np.array([where[name] for name in self.ids.tolist()], np.int64)

    def check(self, size: tuple[int, int], frames: int | None = None) -> Keyframes:
        """Self, if all lie in a clip of `frames` frames of `size` (height, width); else `QueryError`."""
        names = [f"{name} (keyframe {number})" for number, name in enumerate(self.ids.tolist())]
        Queries(self.t, self.xy, names).check(size, frames)  # type: ignore[arg-type]
        return self

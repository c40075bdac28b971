"""Keyframes: positions that a human set, which tracks must pass through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tapkit.errors import QueryError
from tapkit.types.queries import Queries


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
    def of(cls, rows: Iterable[tuple[Any, int, float, float]]) -> Keyframes:
        """From rows (id, t, x, y).

        >>> Keyframes.of([("nose", 40, 310.5, 122.0)]).t.tolist()
        [40]
        """
        rows = list(rows)
        xy = np.array([row[2:] for row in rows], np.float32)
        return cls(np.array([str(row[0]) for row in rows]), np.array([row[1] for row in rows]), xy)

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

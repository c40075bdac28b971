"""Which columns of a table tell its points apart, and how.

A point's name may stand in one column (id, track_id, name, ...) or in several (individual and bodypart). Other columns
say of which video, camera or scorer a row is, of which a file may hold several.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["animal", "video", "camera", "scorer"]
Pick = Callable[[Kind, list[str]], list[str]]
"""Those of the names of a kind that are meant."""

POINT = (
    "id", "pointid", "point", "trackid", "track", "tracker", "trackname", "particle", "trajectory", "pointname", "name",
    "label", "bodypart", "bodyparts", "keypoint", "node", "marker", "landmark", "joint", "objectid", "object",
)  # fmt: skip
"""Columns that name a point, the likeliest first; written without case, blanks and underscores."""
_KINDS: Mapping[Kind, tuple[str, ...]] = {
    "animal": ("animal", "animalid", "individual", "individuals", "individualid", "subject", "instance", "instanceid",
               "identity"),
    "video": ("video", "videoid", "videoname", "videofile", "clip", "clipid", "sequence", "movie"),
    "camera": ("camera", "cameraid", "cam", "view"),
    "scorer": ("scorer", "annotator", "labeler", "rater"),
}  # fmt: skip
FRAME = ("frame", "t", "frameid", "frameidx", "frameindex", "framenumber", "frameno")


def plain(column: str) -> str:
    """A column's name without case, blanks and underscores.

    >>> plain("Track_ID "), plain("bodyParts")
    ('trackid', 'bodyparts')
    """
    return re.sub(r"[\s_-]", "", column).lower()


def is_key(column: str) -> bool:
    """Whether a column tells points apart, or videos, animals, cameras or scorers."""
    return plain(column) in POINT or any(plain(column) in names for names in _KINDS.values())


@dataclass(frozen=True)
class Coded:
    """A column of names: each once, in order of appearance, and the index of every row's, [K] int64."""

    names: list[str]
    codes: np.ndarray

    def rows(self, rows: np.ndarray) -> Coded:
        """That of some rows, with the names that are left."""
        if rows.all():
            return self
        used, codes = np.unique(self.codes[rows], return_inverse=True)
        return Coded([self.names[code] for code in used.tolist()], codes.astype(np.int64))


def choose(keys: Mapping[str, Coded], count: int, pick: Pick | None) -> tuple[np.ndarray, Mapping[str, Coded]]:
    """Rows [count] bool of what is meant where a table has several videos, cameras, scorers or animals, and the key
    columns of these rows. `pick` None: all rows.
    """
    here = np.ones(count, bool)
    for kind, names in _KINDS.items() if pick is not None else ():
        for column, coded in keys.items():
            if plain(column) in names and len(coded.names) > 0 and pick is not None:
                chosen = pick(kind, coded.names)
                here &= np.isin(coded.codes, [coded.names.index(name) for name in chosen])
    return here, {column: coded.rows(here) for column, coded in keys.items()}


def points(keys: Mapping[str, Coded], frame: np.ndarray, xy: np.ndarray) -> tuple[list[str], np.ndarray, list[str]]:
    """Names of the points in order of appearance, each row's index among them [K] int64, and the columns that count.

    Columns that number the rows come last, and further ones are used only while two different positions fall on one
    point and frame. What still does is for the caller to refuse.
    """
    animals = [name for name, coded in keys.items() if plain(name) in _KINDS["animal"] and len(coded.names) > 1]
    found = sorted((name for name in keys if plain(name) in POINT), key=lambda name: POINT.index(plain(name)))
    found.sort(key=lambda name: len(keys[name].names) == len(frame))
    used = [*animals, *found[:1]]
    rest = found[1:]
    names, point = _joined([keys[name] for name in used], len(frame))
    while rest and _collides(point, frame, xy):
        used.append(rest.pop(0))
        names, point = _joined([keys[name] for name in used], len(frame))
    return names, point, used


def _joined(columns: list[Coded], count: int) -> tuple[list[str], np.ndarray]:
    if not columns:
        return ["0"], np.zeros(count, np.int64)
    if len(columns) == 1:
        return columns[0].names, columns[0].codes
    rows, first, codes = np.unique(
        np.stack([column.codes for column in columns], 1), axis=0, return_index=True, return_inverse=True
    )
    order = np.argsort(first)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    names = [".".join(c.names[code] for c, code in zip(columns, row, strict=True)) for row in rows[order].tolist()]
    return names, place[codes.reshape(-1)]


def _collides(point: np.ndarray, frame: np.ndarray, xy: np.ndarray) -> bool:
    """Whether a point has two different positions on a frame."""
    order = np.lexsort((frame, point))
    same = (np.diff(point[order]) == 0) & (np.diff(frame[order]) == 0)
    return bool((same & (np.diff(xy[order], axis=0) != 0).any(1)).any())

"""Which positions of a result become keys in a file, and what stands in the gaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from tapkit.errors import UsageError
from tapkit.types import Tracks

When = Literal["visible", "valid", "all"]
Gaps = Literal["drop", "hold", "interpolate"]


@dataclass(frozen=True)
class Keys:
    """The keys of N points over T frames, in tapkit's coordinates.

    `xy` [N,T,2] float64, NaN where there is no key; `key` [N,T] bool; `shown` [N,T] bool: a key at which the point
    is visible; the other keys are occluded positions and filled gaps.
    """

    xy: np.ndarray
    key: np.ndarray
    shown: np.ndarray

    def rows(self, rows: np.ndarray) -> Keys:
        """Those of some points."""
        return Keys(self.xy[rows], self.key[rows], self.shown[rows])


def select(tracks: Tracks, when: When = "visible", threshold: float | None = None, gaps: Gaps = "drop") -> Keys:
    """Choose the keys.

    when: "visible": frames whose score is above `threshold` (None: the authors' own); "valid": also occluded ones,
        where the model was asked; "all": every frame of the clip, positions before, after and between known ones
        being held (interpolated between them with gaps="interpolate").
    gaps: what stands between the first and last key of a point where it has none: "drop" nothing, "hold" the
        position before, "interpolate" a straight line. A filled position never counts as visible, and a point that
        is nowhere known gets no keys at all: no file ever says (0, 0) for "unknown".
    """
    if when not in get_args(When):
        raise UsageError(f"when must be one of {', '.join(get_args(When))}, got {when!r}")
    if gaps not in get_args(Gaps):
        raise UsageError(f"gaps must be one of {', '.join(get_args(Gaps))}, got {gaps!r}")
    if threshold is not None and not 0 <= threshold <= 1:
        raise UsageError(f"threshold must be a probability in 0..1, got {threshold}")
    visible = tracks.visible_at(threshold)
    key = visible if when == "visible" else tracks.valid
    xy = np.where(key[..., None], tracks.xy, np.nan).astype(np.float64)
    if when == "all" or gaps != "drop":
        xy = _interpolate(xy, key) if gaps == "interpolate" else _hold(xy, key)
        filled = key.any(1, keepdims=True) & (np.ones_like(key) if when == "all" else _span(key))
        xy[~filled] = np.nan
        key = filled
    return Keys(xy, key, visible & key)


def runs(present: np.ndarray) -> list[tuple[int, int]]:
    """Spans (start, stop) of a mask [T] in which it is true.

    >>> runs(np.array([False, True, True, False, True]))
    [(1, 3), (4, 5)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], present, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _span(key: np.ndarray) -> np.ndarray:
    """Frames from the first to the last key of each point, [N,T]."""
    return np.logical_or.accumulate(key, 1) & np.logical_or.accumulate(key[:, ::-1], 1)[:, ::-1]


def _hold(xy: np.ndarray, key: np.ndarray) -> np.ndarray:
    """The latest known position, the first one before that."""
    frame = np.arange(key.shape[1])
    latest = np.maximum.accumulate(np.where(key, frame, -1), 1)
    source = np.where(latest < 0, key.argmax(1)[:, None], latest)
    return np.take_along_axis(xy, source[..., None], 1)


def _interpolate(xy: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Straight lines between keys; the nearest key outside of them."""
    filled = xy.copy()
    frame = np.arange(key.shape[1])
    for row in np.flatnonzero(key.any(1)):
        known = np.flatnonzero(key[row])
        for axis in (0, 1):
            filled[row, :, axis] = np.interp(frame, known, xy[row, known, axis])
    return filled

"""Where points have been: the last frames of every path, as short strokes, in bounded memory."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

_REST = 0.35
_LONGEST_JUMP = 0.15


class Paths(NamedTuple):
    """S pieces of path."""

    start: np.ndarray
    """[S,2] pixels, corner origin."""
    end: np.ndarray
    """[S,2]."""
    frames: np.ndarray
    """[S,2] float32: when the point was at either end."""
    rgb: np.ndarray
    """[S,3]."""
    arc: np.ndarray
    """[S] length of the path before `start`, pixels."""
    hidden: np.ndarray
    """[S] bool: the point was occluded on this piece."""


class _Points(NamedTuple):
    """State of the points of one frame, M rows."""

    rows: np.ndarray
    xy: np.ndarray
    visible: np.ndarray
    rgb: np.ndarray
    vertex: np.ndarray
    """[M,2] where the piece that is still growing begins."""
    since: np.ndarray
    """[M] frame at which it was there."""
    arc: np.ndarray
    """[M] length of the path up to the vertex."""
    hidden: np.ndarray
    """[M] whether the growing piece is of an occluded point."""


class Trails:
    """The paths of all points over the last `length` frames.

    A piece of path is stored when it has become `step` pixels long (or visibility changes), so that points at
    rest cost nothing and vertices never move afterwards: old trails do not shimmer.

    Args:
        length: frames after which a trail is gone.
        step: shortest piece, pixels.
        diagonal: of the frame in pixels; a leap of more than 15 % of it in one frame breaks the trail.
    """

    def __init__(self, length: int, step: float, diagonal: float) -> None:
        self.length, self.step = length, step
        self._leap = _LONGEST_JUMP * diagonal
        self._pieces: deque[Paths] = deque()
        self._frame: int | None = None
        self._now: _Points | None = None

    def advance(self, frame: int, rows: np.ndarray, xy: np.ndarray, visible: np.ndarray, rgb: np.ndarray) -> None:
        """Take the points of the next frame: rows [M] int64, xy [M,2] finite, visible [M] bool, rgb [M,3].

        The same frame again replaces the newest positions; an earlier frame, or a gap longer than a trail,
        begins anew.
        """
        if self._frame is not None and (frame < self._frame or frame - self._frame > max(self.length, 1)):
            self._pieces.clear()
            self._now = None
        xy = np.asarray(xy, np.float32)
        now = _Points(rows, xy, visible, rgb, xy.copy(), np.full(len(rows), frame, np.float32),
                      np.zeros(len(rows), np.float32), ~visible)  # fmt: skip
        if self._now is not None:
            mine, theirs = _matching(rows, self._now.rows)
            self._continue(frame, now, mine, self._now, theirs)
        self._now, self._frame = now, frame
        while self._pieces and self._pieces[0].frames[-1, 1] <= frame - self.length:
            self._pieces.popleft()

    def _continue(self, frame: int, now: _Points, mine: np.ndarray, then: _Points, theirs: np.ndarray) -> None:
        """Rows `mine` of the new frame carry on from rows `theirs` of the one before."""
        near = ((now.xy[mine] - then.xy[theirs]) ** 2).sum(1) < self._leap**2
        mine, theirs = mine[near], theirs[near]
        now.vertex[mine], now.since[mine] = then.vertex[theirs], then.since[theirs]
        now.arc[mine] = then.arc[theirs]
        hidden = ~(now.visible[mine] & then.visible[theirs])
        now.hidden[mine] = hidden
        before = float(self._frame if self._frame is not None else frame)

        # Visibility changed: the piece so far ends where the point was on the frame before.
        changed = hidden != then.hidden[theirs]
        self._store(now, mine[changed], then.xy[theirs[changed]], before, then.hidden[theirs[changed]])
        length = np.hypot(*(now.xy[mine] - now.vertex[mine]).T)
        grown = length >= self.step
        self._store(now, mine[grown], now.xy[mine[grown]], float(frame), hidden[grown])
        # A point that rests keeps its vertex young, or its trail would begin faded when it moves on.
        now.since[mine[length < _REST * self.step]] = frame

    def _store(self, now: _Points, rows: np.ndarray, end: np.ndarray, frame: float, hidden: np.ndarray) -> None:
        if not len(rows):
            return
        start = now.vertex[rows]
        when = np.stack([now.since[rows], np.full(len(rows), frame, np.float32)], 1)
        self._pieces.append(Paths(start, end, when, now.rgb[rows], now.arc[rows], hidden))
        now.arc[rows] += np.hypot(*(end - start).T)
        now.vertex[rows], now.since[rows] = end, frame

    def paths(self) -> Paths:
        """All pieces that are not gone yet, the growing ones of the newest frame included."""
        pieces = list(self._pieces)
        if self._now is not None and self._frame is not None:
            now = self._now
            moved = ((now.xy - now.vertex) ** 2).sum(1) > 0.25
            when = np.stack([now.since, np.full(len(now.since), self._frame, np.float32)], 1)
            pieces.append(
                Paths(now.vertex[moved], now.xy[moved], when[moved], now.rgb[moved], now.arc[moved], now.hidden[moved])
            )
        if not pieces:
            none = np.zeros((0, 2), np.float32)
            return Paths(none, none, none, np.zeros((0, 3), np.float32), none[:, 0], np.zeros(0, bool))
        return Paths(*(np.concatenate(parts) for parts in zip(*pieces, strict=True)))


def _matching(rows: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places in `rows` and in `before` of the same points."""
    if np.array_equal(rows, before):
        places = np.arange(len(rows))
        return places, places
    _, mine, theirs = np.intersect1d(rows, before, assume_unique=True, return_indices=True)
    return mine, theirs

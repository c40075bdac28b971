"""Where a person should look: one figure for each frame of a point, and the places that follow from the whole track."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np

from tapkit.annotate.values import Doubt, Positions
from tapkit.motion import doubts as of_motion
from tapkit.motion.jumps import LEAST, jumps
from tapkit.types import Queries, Tracks, VideoInfo

FAR = 16.0
"""Pixels of a 256x256 frame between forwards and backwards that are as doubtful as can be."""
NOTED = 8.0
"""The same, from which on a place is listed."""
_REMEMBERED = 20_000


def scale_to_256(size: tuple[int, int]) -> float:
    """Pixels of a 256x256 frame in one of a video of `size` (height, width): the geometric mean of both axes."""
    return float(256.0 / np.sqrt(size[0] * size[1]))


def of_frames(
    xy: np.ndarray, seen: np.ndarray, confidence: np.ndarray, disagreement: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Doubt [P,n] float32 in 0..1, of frames that follow each other.

    The greatest of: 1 - confidence where the point is said to be seen; the distance between forwards and backwards, in
    units of `FAR`; 1 where it jumps (`tapkit.motion.jumps`).
    """
    unsure = np.where(seen, 1 - np.nan_to_num(confidence, nan=1.0), 0.0)
    apart = np.nan_to_num(disagreement) * scale_to_256(size) / FAR
    doubts: np.ndarray = np.maximum(unsure, apart).clip(0, 1).astype(np.float32)
    step = np.linalg.norm(np.diff(xy, axis=1), axis=-1)
    far = np.nan_to_num(step) > LEAST * np.hypot(*size)
    far &= seen[:, 1:] & seen[:, :-1]
    rows = np.flatnonzero(far.any(1))
    if len(rows):  # which is rare: the rule itself is asked for these alone
        for jump in jumps(_as_tracks(xy[rows], seen[rows], size)):
            doubts[rows[jump.point], jump.frame] = 1.0
    return doubts


def places(
    found: Sequence[Positions], missed: Mapping[int, Sequence[tuple[int, float]]], size: tuple[int, int]
) -> dict[int, tuple[Doubt, ...]]:
    """The places of points, from all their frames.

    `missed`: keyframes of each at which a prediction arrived elsewhere: (frame, pixels).
    """
    if not found:
        return {}
    parts = [np.stack([getattr(each, name) for each in found]) for name in ("xy", "visible", "confidence")]
    doubts = of_motion(_as_tracks(parts[0], parts[1], size, parts[2]))
    listed: dict[int, list[Doubt]] = {each.id: [] for each in found}
    for jump in doubts.jumps:
        point = found[jump.point].id
        listed[point].append(Doubt(jump.frame, point, "jump", round(jump.pixels, 2)))
    for unsure in doubts.unsure:
        point = found[unsure.point].id
        least = float(np.nanmin(parts[2][unsure.point, unsure.first : unsure.last + 1]))
        listed[point].append(Doubt(unsure.first, point, "unsure", round(least, 4)))
    scale = scale_to_256(size)
    for each in found:
        apart = np.nan_to_num(each.disagreement)
        for frame in peaks(apart * scale, NOTED):
            listed[each.id].append(Doubt(frame, each.id, "disagreement", round(float(apart[frame]), 2)))
        for t, pixels in missed.get(each.id, ()):
            if pixels * scale > NOTED:
                listed[each.id].append(Doubt(t, each.id, "missed", round(pixels, 2)))
    return {point: tuple(each) for point, each in listed.items()}


def peaks(values: np.ndarray, least: float) -> list[int]:
    """The frame of the greatest value of each stretch above `least`.

    >>> peaks(np.array([0, 9, 12, 0, 10]), 8)
    [2, 4]
    """
    above = np.flatnonzero(values > least)
    runs = np.split(above, np.flatnonzero(np.diff(above) > 1) + 1) if len(above) else []
    return [int(run[values[run].argmax()]) for run in runs]


def _as_tracks(xy: np.ndarray, seen: np.ndarray, size: tuple[int, int], confidence: np.ndarray | None = None) -> Tracks:
    there = np.isfinite(xy).all(-1)
    sure = np.ones(seen.shape) if confidence is None else np.nan_to_num(confidence).clip(0, 1)
    names = Queries.at(0, np.zeros((len(xy), 2)))
    # Steps are counted by frames, whatever the time between them.
    video = VideoInfo(size[1], size[0], times=np.arange(xy.shape[1], dtype=float))
    return Tracks(xy, seen & there, sure, there, names, video)


class DoubtCache:
    """The places of points that have not changed since they were last asked for."""

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[Doubt, ...]] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], tuple[Doubt, ...]]) -> tuple[Doubt, ...]:
        """What is known of `key`, else what `make` says."""
        with self._lock:
            found = self._known.get(key)
        if found is None:
            found = make()
            with self._lock:
                while len(self._known) >= _REMEMBERED:
                    del self._known[next(iter(self._known))]
                self._known[key] = found
        return found

    def missing(self, keys: list[Hashable]) -> set[Hashable]:
        """Those of `keys` that would have to be made."""
        with self._lock:
            return {key for key in keys if key not in self._known}

"""Where points are seen, and how much each observation counts: what all later steps work on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tapkit.apps.camera.options import CameraOptions
from tapkit.errors import ShapeError, UsageError
from tapkit.types import Tracks

FEWEST = 8
"""Points that two frames must share to be joined, and that a pose needs."""


@dataclass(frozen=True, eq=False)
class Observations:
    """N points on T frames. Arrays are not changed in place."""

    xy: np.ndarray
    """[N,T,2] float64 pixels, corner origin; 0 where the weight is."""
    weight: np.ndarray
    """[N,T] in 0..1; 0: not observed, or not to be used."""
    host: np.ndarray
    """[N] int64: the frame on which a point was chosen, or first seen; -1 for points that are never observed."""
    size: tuple[int, int]
    """(height, width)."""

    @property
    def frames(self) -> int:
        """T."""
        return int(self.xy.shape[1])

    def __len__(self) -> int:
        return int(self.xy.shape[0])

    def weighted(self, weight: np.ndarray) -> Observations:
        """The same with other weights [N,T] or factors [N,1]."""
        return replace(self, weight=np.broadcast_to(weight, self.weight.shape))

    @classmethod
    def of(
        cls,
        xy: Any,
        visible: Any,
        size: tuple[int, int],
        confidence: Any = None,
        query_frame: Any = None,
        options: CameraOptions | None = None,
    ) -> Observations:
        """Of arrays.

        Args:
            xy: [N,T,2] pixels, corner origin; anything, NaN too, where not visible.
            visible: [N,T] bool, or P(visible), of which 0.5 is the threshold unless the options say otherwise.
            size: (height, width) of the images.
            confidence: [N,T] in 0..1, None: 1.
            query_frame: [N] frames on which the points were chosen; None: where they are first seen.
            options: thresholds.

        Raises `ShapeError`, `UsageError`.
        """
        options = options or CameraOptions()
        xy = np.asarray(xy, np.float64)
        if xy.ndim != 3 or xy.shape[2] != 2:
            raise ShapeError(f"points must be [N,T,2], got {list(xy.shape)}")
        seen = np.asarray(visible)
        sure = np.ones(xy.shape[:2]) if confidence is None else np.asarray(confidence, np.float64)
        for name, array in (("visible", seen), ("confidence", sure)):
            if array.shape != xy.shape[:2]:
                swapped = "; it looks like [T,N]" if array.shape == xy.shape[1::-1] else ""
                raise ShapeError(f"{name} must be [N,T]={list(xy.shape[:2])}, got {list(array.shape)}{swapped}")
        score = seen.astype(np.float64)
        known = seen if seen.dtype == bool else score > (0.5 if options.visible is None else options.visible)
        if not (np.isfinite(score).all() and np.isfinite(sure).all()):
            raise UsageError("visibility and confidence must be numbers: NaN is no probability")
        if (~np.isfinite(xy).all(-1) & known).any():
            raise UsageError("positions must be finite wherever a point is visible")
        hosts = None if query_frame is None else _hosts(query_frame, xy.shape[0], xy.shape[1])
        return cls._make(xy, known, (score * sure).clip(0, 1), sure, hosts, size, options)

    @classmethod
    def of_tracks(cls, tracks: Tracks, options: CameraOptions | None = None) -> Observations:
        """Of tracks, by their tracker's own rule of visibility."""
        options = options or CameraOptions()
        known = tracks.visible_at(options.visible)
        # Visibility is decided already; what is left of the score is how sure the tracker is of the place.
        weight = np.clip(tracks.visible * tracks.confidence, 0, 1).astype(np.float64)
        hosts = tracks.queries.t.astype(np.int64)
        confidence = tracks.confidence.astype(np.float64)
        return cls._make(tracks.xy.astype(np.float64), known, weight, confidence, hosts, tracks.video.size, options)

    @classmethod
    def _make(
        cls,
        xy: np.ndarray,
        known: np.ndarray,
        weight: np.ndarray,
        confidence: np.ndarray,
        hosts: np.ndarray | None,
        size: tuple[int, int],
        options: CameraOptions,
    ) -> Observations:
        height, width = size
        margin = options.border * np.array([width, height])
        with np.errstate(invalid="ignore"):
            known = known & (xy >= margin).all(-1) & (xy <= (width, height) - margin).all(-1)
        sure = confidence >= options.confidence
        if known.any() and sure[known].mean() < 0.5:
            sure = confidence >= np.quantile(confidence[known], 0.2)
        known &= sure
        known &= known.sum(1, keepdims=True) >= options.shortest
        weight = np.where(known, np.maximum(weight, 0.05), 0.0)
        first = np.where(known.any(1), known.argmax(1), -1)
        if hosts is None:
            hosts = first
        else:
            hosts = np.where(known.any(1), hosts, -1)
        return cls(np.where(known[..., None], xy, 0.0), weight, hosts, size)

    def segment(self) -> tuple[int, int]:
        """The longest run of frames (start, stop) in which each shares enough points with the next."""
        seen = self.weight > 0
        shared = (seen[:, :-1] & seen[:, 1:]).sum(0) >= FEWEST
        best, start = (0, 1), 0
        for t in range(self.frames):
            if t == self.frames - 1 or not shared[t]:
                if t + 1 - start > best[1] - best[0]:
                    best = (start, t + 1)
                start = t + 1
        return best


def _hosts(query_frame: Any, count: int, frames: int) -> np.ndarray:
    hosts = np.asarray(query_frame)
    if hosts.shape != (count,):
        raise ShapeError(f"query_frame must be [N]={[count]}, got {list(hosts.shape)}")
    if hosts.size and (not np.isfinite(hosts).all() or hosts.min() < 0 or hosts.max() >= frames):
        raise UsageError(f"query frames must lie within the clip's frames 0 to {frames - 1}")
    return hosts.astype(np.int64)


def moving_weight(dynamic: Any, shape: tuple[int, int]) -> np.ndarray:
    """Factors [N,T] of P(the point moves by itself), given for each point [N] or each observation [N,T]; bool too."""
    p = np.asarray(dynamic, np.float64)
    if p.shape == shape[:1]:
        p = np.broadcast_to(p[:, None], shape)
    if p.shape != shape:
        raise ShapeError(f"dynamic must be [N]={[shape[0]]} or [N,T]={list(shape)}, got {list(np.shape(dynamic))}")
    if not (np.isfinite(p).all() and (p >= 0).all() and (p <= 1).all()):
        raise UsageError("dynamic is a probability in 0..1 or a bool: which points move by themselves")
    return 1.0 - p

"""What an edit makes of tracks: how far each position is trusted, gaps bridged, spikes left out.

Nothing is smoothed that a picture is fitted to; what is bridged has no weight and serves drawings and keyframes only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapkit.errors import ShapeError, UsageError
from tapkit.types import Tracks
from tapkit.types.smoothing import runs_of

MAX_GAP = 10
"""Frames."""
RETURN = 3.0
"""Pixels of the model's input by which a track may miss its start on the way back: there trust has fallen to 1/e."""
SPIKE = (4.0, 2.0)
"""A spike is further than so many median absolute deviations and so many pixels from its neighbours in time."""
NEIGHBOURS = 5
"""Frames that are looked at around a position."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """Tracks as the edits use them."""

    tracks: Tracks
    xy: np.ndarray
    """[N,T,2] float64, pixels, corner origin; gaps bridged, 0 where nothing is known."""
    weight: np.ndarray
    """[N,T] float64, 0..1: what a fit may take from a position."""
    known: np.ndarray
    """[N,T] bool: measured or bridged."""

    @property
    def frames(self) -> int:
        """T."""
        return int(self.xy.shape[1])

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the video."""
        return self.tracks.video.size


def prepare(
    tracks: Tracks,
    *,
    size: tuple[int, int] | None = None,
    max_gap: int = MAX_GAP,
    returned: Tracks | None = None,
    input_size: tuple[int, int] | None = None,
) -> Prepared:
    """Tracks made ready for an edit of a video of `size` (height, width).

    Args:
        tracks: of any tracker; positions that are not finite count as not known.
        size: of the video that is edited. Raises `ShapeError` unless the tracks are of a video of that size.
        max_gap: gaps of at most so many frames are bridged by cubic Hermite curves, with weight 0.
        returned: the same points tracked back from their ends (see `track_back`): where the ways differ, trust falls.
        input_size: (height, width) that the tracker works at, in whose pixels that difference is taken.
    """
    if size is not None and tracks.video.size != size:
        (height, width), (own_height, own_width) = size, tracks.video.size
        raise ShapeError(
            f"these tracks are of a video of {own_width}x{own_height}, this one is {width}x{height}: "
            "track it, or scale them with tapkit.coords.resize"
        )
    if max_gap < 0:
        raise UsageError(f"max_gap is a number of frames, got {max_gap}")
    if not len(tracks):
        raise UsageError("there are no points in these tracks")
    known = tracks.valid & np.isfinite(tracks.xy).all(-1)
    xy = np.where(known[..., None], tracks.xy, 0).astype(np.float64)
    human = np.zeros_like(known) if tracks.keyframe is None else np.asarray(tracks.keyframe)
    weight = np.clip(np.nan_to_num(tracks.visible * tracks.confidence), 0, 1).astype(np.float64)
    weight[~tracks.visible_at()] = 0  # by the authors' own threshold
    weight[human] = 1
    height, width = tracks.video.size
    within = (xy >= 0).all(-1) & (xy[..., 0] <= width) & (xy[..., 1] <= height)
    weight[~(known & within)] = 0
    if returned is not None:
        weight *= _agreement(xy, known, returned, tracks.video.size, input_size)
    xy, bridged = _bridged(xy, weight > 0, known, tracks.times(), max_gap)
    return Prepared(tracks, xy, weight, known | bridged)


def _agreement(
    xy: np.ndarray, known: np.ndarray, returned: Tracks, size: tuple[int, int], input_size: tuple[int, int] | None
) -> np.ndarray:
    if returned.xy.shape != xy.shape:
        raise ShapeError(f"the way back must be of the same points and frames, got {list(returned.xy.shape[:2])}")
    both = known & returned.valid & np.isfinite(returned.xy).all(-1)
    gap = np.where(both[..., None], returned.xy - xy, 0)
    if input_size is not None:
        gap = gap * (input_size[1] / size[1], input_size[0] / size[0])
    return np.asarray(np.exp(-((np.hypot(gap[..., 0], gap[..., 1]) / RETURN) ** 2)))


def _bridged(
    xy: np.ndarray, seen: np.ndarray, known: np.ndarray, times: np.ndarray, longest: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cubic Hermite curves through gaps of seen positions, with the speeds at both ends."""
    out, new = xy.copy(), np.zeros_like(seen)
    if longest == 0 or seen.shape[1] < 3:
        return out, new
    t = np.broadcast_to(np.arange(seen.shape[1]), seen.shape)
    before = np.maximum.accumulate(np.where(seen, t, -1), axis=1)
    after = np.minimum.accumulate(np.where(seen, t, seen.shape[1])[:, ::-1], axis=1)[:, ::-1]
    row, frame = np.nonzero(~seen & (before >= 0) & (after < seen.shape[1]) & (after - before - 1 <= longest))
    if not len(row):
        return out, new
    a, b = before[row, frame], after[row, frame]
    runs = runs_of(seen)
    pa, pb = np.maximum(a - 2, runs.begin[row, a]), np.minimum(b + 2, runs.end[row, b] - 1)
    span = (times[b] - times[a])[:, None]
    u = ((times[frame] - times[a]) / span[:, 0])[:, None]

    def slope(late: np.ndarray, early: np.ndarray) -> np.ndarray:
        gone = (times[late] - times[early])[:, None]
        return np.asarray(np.where(gone > 0, (xy[row, late] - xy[row, early]) / np.maximum(gone, 1e-9) * span, 0))

    ma, mb = slope(a, pa), slope(pb, b)
    straight = xy[row, b] - xy[row, a]
    ma, mb = np.where(pa[:, None] == a[:, None], straight, ma), np.where(pb[:, None] == b[:, None], straight, mb)
    curve = (
        (2 * u**3 - 3 * u**2 + 1) * xy[row, a]
        + (u**3 - 2 * u**2 + u) * ma
        + (-2 * u**3 + 3 * u**2) * xy[row, b]
        + (u**3 - u**2) * mb
    )
    out[row, frame] = curve
    new[row, frame] = True
    return out, new


def spikes(residual: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Positions far from their neighbours in time, once the motion of their region is taken off -> bool [N,T].

    Args:
        residual: [N,T,2], what is left of each position.
        weight: [N,T]; positions of weight 0 neither are spikes nor count as neighbours.
    """
    half = NEIGHBOURS // 2
    own = np.where(weight[..., None] > 0, residual, np.nan)
    padded = np.pad(own, ((0, 0), (half, half), (0, 0)), constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(padded, NEIGHBOURS, axis=1)  # [N,T,2,5]
    middle = _median(around)
    distance = np.hypot(*np.moveaxis(own - middle, -1, 0))
    spread = _median(np.where(np.isfinite(distance), distance, np.nan)[:, None])[:, 0]
    found: np.ndarray = np.nan_to_num(distance) > SPIKE[0] * np.nan_to_num(spread)[:, None] + SPIKE[1]
    return found


def _median(values: np.ndarray) -> np.ndarray:
    """Medians along the last axis of what is a number; NaN where nothing is."""
    ordered = np.sort(values, -1)
    count = np.isfinite(ordered).sum(-1, keepdims=True)
    low, high = np.maximum((count - 1) // 2, 0), np.maximum(count // 2, 0)
    high = np.minimum(high, values.shape[-1] - 1)
    return np.asarray(0.5 * (np.take_along_axis(ordered, low, -1) + np.take_along_axis(ordered, high, -1))[..., 0])

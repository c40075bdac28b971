"""Smoothing positions over time, run by run: nothing is smoothed across frames in which a point was not seen.

A. Savitzky and M. Golay, Smoothing and Differentiation of Data by Simplified Least Squares Procedures, Analytical
Chemistry 36, 1964: a polynomial is fitted to the frames around each frame and read there. The fit is in the frames' own
times, so that uneven frame rates are no trouble, and at the ends of a run the window lies to one side.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

_CELLS = 1 << 21
"""Positions whose windows are gathered at a time."""


class Runs(NamedTuple):
    """Where runs of consecutive frames begin and end, for each cell of a mask [N,T]: int64 [N,T] both."""

    begin: np.ndarray
    end: np.ndarray
    """Excluded."""


def runs_of(mask: np.ndarray) -> Runs:
    """The run of each cell of mask [N,T] bool; cells outside of all runs hold rubbish."""
    frames = mask.shape[1]
    t = np.broadcast_to(np.arange(frames), mask.shape)
    first = mask & ~np.pad(mask, ((0, 0), (1, 0)))[:, :-1]
    last = mask & ~np.pad(mask, ((0, 0), (0, 1)))[:, 1:]
    begin = np.maximum.accumulate(np.where(first, t, 0), axis=1)
    end = np.minimum.accumulate(np.where(last, t + 1, frames)[:, ::-1], axis=1)[:, ::-1]
    return Runs(begin, end)


def polynomial(xy: np.ndarray, mask: np.ndarray, times: np.ndarray, window: int, order: int) -> np.ndarray:
    """Least-squares polynomials of `order` over windows of `window` frames (odd).

    Args:
        xy: [N,T,2].
        mask: [N,T] bool, positions that count; the others are returned as they are.
        times: [T] seconds, strictly increasing.

    Returns:
        [N,T,2] float64. Runs shorter than the window are fitted as a whole, by a lower order where it must be.
    """
    out = np.array(xy, np.float64)
    at_once = max(_CELLS // max(xy.shape[1], 1), 1)
    for start in range(0, len(xy), at_once):
        part = slice(start, start + at_once)
        _fit(out[part], np.asarray(xy[part], np.float64), mask[part], times, window, order)
    return out


def _fit(out: np.ndarray, xy: np.ndarray, mask: np.ndarray, times: np.ndarray, window: int, order: int) -> None:
    runs = runs_of(mask)
    row, t = np.nonzero(mask)
    begin, end = runs.begin[row, t], runs.end[row, t]
    length = np.minimum(window, end - begin)
    low = np.clip(t - window // 2, begin, end - length)
    for width in np.unique(length).tolist():
        here = np.flatnonzero(length == width)
        # What a window makes of its frames depends on the frame and where the window begins, not on the point.
        shift = t[here] - low[here]
        key = t[here] * width + shift
        used = np.zeros(len(times) * width, bool)
        used[key] = True
        own = np.flatnonzero(used)
        factors = _factors(times, own // width, own // width - own % width, width, min(order, width - 1))
        which = (np.cumsum(used) - 1)[key]
        frames = low[here][:, None] + np.arange(width)
        values = xy[row[here][:, None], frames]
        out[row[here], t[here]] = np.einsum("mw,mwc->mc", factors[which], values)


def _factors(times: np.ndarray, t: np.ndarray, low: np.ndarray, width: int, order: int) -> np.ndarray:
    """What each of `width` frames from `low` [M] on contributes to the fit at frame t [M]: [M,width]."""
    span = times[low[:, None] + np.arange(width)] - times[t][:, None]
    scale = np.maximum(np.abs(span).max(1, keepdims=True), 1e-12)
    powers = (span / scale)[..., None] ** np.arange(order + 1)
    # The fitted polynomial at its own origin is its constant term: the first row of the pseudo-inverse.
    return np.linalg.pinv(powers)[:, 0]


def median(xy: np.ndarray, mask: np.ndarray, window: int) -> np.ndarray:
    """Medians of `window` frames (odd) along each axis, [N,T,2] float64; windows end where the run does."""
    out = np.array(xy, np.float64)
    half = window // 2
    runs = runs_of(mask)
    offsets = np.arange(-half, half + 1)
    at_once = max(_CELLS // max(xy.shape[1] * window, 1), 1)
    for start in range(0, len(xy), at_once):
        part = slice(start, start + at_once)
        own = np.where(mask[part][..., None], xy[part], np.nan).astype(np.float64)
        around = sliding_window_view(
            np.pad(own, ((0, 0), (half, half), (0, 0)), constant_values=np.nan), window, axis=1
        )
        t = np.arange(xy.shape[1])[:, None] + offsets
        inside = (t >= runs.begin[part][..., None]) & (t < runs.end[part][..., None])
        values = np.where(inside[:, :, None], around, np.nan)
        values = np.sort(values, -1)  # what is not there goes to the end
        known = np.isfinite(values).sum(-1, keepdims=True)
        middle = [np.take_along_axis(values, np.maximum(k, 0), -1)[..., 0] for k in ((known - 1) // 2, known // 2)]
        out[part] = np.where(mask[part][..., None], (middle[0] + middle[1]) / 2, out[part])
    return out


def filled(xy: np.ndarray, mask: np.ndarray, times: np.ndarray, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Straight lines, in time, through gaps of at most `longest` frames between known positions.

    Returns:
        xy [N,T,2] float64 and which cells were filled [N,T] bool.
    """
    out = np.array(xy, np.float64)
    t = np.broadcast_to(np.arange(mask.shape[1]), mask.shape)
    before = np.maximum.accumulate(np.where(mask, t, -1), axis=1)
    after = np.minimum.accumulate(np.where(mask, t, mask.shape[1])[:, ::-1], axis=1)[:, ::-1]
    new = ~mask & (before >= 0) & (after < mask.shape[1]) & (after - before - 1 <= longest)
    row, frame = np.nonzero(new)
    start, end = before[row, frame], after[row, frame]
    share = (times[frame] - times[start]) / (times[end] - times[start])
    out[row, frame] = out[row, start] + share[:, None] * (out[row, end] - out[row, start])
    return out, new

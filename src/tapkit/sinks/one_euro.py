"""Positions smoothed as they come: the One-Euro filter, which follows fast points closely and holds slow ones still."""

from __future__ import annotations

from collections import deque

import numpy as np

from tapkit.errors import UsageError
from tapkit.sinks.base import Sink
from tapkit.types import FrameResult, Provenance
from tapkit.video.base import Frame

SPEED_CUTOFF = 1.0
"""Hz, of the low-pass by which a point's speed is found."""
_KEPT = 1024
"""Frames whose times are remembered: more than any tracker's latency."""


class OneEuro:
    """Hands results on to another sink, with smoothed positions.

    G. Casiez, N. Roussel and D. Vogel, 1 Euro Filter, CHI 2012: a low-pass of the first order whose cutoff rises with
    the point's speed (one cutoff for x and y, so that turned pictures give turned paths). Nothing waits: a result goes
    on when it comes. A point begins anew where it was hidden or a person set it; provisional results go on as they are.
    Memory is that of the points.

    Args:
        sink: what takes the results.
        source: where they come from; its rule and threshold decide what is visible.
        cutoff: Hz, of a point that stands still; lower is smoother.
        beta: how much the cutoff rises, Hz for each pixel per second; higher follows faster.

    Raises `UsageError` unless the cutoff is positive and beta at least 0.
    """

    def __init__(self, sink: Sink, source: Provenance | None = None, cutoff: float = 1.0, beta: float = 0.05) -> None:
        if not (cutoff > 0 and beta >= 0 and np.isfinite([cutoff, beta]).all()):
            raise UsageError(f"cutoff is a positive number of Hz and beta at least 0, got {cutoff} and {beta}")
        self._sink, self._source = sink, source or Provenance()
        self._cutoff, self._beta = cutoff, beta
        self._times: deque[float] = deque(maxlen=_KEPT)
        self._stepped = 0
        self._then = np.zeros(0)
        """Time of each row's last position, seconds; NaN: it begins anew."""
        self._raw, self._xy, self._speed = (np.zeros((0, 2)) for _ in range(3))
        """Of each row: its last position as it came and smoothed, and its speed, pixels per second."""

    def frame(self, frame: Frame) -> None:
        """See `Sink`."""
        self._times.append(frame.time)
        self._stepped += 1
        self._sink.frame(frame)

    def result(self, result: FrameResult) -> None:
        """See `Sink`."""
        back = self._stepped - result.frame
        if result.final and 0 < back <= len(self._times):
            result = result._replace(xy=self._smoothed(result, self._times[-back]))
        self._sink.result(result)

    def finish(self) -> None:
        """See `Sink`."""
        self._sink.finish()

    def _smoothed(self, result: FrameResult, time: float) -> np.ndarray:
        """Positions [M,2] float32 of a result; the state goes on."""
        rows, raw = result.rows, result.xy.astype(np.float64)
        self._make_room(int(rows.max(initial=-1)) + 1)
        seen = self._source.visible_at(result.visible, result.confidence) & np.isfinite(raw).all(1)
        with np.errstate(invalid="ignore"):
            step = time - self._then[rows]
            on = seen & (step > 0)
        if result.keyframe is not None:
            on &= ~np.asarray(result.keyframe)
        out = raw.copy()
        own, step = rows[on], step[on][:, None]
        moved = (raw[on] - self._raw[own]) / step
        speed = self._speed[own] + _share(SPEED_CUTOFF, step) * (moved - self._speed[own])
        cutoff = self._cutoff + self._beta * np.hypot(speed[:, :1], speed[:, 1:])
        out[on] = self._xy[own] + _share(cutoff, step) * (raw[on] - self._xy[own])
        self._speed[rows] = 0
        self._speed[own] = speed
        self._raw[rows], self._xy[rows] = raw, out
        self._then[rows] = np.where(seen, time, np.nan)
        return out.astype(np.float32)

    def _make_room(self, count: int) -> None:
        missing = count - len(self._then)
        if missing > 0:
            missing = max(missing, len(self._then) // 2)  # rarely, however points are added
            self._then = np.concatenate([self._then, np.full(missing, np.nan)])
            self._raw, self._xy, self._speed = (
                np.concatenate([each, np.zeros((missing, 2))]) for each in (self._raw, self._xy, self._speed)
            )


def _share(cutoff: float | np.ndarray, step: np.ndarray) -> np.ndarray:
    """What a new value contributes to a low-pass of the first order, for `step` seconds since the last one."""
    return np.asarray(1 / (1 + 1 / (2 * np.pi * cutoff * step)))

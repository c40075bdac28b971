"""Which frames of a camera a session has been given, and how many were left out between them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple

from tapkit.errors import QueryError, UsageError

KEPT = 4096
"""Gaps that are remembered one by one; older ones are only counted, so that memory does not grow."""


class Gap(NamedTuple):
    """Frames of the camera that the session was not given."""

    frame: int
    """The session's frame that came after them."""
    missing: int
    """How many they were."""


class FrameClock:
    """Numbers of frames as the camera counts them, from what is said with each step: a number, or a time.

    A time is taken to be that of the nearest whole number of frame periods after the one before, so a jitter of less
    than half a period loses nothing.
    """

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._mode: str | None = None
        self._frame = -1
        self._number = -1
        self._time: float | None = None
        self.dropped = 0
        self._gaps: deque[Gap] = deque(maxlen=KEPT)
        self._forgotten = -1
        """The session's frame of the last gap that is no longer remembered."""

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """The last of the gaps, oldest first."""
        return tuple(self._gaps)

    def missing(self, number: Any, time: Any) -> int:
        """How many frames were left out before the one of this number or time. Changes nothing.

        Raises `UsageError` for one that does not come after the one before, or is not given as with the others.
        """
        mode = "number" if number is not None else "time" if time is not None else "nothing"
        if number is not None and (isinstance(number, bool) or not isinstance(number, Integral)):
            raise UsageError(f"a frame number is a whole number, got {number!r}")
        if time is not None and not (isinstance(time, Real) and math.isfinite(float(time))):
            raise UsageError(f"the time of a frame is in seconds, got {time!r}")
        if self._mode is None:
            return 0
        if mode != self._mode:
            said = {"number": "number=", "time": "time=", "nothing": "neither number= nor time="}
            raise UsageError(
                f"the first frame of this session came with {said[self._mode]}, this one with {said[mode]}: "
                "give the same with every step, or dropped frames cannot be counted"
            )
        if time is not None and self._time is not None and not float(time) > self._time:
            raise UsageError(f"a frame of {float(time):g} s cannot follow one of {self._time:g} s: times must rise")
        if number is not None:
            if int(number) <= self._number:
                raise UsageError(f"frame number {int(number)} cannot follow number {self._number}: numbers must rise")
            return int(number) - self._number - 1
        if time is not None and self._time is not None:
            return max(round((float(time) - self._time) * self._fps) - 1, 0)
        return 0

    def take(self, missing: int, number: Any, time: Any) -> None:
        """The frame was stepped."""
        self._frame += 1
        if self._mode is None:
            self._mode = "number" if number is not None else "time" if time is not None else "nothing"
            self._number = int(number) if number is not None else 0
        else:
            self._number += missing + 1
        self._time = None if time is None else float(time)
        if missing:
            self.dropped += missing
            if len(self._gaps) == KEPT:
                self._forgotten = self._gaps[0].frame
            self._gaps.append(Gap(self._frame, missing))

    def number_of(self, frame: int) -> int:
        """The camera's number of the session's `frame`. Raises `QueryError` for one not stepped, or too long ago."""
        if not 0 <= frame <= self._frame:
            raise QueryError(f"frame {frame} has not been stepped: this session has had {self._frame + 1}")
        if frame < self._forgotten:
            raise QueryError(f"frame {frame} was too long ago: only the last {KEPT} gaps are remembered")
        later = 0
        for gap in reversed(self._gaps):
            if gap.frame <= frame:
                break
            later += gap.missing
        return self._number - (self._frame - frame) - later

    def to_json(self) -> dict[str, Any]:
        """All that must be kept to go on counting."""
        return {
            "mode": self._mode,
            "frame": self._frame,
            "number": self._number,
            "time": self._time,
            "dropped": self.dropped,
            "gaps": [list(gap) for gap in self._gaps],
            "forgotten": self._forgotten,
        }

    def load_json(self, kept: Mapping[str, Any]) -> None:
        """Go on with what `to_json` gave."""
        self._mode, self._frame, self._number, self._time = (kept[name] for name in ("mode", "frame", "number", "time"))
        self.dropped, self._forgotten = kept["dropped"], kept["forgotten"]
        self._gaps = deque((Gap(*gap) for gap in kept["gaps"]), maxlen=KEPT)

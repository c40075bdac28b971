"""VideoInfo: what is known of a video besides its pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from tapkit.errors import UsageError


@dataclass(frozen=True, eq=False)
class VideoInfo:
    """Size and timing of a video as it is shown: rotation metadata is already applied.

    `frames` is None while unknown (cameras, iterators). `times` [T] float64 are the presentation times of
    the frames in seconds, None where the source has none: frame t is then shown at t / fps.
    """

    width: int
    """Pixels, as shown."""
    height: int
    """Pixels, as shown."""
    fps: Fraction = Fraction(25)
    """Average frames per second, exact."""
    frames: int | None = None
    """Number of frames, None if unknown."""
    times: np.ndarray | None = None
    """Seconds [T] float64, strictly increasing; None: constant rate."""
    pixel_aspect: Fraction = Fraction(1)
    """Width of a pixel divided by its height."""
    start_frame: int = 0
    """Number that the source's own naming gives to frame 0 (image sequences, timecode); only exports use it."""
    frame_step: int = 1
    """How far apart the numbers are that the source's own naming gives to consecutive frames: more than 1 for every
    n-th frame of some footage. Frames are counted one by one all the same; exports say so."""
    path: str | None = None
    """Where it was read from, if from a file."""

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise UsageError(f"a video needs at least one pixel, got {self.width}x{self.height}")
        for name in ("fps", "pixel_aspect"):  # plain numbers are taken for the fractions that they stand for
            value = getattr(self, name)
            if not isinstance(value, Fraction):
                try:
                    exact = Fraction(value)
                except (ValueError, TypeError, OverflowError, ZeroDivisionError) as error:
                    raise UsageError(f"{name} must be a number or a fraction, got {value!r}") from error
                object.__setattr__(self, name, exact.limit_denominator(1001) if isinstance(value, float) else exact)
        if self.path is not None and "\0" in self.path:
            raise UsageError(f"{self.path[:60]!r} is no path: it has a NUL in it")
        if self.fps <= 0:
            raise UsageError(f"fps must be positive, got {self.fps}")
        if self.times is not None:
            times = np.array(self.times, dtype=np.float64)
            if times.ndim != 1 or (self.frames is not None and len(times) != self.frames):
                raise UsageError(f"times must be [T] with T={self.frames}, got shape {times.shape}")
            times.setflags(write=False)
            object.__setattr__(self, "times", times)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    def time_of(self, frame: int) -> float:
        """Seconds at which `frame` is shown."""
        if self.times is not None and 0 <= frame < len(self.times):
            return float(self.times[frame])
        return float(frame / self.fps)

    def times_of(self, frames: int) -> np.ndarray:
        """Seconds at which each of the first `frames` frames is shown, [frames] float64: `time_of` of all at once."""
        # Products of integers below 2**53 are exact, so that one division rounds as the fraction's own does.
        times = np.arange(frames) * self.fps.denominator / self.fps.numerator
        if self.times is not None:
            known = min(frames, len(self.times))
            times[:known] = self.times[:known]
        return times

    @property
    def variable_rate(self) -> bool:
        """Whether the frames are unevenly spaced by more than a millisecond and 2 % of a frame."""
        if self.times is None or len(self.times) < 3:
            return False
        steps = np.diff(self.times)
        return bool(np.ptp(steps) > max(2e-3, 0.04 * float(np.median(steps))))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `times` is left out (it is stored as an array)."""
        return {
            "width": self.width,
            "height": self.height,
            "fps": [self.fps.numerator, self.fps.denominator],
            "frames": self.frames,
            "pixel_aspect": [self.pixel_aspect.numerator, self.pixel_aspect.denominator],
            "start_frame": self.start_frame,
            "path": self.path,
            **({"frame_step": self.frame_step} if self.frame_step != 1 else {}),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], times: np.ndarray | None = None) -> VideoInfo:
        """The inverse of `to_dict`."""
        return cls(
            width=int(values["width"]),
            height=int(values["height"]),
            fps=Fraction(*values.get("fps", (25, 1))),
            frames=values.get("frames"),
            times=times,
            pixel_aspect=Fraction(*values.get("pixel_aspect", (1, 1))),
            start_frame=int(values.get("start_frame", 0)),
            frame_step=int(values.get("frame_step", 1)),
            path=values.get("path"),
        )

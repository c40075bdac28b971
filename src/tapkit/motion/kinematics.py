"""Steps and speeds of points, in pixels or in a unit of length, by the frames' own times."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tapkit.errors import UsageError
from tapkit.types import Tracks


@dataclass(frozen=True)
class Scale:
    """What a pixel is worth."""

    per_pixel: float = 1.0
    unit: str = "px"

    @classmethod
    def parse(cls, text: str) -> Scale:
        """ "0.12 mm" or "0.12mm": a pixel is 0.12 mm wide; "0.5": of no particular unit.

        >>> Scale.parse("0.12 mm")
        Scale(per_pixel=0.12, unit='mm')
        """
        found = re.fullmatch(r"\s*([\d.]+(?:[eE][-+]?\d+)?)\s*([^\W\d_]{0,8})\s*", text)
        try:
            value = float(found[1]) if found else 0.0
        except ValueError:
            value = 0.0
        if found is None or not 0 < value < float("inf"):
            raise UsageError(f'a scale is the width of a pixel and its unit, as in "0.12 mm", not {text!r}')
        return cls(value, found[2] or "units")

    @classmethod
    def of(cls, scale: Scale | str | float) -> Scale:
        """A scale, its text, or a number of units to a pixel."""
        if isinstance(scale, Scale):
            return scale
        return cls.parse(str(scale))


PIXELS = Scale()
"""Lengths in pixels."""


class Steps(NamedTuple):
    """From each frame to the next, for N points over T frames."""

    vector: np.ndarray
    """[N,T-1,2] float64, in the scale's unit, x right and y down; NaN where one of the two positions is not known."""
    length: np.ndarray
    """[N,T-1] float64."""
    seconds: np.ndarray
    """[T-1] float64."""


def steps(
    tracks: Tracks, scale: Scale | str | float = PIXELS, *, threshold: float | None = None, hidden: bool = False
) -> Steps:
    """How far points moved between neighbouring frames.

    Args:
        tracks: N points over T frames.
        scale: of a pixel: a `Scale` or its text, "0.12 mm". Pixels that are not square count as wide as they are
            shown.
        threshold: visible from this score on, as in `Tracks.visible_at`.
        hidden: count positions in frames where a point was not seen, too.
    """
    scale = Scale.of(scale)
    known = tracks.valid if hidden else tracks.visible_at(threshold)
    square = np.array([float(tracks.video.pixel_aspect), 1.0])
    xy = np.where(known[..., None], tracks.xy, np.nan).astype(np.float64) * square * scale.per_pixel
    vector = np.diff(xy, axis=1)
    return Steps(vector, np.hypot(vector[..., 0], vector[..., 1]), np.diff(tracks.times()))


def speeds(moved: Steps) -> np.ndarray:
    """Speed at each frame [N,T] float64, in the unit per second: that of the steps before and after it, or of the one
    that is known; NaN where none is."""
    count, between = moved.length.shape
    length = np.full((count, between + 2), np.nan)
    length[:, 1:-1] = moved.length
    seconds = np.pad(moved.seconds, 1)
    there = np.isfinite(length)
    distance = np.where(there, length, 0)
    time = np.where(there, seconds, 0)
    total = time[:, :-1] + time[:, 1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, (distance[:, :-1] + distance[:, 1:]) / total, np.nan)

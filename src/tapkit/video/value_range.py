"""One black and one white for a whole clip whose pictures have more than 8 bits.

Cameras store 12 bits in 16, microscopes use a few hundred counts of 65536, float pictures have any unit. What means
black and white is settled once for a clip, when it is opened, so that brightness does not jump between frames:

- what the caller states (`value_range`) or the file states (a DICOM window) is taken, what lies beyond is clipped;
- else the type's own range (0..65535, 0..1 for floats), if the values fill a quarter of it at least;
- else the range of the values, with one warning. All frames are looked at where that is little work, 32 evenly
  spread ones of longer clips, and then a tenth is added on both sides for what the others hold.
  Stray values (hot pixels: 1 of 10,000 at most) that stretch the range to more than twice its size are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tapkit.errors import UsageError
from tapkit.video.layout import SCANNED, ValueRange

LOOKED_AT = 32
"""Frames of a long clip whose values are looked at."""
FILLED = 0.25
"""The share of a type's own range that values must fill: below it fewer than 64 of 256 grey levels would be left."""
STRAY = 1e-4
"""The share of pixels that may be stray values."""
PIXELS = 1 << 20
"""Pixels of a picture, evenly spread, that are sorted to find stray values."""


class Levels(NamedTuple):
    """What is black and white in the pictures of a clip."""

    range: ValueRange
    note: str | None = None
    """The warning, if the range was inferred from the values."""

    def to_uint8(self, values: np.ndarray) -> np.ndarray:
        """`values` of any type as uint8, rounded; what lies beyond black and white is clipped, NaN is black."""
        black, white = self.range.black, self.range.white
        if values.dtype == np.uint8 and (black, white) == (0, 255):
            return values
        scaled = (values.astype(np.float32) - np.float32(black)) * np.float32(255 / (white - black))
        if values.dtype.kind == "f":
            scaled = np.nan_to_num(scaled, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
        rounded: np.ndarray = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
        return rounded


def looked_at(count: int, values: int) -> Sequence[int]:
    """The frames of a clip of `count` frames of `values` values each that are looked at."""
    if count * values <= SCANNED or count <= LOOKED_AT:
        return range(count)
    return [int(index) for index in np.linspace(0, count - 1, LOOKED_AT)]


def stated_levels(value_range: float | tuple[float, float], first: np.ndarray, name: str) -> Levels:
    """Levels as the caller states them. Raises UsageError if they leave nothing of the first picture."""
    try:
        levels = Levels(ValueRange.stated(value_range))
    except (TypeError, ValueError) as error:
        raise UsageError(f"value_range must be (black, white), or white alone, got {value_range!r}") from error
    inside = (first >= levels.range.black) & (first <= levels.range.white)
    if not inside.any():
        low, high = float(np.nanmin(first)), float(np.nanmax(first))
        raise UsageError(
            f"value_range={value_range!r}: no value of the first picture of {name} lies in it, "
            f"they are {low:g}..{high:g}"
        )
    return levels


def find_levels(
    read: Callable[[int], np.ndarray | None], count: int, first: np.ndarray, full: float | None, name: str
) -> Levels:
    """Levels of a clip of `count` pictures, of which `read` gives each (None: cannot be read).

    `full`: the greatest value that the type of the pictures can hold, None where it says nothing (floats, counts).
    """
    if first.dtype == np.uint8:
        return Levels(ValueRange(0, 255))
    chosen = looked_at(count, first.size)
    extremes = _extremes(picture for index in chosen if (picture := read(index)) is not None)
    usual = _usual(extremes, first.dtype, full)
    if usual is not None:
        return Levels(usual)
    low, high = extremes.low, extremes.high
    if high - low > 2 * (extremes.most_high - extremes.most_low) > 0:
        low, high = extremes.most_low, extremes.most_high
    if len(chosen) < count:
        room = 0.1 * (high - low)
        low, high = (max(low - room, 0.0) if extremes.low >= 0 else low - room), high + room
    if not low < high:
        low, high = (low, low + 1) if low else (0.0, 1.0)
    which = "all" if len(chosen) == count else f"{len(chosen)} of"
    note = (
        f"{name}: black is taken to be {low:g} and white {high:g}, from the values of {which} {count} frames "
        f"({extremes.low:g}..{extremes.high:g}); value_range=(black, white) or --value-range states others"
    )
    return Levels(ValueRange(low, high), note)


class _Extremes(NamedTuple):
    """The least and the greatest value of some pictures, with and without stray ones."""

    low: float
    high: float
    most_low: float
    most_high: float


def _extremes(pictures: Iterable[np.ndarray]) -> _Extremes:
    found = []
    for picture in pictures:
        values = picture.ravel()
        if values.dtype.kind == "f":
            values = values[np.isfinite(values)]
        if not values.size:
            continue
        some = np.sort(values[:: max(values.size // PIXELS, 1)])
        cut = int(STRAY * some.size)
        found.append((float(values.min()), float(values.max()), float(some[cut]), float(some[-1 - cut])))
    if not found:
        return _Extremes(0.0, 0.0, 0.0, 0.0)
    low, high, most_low, most_high = np.array(found).T
    return _Extremes(float(low.min()), float(high.max()), float(most_low.min()), float(most_high.max()))


def _usual(found: _Extremes, dtype: np.dtype, full: float | None) -> ValueRange | None:
    """The range that the type suggests, if the values lie in it and fill it well enough."""
    if dtype == np.bool_:
        return ValueRange(0, 1)
    choices: list[tuple[float, float, float]] = []  # white, and what values may be at least and at most
    if full is not None:
        choices = [(full, 0, full)]
    elif dtype.kind == "f":
        choices = [(1, -0.01, 1.01), (255, -2.55, 257.55)]  # resizing with a cubic filter overshoots a little
    elif dtype.kind in "iu":
        choices = [(255, 0, 255), (65535, 0, 65535)]
    span = found.most_high - found.most_low
    for white, least, most in choices:
        if found.low >= least and found.high <= most and span >= FILLED * white:
            return ValueRange(0, white)
    return None

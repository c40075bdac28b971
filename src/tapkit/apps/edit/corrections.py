"""Corrections: where something really is on a frame, and how the difference is spread over the frames between."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tapkit import storage
from tapkit.apps.edit.prepare import Prepared
from tapkit.errors import QueryError, UsageError
from tapkit.types.queries import csv_points


@dataclass(frozen=True)
class Pin:
    """On `frame`, what is called `name` is at `xy`, pixels."""

    frame: int
    name: int | str
    """The number of a corner or vertex (from 0), or the id of a point."""
    xy: tuple[float, float]

    def __post_init__(self) -> None:
        if not (len(self.xy) == 2 and np.isfinite(self.xy).all()):
            raise QueryError(f"a pin is at (x, y), two finite numbers, got {self.xy}")


def read_pins(path: str) -> list[Pin]:
    """From a CSV file with the columns t, x, y and id (a corner's or vertex's number, or a point's id)."""
    points, ids = csv_points(storage.check_file(path))
    if ids is None:
        raise QueryError(f"{path} needs a column id, which says what each line is about")
    return [Pin(int(t), name, (x, y)) for (t, x, y), name in zip(points, ids, strict=True)]


def offsets(pins: Sequence[Pin], path: np.ndarray, reference: int, numbers: Iterable[int]) -> np.ndarray:
    """What is to be added to paths [T,k,2] of numbered corners or vertices so that they pass through their pins.

    The offset goes from pin to pin by a smoothstep, begins with nothing on the reference frame (unless that is pinned
    itself) and stays beyond the outermost pins. Raises `QueryError` for an unknown corner or frame.
    """
    out = np.zeros_like(path)
    known = {str(number): number for number in numbers}
    own: dict[int, dict[int, np.ndarray]] = {}
    for pin in pins:
        if str(pin.name) not in known:
            raise QueryError(f"a pin is of {pin.name!r}, but the corners are numbered {', '.join(known)}")
        if not 0 <= pin.frame < len(path):
            raise QueryError(f"a pin is on frame {pin.frame}, the frames are 0..{len(path) - 1}")
        number = known[str(pin.name)]
        own.setdefault(number, {})[pin.frame] = np.asarray(pin.xy) - path[pin.frame, number]
    for number, offset in own.items():
        offset.setdefault(reference, np.zeros(2))
        out[:, number] = spread(offset, len(path))
    return out


def spread(offset: dict[int, np.ndarray], frames: int, linear: bool = False) -> np.ndarray:
    """Offsets known on some frames, on all of them [T,2]: a smoothstep (or a line) between two, constant beyond."""
    keys = sorted(offset)
    out = np.empty((frames, 2))
    out[: keys[0]], out[keys[-1] :] = offset[keys[0]], offset[keys[-1]]
    for a, b in itertools.pairwise(keys):
        u = (np.arange(a, b) - a) / (b - a)
        share = u if linear else u * u * (3 - 2 * u)
        out[a:b] = offset[a] + share[:, None] * (offset[b] - offset[a])
    return out


def pin_points(prepared: Prepared, pins: Sequence[Pin]) -> Prepared:
    """Tracks whose points pass through their pins, which count in full: the offset is spread along the track.

    Raises `QueryError` for a point that there is not.
    """
    rows = {name: row for row, name in enumerate(prepared.tracks.ids.tolist())}
    xy, weight, known = prepared.xy.copy(), prepared.weight.copy(), prepared.known.copy()
    own: dict[int, dict[int, np.ndarray]] = {}
    for pin in pins:
        if str(pin.name) not in rows:
            raise QueryError(f"a pin is of {pin.name!r}, but no such point is tracked")
        if not 0 <= pin.frame < prepared.frames:
            raise QueryError(f"a pin is on frame {pin.frame}, the frames are 0..{prepared.frames - 1}")
        row = rows[str(pin.name)]
        before = xy[row, pin.frame] if known[row, pin.frame] else np.asarray(pin.xy)
        own.setdefault(row, {})[pin.frame] = np.asarray(pin.xy) - before
    for row, offset in own.items():
        pinned = list(offset)
        asked = int(prepared.tracks.queries.t[row])
        offset.setdefault(asked, np.zeros(2))
        xy[row] += spread(offset, prepared.frames)
        for frame in pinned:
            xy[row, frame] = next(
                pin.xy for pin in pins if str(pin.name) == prepared.tracks.ids[row] and pin.frame == frame
            )
            weight[row, frame], known[row, frame] = 1.0, True
    return replace(prepared, xy=xy, weight=weight, known=known)


def check_pins(pins: object) -> None:
    """Raise `UsageError` unless they are a sequence of pins."""
    if not isinstance(pins, (list, tuple)) or not all(isinstance(pin, Pin) for pin in pins):
        raise UsageError(f"pins are a list of tapkit.apps.edit.Pin, got {pins!r}"[:200])

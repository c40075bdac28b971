"""Where tracks are in doubt: points that jump, and stretches in which a tracker is not sure of what it says it sees."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tapkit.motion.jumps import Jump, jumps
from tapkit.types import Tracks

SURE = 0.5
"""Confidence below which a position is more likely wrong than right (to within the radius on the model's card)."""
SHORTEST = 5
"""Unsure frames that a stretch has at least."""
BREAK = 2
"""Sure frames within a stretch that do not end it."""
_CELLS = 1 << 20


class Unsure(NamedTuple):
    """One stretch in which a point is said to be in sight, and its position is more likely wrong than right."""

    point: int
    """Row of the point."""
    first: int
    last: int
    """Frames, both included."""


class Doubts(NamedTuple):
    """What should be looked at, by point and frame."""

    jumps: list[Jump]
    unsure: list[Unsure]


def doubts(tracks: Tracks) -> Doubts:
    """Jumps (as `jumps`), and stretches of `SHORTEST` frames or more with P(visible) > 0.5 and confidence < `SURE`."""
    found = Doubts([], [])
    chunk = max(_CELLS // max(tracks.frames, 1), 1)
    for start in range(0, len(tracks), chunk):
        part = tracks[start : start + chunk]
        found.jumps.extend(jump._replace(point=jump.point + start) for jump in jumps(part))
        found.unsure.extend(each._replace(point=each.point + start) for each in _unsure(part))
    return found


def unsure_at(tracks: Tracks) -> np.ndarray:
    """Frames in which a point is said to be in sight while its position is more likely wrong than right, [N,T] bool."""
    doubtful: np.ndarray = tracks.valid & (tracks.visible > 0.5) & (tracks.confidence < SURE)
    return doubtful


def _unsure(tracks: Tracks) -> list[Unsure]:
    doubtful = unsure_at(tracks)
    found = []
    for row in np.flatnonzero(doubtful.any(1)).tolist():
        frames = np.flatnonzero(doubtful[row])
        for run in np.split(frames, np.flatnonzero(np.diff(frames) > BREAK + 1) + 1):
            if len(run) >= SHORTEST:
                found.append(Unsure(row, int(run[0]), int(run[-1])))
    return found


def sentence(tracks: Tracks, found: Doubts | None = None) -> str:
    """One line for people: "3 points jumped (left_block at frame 66), 5 are unsure from frame 80 on".

    Named are the longest jump and the stretch that begins first. Frames are counted from 0, as those of queries are.
    """
    found = doubts(tracks) if found is None else found
    parts = []
    if found.jumps:
        worst = max(found.jumps, key=lambda jump: jump.pixels)
        where = f"{tracks.ids[worst.point]} at frame {worst.frame}"
        parts.append(f"{_points(len({jump.point for jump in found.jumps}))} jumped ({where})")
    last = tracks.frames - 1
    lasting = [each for each in found.unsure if each.last == last]
    passing = [each for each in found.unsure if each.last < last]
    if lasting:
        parts.append(f"{_are(lasting, parts)} unsure from frame {min(each.first for each in lasting)} on")
    if passing:
        one = min(passing, key=lambda each: each.first)
        where = f"{tracks.ids[one.point]} in frames {one.first} to {one.last}"
        parts.append(f"{_are(passing, parts)} unsure for a while ({where})")
    return ", ".join(parts) or "no point jumped, none is unsure for long"


def facts(tracks: Tracks) -> dict[str, Any]:
    """The same as plain values: points by name, frames counted from 0."""
    found = doubts(tracks)
    return {
        "doubts": sentence(tracks, found),
        "jumps": [
            {"id": str(tracks.ids[each.point]), "frame": each.frame, "pixels": round(each.pixels, 3)}
            for each in found.jumps
        ],
        "unsure": [
            {"id": str(tracks.ids[each.point]), "first": each.first, "last": each.last} for each in found.unsure
        ],
    }


def _points(number: int) -> str:
    return f"{number} point" + "s" * (number != 1)


def _are(stretches: list[Unsure], said: list[str]) -> str:
    number = len({each.point for each in stretches})
    return f"{number if said else _points(number)} {'is' if number == 1 else 'are'}"

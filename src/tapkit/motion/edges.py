"""Lengths and directions of a skeleton's edges, and the angles between edges that meet in a point (joints).

Angles are in degrees, as the picture is seen, with square pixels: a direction is 0 to the right and 90 upwards; a joint
a-b-c has the angle between b-a and b-c, from 0 (folded) to 180 (straight).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from tapkit.errors import UsageError
from tapkit.motion.kinematics import PIXELS, Scale
from tapkit.types import Tracks
from tapkit.types import skeleton as edges_of

EDGE_COLUMNS: Mapping[str, str] = {
    "name": "edge a-b or joint a-b-c, by the ids of its points",
    "kind": "edge or joint",
    "frames": "frames in which all its points were seen",
    "mean_length": "of an edge, over these frames",
    "min_length": "shortest",
    "max_length": "longest",
    "mean_angle": "of an edge the mean direction (of unit vectors); of a joint the mean angle",
    "min_angle": "smallest; of an edge relative to its mean direction, so that it may lie below -180",
    "max_angle": "largest; of an edge it may lie above 180",
}
"""What `edge_stats` says. Lengths have their unit in the column's name, angles "deg"."""


class Lengths(NamedTuple):
    """E edges over T frames."""

    names: list[str]
    """E of them, "a-b"."""
    length: np.ndarray
    """[E,T] float64, in the scale's unit; NaN where one of the two points was not seen."""
    direction: np.ndarray
    """[E,T] float64, degrees in (-180, 180], from the first point to the second; NaN also where the length is 0."""


class Angles(NamedTuple):
    """J joints over T frames."""

    names: list[str]
    """J of them, "a-b-c": b is where the edges meet."""
    angle: np.ndarray
    """[J,T] float64, degrees in 0..180; NaN where a point was not seen, or two are in the same place."""


def edge_lengths(
    tracks: Tracks, scale: Scale | str | float = PIXELS, *, threshold: float | None = None, hidden: bool = False
) -> Lengths:
    """Length and direction of each edge of `tracks.skeleton` on each frame.

    `threshold`, `hidden`: as in `tapkit.motion.steps`. Raises `UsageError` where there is no skeleton.
    """
    scale = Scale.of(scale)
    xy = _positions(tracks, threshold, hidden)
    pairs = np.array(edges_of.rows(tracks.skeleton, tracks.ids.tolist()), np.int64)
    vector = xy[pairs[:, 1]] - xy[pairs[:, 0]]
    length = np.hypot(vector[..., 0], vector[..., 1])
    # Minus zero, which a level edge has upwards, would be a direction of -180 instead of 180.
    up = 0.0 - vector[..., 1]
    direction = np.where(length > 0, np.degrees(np.arctan2(up, vector[..., 0])), np.nan)
    names = ["-".join(edge) for edge in tracks.skeleton]
    return Lengths(names, length * scale.per_pixel, direction)


def joint_angles(tracks: Tracks, *, threshold: float | None = None, hidden: bool = False) -> Angles:
    """Angle of each joint on each frame: of any two edges of `tracks.skeleton` that meet in a point."""
    xy = _positions(tracks, threshold, hidden)
    joints = _joints(edges_of.rows(tracks.skeleton, tracks.ids.tolist()))
    rows = np.array(joints, np.int64).reshape(-1, 3)
    one, two = xy[rows[:, 0]] - xy[rows[:, 1]], xy[rows[:, 2]] - xy[rows[:, 1]]
    cross = one[..., 0] * two[..., 1] - one[..., 1] * two[..., 0]
    dot = (one * two).sum(-1)
    there = (np.hypot(one[..., 0], one[..., 1]) > 0) & (np.hypot(two[..., 0], two[..., 1]) > 0)
    # By the tangent: the cosine alone is blunt near 0 and 180 degrees.
    angle = np.where(there, np.degrees(np.arctan2(np.abs(cross), dot)), np.nan)
    ids = tracks.ids.tolist()
    return Angles(["-".join(ids[row] for row in joint) for joint in joints], angle)


def edge_stats(
    tracks: Tracks, scale: Scale | str | float = PIXELS, *, threshold: float | None = None, hidden: bool = False
) -> list[dict[str, Any]]:
    """A dictionary for each edge and each joint, keys as `EDGE_COLUMNS` names them with units: "mean_length_mm",
    "mean_angle_deg". What cannot be said is None. `threshold`, `hidden`: as in `tapkit.motion.steps`.
    """
    scale = Scale.of(scale)
    edges = edge_lengths(tracks, scale, threshold=threshold, hidden=hidden)
    joints = joint_angles(tracks, threshold=threshold, hidden=hidden)
    rows = []
    for name, length, direction in zip(*edges, strict=True):
        seen = np.isfinite(length)
        measured = _three(length[seen], "length", scale.unit) | _directions(direction[np.isfinite(direction)])
        rows.append({"name": name, "kind": "edge", "frames": int(seen.sum()), **measured})
    for name, angle in zip(*joints, strict=True):
        known = angle[np.isfinite(angle)]
        measured = _three(known[:0], "length", scale.unit) | _three(known, "angle", "deg")
        rows.append({"name": name, "kind": "joint", "frames": len(known), **measured})
    return rows


def edge_rows(
    tracks: Tracks, scale: Scale | str | float = PIXELS, *, threshold: float | None = None, hidden: bool = False
) -> list[dict[str, Any]]:
    """A dictionary for each frame: "frame" as the footage counts, "time_s", and for each edge "a-b length_px" and
    "a-b angle_deg", for each joint "a-b-c angle_deg"; None where it is not known."""
    scale = Scale.of(scale)
    edges = edge_lengths(tracks, scale, threshold=threshold, hidden=hidden)
    joints = joint_angles(tracks, threshold=threshold, hidden=hidden)
    columns: dict[str, list[float | None]] = {}
    for name, length, direction in zip(*edges, strict=True):
        columns[f"{name} length_{scale.unit}"] = _known(length)
        columns[f"{name} angle_deg"] = _known(direction)
    for name, angle in zip(*joints, strict=True):
        columns[f"{name} angle_deg"] = _known(angle)
    first, times = tracks.video.start_frame, tracks.times().tolist()
    return [
        {"frame": first + t, "time_s": times[t]} | {name: values[t] for name, values in columns.items()}
        for t in range(tracks.frames)
    ]


def _positions(tracks: Tracks, threshold: float | None, hidden: bool) -> np.ndarray:
    """[N,T,2] float64 in square pixels; NaN where not known."""
    if not tracks.skeleton:
        raise UsageError("these tracks have no skeleton: name its edges (--skeleton a-b,b-c; Tracks.skeleton)")
    known = tracks.valid if hidden else tracks.visible_at(threshold)
    square = np.array([float(tracks.video.pixel_aspect), 1.0])
    positions: np.ndarray = np.where(known[..., None], tracks.xy, np.nan).astype(np.float64) * square
    return positions


def _joints(pairs: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """(row, middle row, row) of any two edges that meet, in the order in which points appear in the skeleton."""
    others: dict[int, list[int]] = {}
    for first, second in pairs:
        others.setdefault(first, []).append(second)
        others.setdefault(second, []).append(first)
    return [(a, middle, b) for middle, ends in others.items() for a, b in combinations(ends, 2)]


def _three(values: np.ndarray, what: str, unit: str) -> dict[str, float | None]:
    """Mean, smallest and largest; None of no values."""
    three = (values.mean(), values.min(), values.max()) if len(values) else (None, None, None)
    kinds = ("mean", "min", "max")
    return {f"{k}_{what}_{unit}": None if v is None else float(v) for k, v in zip(kinds, three, strict=True)}


def _directions(degrees: np.ndarray) -> dict[str, float | None]:
    """The same of directions: their mean is that of unit vectors, and the extremes are counted from it."""
    if not len(degrees):
        return _three(degrees, "angle", "deg")
    radians = np.radians(degrees)
    mean = float(np.degrees(np.arctan2(np.sin(radians).mean(), np.cos(radians).mean())))
    off = (degrees - mean + 180) % 360 - 180
    return {"mean_angle_deg": mean, "min_angle_deg": mean + float(off.min()), "max_angle_deg": mean + float(off.max())}


def _known(values: np.ndarray) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in values.tolist()]

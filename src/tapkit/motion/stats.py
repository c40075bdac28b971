"""One line for each point: how long, how far, how fast, how well seen."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tapkit import storage
from tapkit.errors import UsageError
from tapkit.motion.jumps import jumps
from tapkit.motion.kinematics import PIXELS, Scale, speeds, steps
from tapkit.types import Tracks
from tapkit.types.table import shown

COLUMNS: Mapping[str, str] = {
    "id": "name of the point",
    "frames": "frames for which the point was asked",
    "visible_frames": "of these, frames in which it was seen",
    "visible_share": "visible_frames / frames",
    "first_frame": "first frame in which it was seen, as the footage counts",
    "last_frame": "last one",
    "seconds": "from the first to the last",
    "path_length": "sum of the steps between neighbouring frames in both of which it was seen",
    "displacement": "straight line from the first to the last position seen",
    "mean_speed": "path_length / the time of these steps",
    "median_speed": "of the speeds at single frames",
    "max_speed": "largest speed at a single frame",
    "gaps": "stretches between two positions seen in which it was not",
    "longest_gap": "frames of the longest",
    "jumps": "steps far longer than those around them (see tapkit.motion.jumps)",
    "mean_confidence": "over the frames in which it was seen",
}
"""What `stats` says, and what it means. Lengths and speeds have their unit in the column's name."""
_LENGTHS = ("path_length", "displacement")
_SPEEDS = ("mean_speed", "median_speed", "max_speed")


def stats(
    tracks: Tracks, scale: Scale | str | float = PIXELS, *, threshold: float | None = None, hidden: bool = False
) -> list[dict[str, Any]]:
    """A dictionary for each point, keys as `COLUMNS` names them with units: "path_length_px", "mean_speed_mm_per_s".

    What cannot be said (the speed of a point seen once) is None. `threshold`, `hidden`: as in `steps`.
    """
    scale = Scale.of(scale)
    known = tracks.valid if hidden else tracks.visible_at(threshold)
    moved = steps(tracks, scale, threshold=threshold, hidden=hidden)
    speed = speeds(moved)
    jumped = Counter(jump.point for jump in jumps(tracks, threshold))
    square = np.array([float(tracks.video.pixel_aspect), 1.0]) * scale.per_pixel
    times = tracks.times()
    rows = []
    for row, name in enumerate(tracks.ids.tolist()):
        frames = np.flatnonzero(known[row])
        there = np.isfinite(moved.length[row])
        length, time = float(moved.length[row][there].sum()), float(moved.seconds[there].sum())
        own = speed[row][np.isfinite(speed[row])]
        gaps = np.diff(frames) - 1
        asked = int(tracks.valid[row].sum())
        ends = tracks.xy[row, frames[[0, -1]]].astype(np.float64) * square if len(frames) else None
        number = tracks.video.start_frame
        rows.append(
            _with_units(
                {
                    "id": name,
                    "frames": asked,
                    "visible_frames": len(frames),
                    "visible_share": len(frames) / asked if asked else None,
                    "first_frame": int(frames[0]) + number if len(frames) else None,
                    "last_frame": int(frames[-1]) + number if len(frames) else None,
                    "seconds": float(times[frames[-1]] - times[frames[0]]) if len(frames) else None,
                    "path_length": length if there.any() else None,
                    "displacement": None if ends is None else float(np.hypot(*(ends[1] - ends[0]))),
                    "mean_speed": length / time if time else None,
                    "median_speed": float(np.median(own)) if len(own) else None,
                    "max_speed": float(own.max()) if len(own) else None,
                    "gaps": int((gaps > 0).sum()),
                    "longest_gap": int(gaps.max(initial=0)),
                    "jumps": jumped[row],
                    "mean_confidence": float(tracks.confidence[row, frames].mean()) if len(frames) else None,
                },
                scale.unit,
            )
        )
    return rows


def _with_units(values: dict[str, Any], unit: str) -> dict[str, Any]:
    return {column_name(name, unit): value for name, value in values.items()}


def column_name(name: str, unit: str) -> str:
    """What a column of `COLUMNS` is called in tables of that unit.

    >>> column_name("mean_speed", "mm"), column_name("seconds", "mm"), column_name("gaps", "mm")
    ('mean_speed_mm_per_s', 'duration_s', 'gaps')
    """
    if name in _LENGTHS:
        return f"{name}_{unit}"
    return f"{name}_{unit}_per_s" if name in _SPEEDS else "duration_s" if name == "seconds" else name


def write_stats(rows: list[dict[str, Any]], path: str | Path) -> Path:
    """The rows of `stats`, `edge_stats` or `edge_rows` as CSV, numbers in full; names that a spreadsheet would compute
    have an apostrophe before."""
    path = Path(path)
    if not rows:
        raise UsageError("there are no points to write statistics of")
    with storage.atomic(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([shown(name) for name in rows[0]])
        writer.writerows([_cell(value) for value in row.values()] for row in rows)
    return path


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return shown(value) if isinstance(value, str) else value

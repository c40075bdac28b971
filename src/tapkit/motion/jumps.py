"""Jumps: steps of a point that is called visible before and after, far longer than the point's motion around them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tapkit.motion.kinematics import steps
from tapkit.types import Tracks

LEAST = 0.05
"""Shortest jump, as a share of the frame's diagonal."""
TIMES = 5.0
"""How many times the usual step around it a jump is."""
AROUND = 10
"""Frames on each side that say what is usual."""


class Jump(NamedTuple):
    """One jump."""

    point: int
    """Row of the point."""
    frame: int
    """The frame at which it has jumped; on the frame before it was still where it came from."""
    pixels: float


def jumps(tracks: Tracks, threshold: float | None = None) -> list[Jump]:
    """All jumps, by point and frame.

    A step is a jump if it is longer than `LEAST` of the diagonal and `TIMES` as long as the median of the point's steps
    within `AROUND` frames on both sides, the step itself left out.
    """
    length = steps(tracks, threshold=threshold).length
    diagonal = float(np.hypot(tracks.video.width * float(tracks.video.pixel_aspect), tracks.video.height))
    found = []
    for row, step in zip(*np.nonzero(np.nan_to_num(length) > LEAST * diagonal), strict=True):
        around = np.concatenate([length[row, max(step - AROUND, 0) : step], length[row, step + 1 : step + 1 + AROUND]])
        around = around[np.isfinite(around)]
        if not len(around) or length[row, step] > TIMES * float(np.median(around)):
            found.append(Jump(int(row), int(step) + 1, float(length[row, step])))
    return found

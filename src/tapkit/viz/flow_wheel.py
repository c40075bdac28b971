"""Flow as colours: Middlebury's wheel (Baker et al., "A Database and Evaluation Methodology for Optical Flow", 2011).

Direction is hue, length is saturation: white where nothing moves, full colour at `scale` pixels, darker beyond.
"""

from __future__ import annotations

import numpy as np

from tapkit.errors import UsageError

_ARCS = ((15, 0, 1, 1), (6, 1, 0, -1), (4, 1, 2, 1), (11, 2, 1, -1), (13, 2, 0, 1), (6, 0, 2, -1))
"""Red to yellow to green to cyan to blue to magenta to red: steps of the arc, the channel that is full, the one that
changes, and whether it rises or falls."""


def color_wheel() -> np.ndarray:
    """The 55 colours of the wheel, [55,3] float32 in 0..1, red first."""
    arcs = []
    for steps, full, changing, sign in _ARCS:
        ramp = np.floor(255 * np.arange(steps) / steps) / 255
        arc = np.zeros((steps, 3), np.float32)
        arc[:, full] = 1
        arc[:, changing] = ramp if sign > 0 else 1 - ramp
        arcs.append(arc)
    return np.concatenate(arcs)


_WHEEL = color_wheel()


def flow_colors(xy: np.ndarray, scale: float) -> np.ndarray:
    """Flow [H,W,2] (x right, y down, pixels) as a picture [H,W,3] uint8; black where it is not a number.

    Args:
        scale: the length in pixels that is shown in full colour.
    """
    if not scale > 0:
        raise UsageError(f"the flow shown in full colour must be longer than 0 pixels, got {scale!r}")
    known = np.isfinite(xy).all(-1)
    x, y = np.moveaxis(np.where(known[..., None], xy, 0).astype(np.float32) / np.float32(scale), -1, 0)
    length = np.hypot(x, y)
    place = (np.arctan2(-y, -x) / np.pi + 1) / 2 * (len(_WHEEL) - 1)
    low = np.floor(place).astype(int)
    share = (place - low)[..., None]
    color = (1 - share) * _WHEEL[low] + share * _WHEEL[(low + 1) % len(_WHEEL)]
    color = np.where(length[..., None] <= 1, 1 - length[..., None] * (1 - color), 0.75 * color)
    color[~known] = 0
    return np.asarray(np.floor(255 * color), np.uint8)

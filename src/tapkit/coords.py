"""The coordinate convention and every conversion from and to it.

tapkit's own convention, everywhere: (x, y), x right, y down, in pixels of the original video, **corner
origin**: (0, 0) is the outer corner of the top-left pixel, whose centre is (0.5, 0.5); x runs over [0, W].
Scaling an image then scales its points, and nothing else. What other programs and models use is converted
here and nowhere else. All functions take and return arrays or tensors `[..., 2]` and leave their input alone.

"Size" is always (height, width) as in array shapes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from tapkit.constants import constant

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array", np.ndarray, "torch.Tensor")
Size = tuple[int, int]
"""(height, width) in pixels."""


def _pair(xy: Array, x: float, y: float) -> Array:
    """The pair (x, y) in the kind, dtype and place of `xy`."""
    if isinstance(xy, np.ndarray):
        dtype = xy.dtype if np.issubdtype(xy.dtype, np.floating) else np.float32
        return np.array([x, y], dtype=dtype)
    return constant((x, y), xy.dtype, xy.device)


def resize(xy: Array, size: Size, new_size: Size) -> Array:
    """Points of an image of `size`, in the same image resized to `new_size`.

    >>> resize(np.array([320.0, 240.0]), (480, 640), (256, 256)).tolist()
    [128.0, 128.0]
    """
    (height, width), (new_height, new_width) = size, new_size
    return xy * _pair(xy, new_width / width, new_height / height)


def to_centers(xy: Array) -> Array:
    """To "pixel centre = integer" (OpenCV, numpy indices, DeepLabCut, SLEAP, COCO, rerun).

    >>> to_centers(np.array([0.5, 0.5])).tolist()
    [0.0, 0.0]
    """
    return xy - 0.5


def from_centers(xy: Array) -> Array:
    """From "pixel centre = integer".

    >>> from_centers(np.array([0.0, 0.0])).tolist()
    [0.5, 0.5]
    """
    return xy + 0.5


def resize_centers(xy: Array, size: Size, new_size: Size) -> Array:
    """The `align_corners=True` resize of centre-origin points: the centres of the corner pixels stay put.

    CoTracker resizes its input and its points so: x' = x (W' - 1) / (W - 1).
    A side of one pixel has nothing to spread and maps to 0.

    >>> resize_centers(np.array([639.0, 479.0]), (480, 640), (384, 512)).tolist()
    [511.0, 383.0]
    """
    (height, width), (new_height, new_width) = size, new_size
    return xy * _pair(xy, (new_width - 1) / max(width - 1, 1), (new_height - 1) / max(height - 1, 1))


def to_normalized(xy: Array, size: Size) -> Array:
    """To [0, 1] over the frame, corner origin (TAP-Vid files).

    >>> to_normalized(np.array([320.0, 120.0]), (480, 640)).tolist()
    [0.5, 0.25]
    """
    return resize(xy, size, (1, 1))


def from_normalized(xy: Array, size: Size) -> Array:
    """From [0, 1] over the frame, corner origin.

    >>> from_normalized(np.array([0.5, 0.25]), (480, 640)).tolist()
    [320.0, 120.0]
    """
    return resize(xy, (1, 1), size)


def to_grid_sample(xy: Array, size: Size) -> Array:
    """To the [-1, 1] coordinates of `torch.nn.functional.grid_sample(align_corners=False)`.

    >>> to_grid_sample(np.array([0.0, 480.0]), (480, 640)).tolist()
    [-1.0, 1.0]
    """
    return resize(xy, size, (2, 2)) - 1.0


def flip_y(xy: Array, height: int) -> Array:
    """To or from a bottom-left origin, y up (Nuke, 3DEqualizer, Flame): its own inverse.

    >>> flip_y(np.array([10.0, 0.0]), 480).tolist()
    [10.0, 480.0]
    """
    return xy * _pair(xy, 1.0, -1.0) + _pair(xy, 0.0, float(height))


def to_tyx(queries: Array) -> Array:
    """(t, x, y) rows as (t, y, x), the order of TAPIR, LocoTrack and TAP-Vid queries; its own inverse.

    >>> to_tyx(np.array([[3.0, 10.0, 20.0]])).tolist()
    [[3.0, 20.0, 10.0]]
    """
    if isinstance(queries, np.ndarray):
        return queries[..., [0, 2, 1]]
    import torch  # a tensor: it is imported already

    return torch.cat([queries[..., :1], queries[..., 1:].flip(-1)], -1)


def inside(xy: Array, size: Size) -> Array:
    """Whether each point lies in the frame (borders included) -> bool [...].

    >>> inside(np.array([[0.0, 0.0], [640.0, 480.0], [640.1, 3.0]]), (480, 640)).tolist()
    [True, True, False]
    """
    height, width = size
    x, y = xy[..., 0], xy[..., 1]
    return (x >= 0) & (x <= width) & (y >= 0) & (y <= height)


def shrunk(size: Size, longest: int | None) -> Size | None:
    """(height, width) with a longer side of `longest` pixels; None: `size` is no longer than that, or may be anything.

    >>> shrunk((480, 960), 240), shrunk((480, 960), 960), shrunk((480, 960), None)
    ((120, 240), None, None)
    """
    scale = 1.0 if longest is None else longest / max(size)
    return None if scale >= 1 else (max(round(size[0] * scale), 1), max(round(size[1] * scale), 1))

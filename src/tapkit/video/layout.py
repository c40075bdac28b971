"""Which axis of an array is which, and which numbers mean black and white."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapkit.errors import ShapeError, UsageError

CHANNELS = (1, 3, 4)
"""Numbers of channels that a picture can have: grey, RGB, RGBA."""
SCANNED = 1 << 26
"""An array of up to so many values is looked through to find its range; of a larger one 32 frames are."""


def find_layout(shape: tuple[int, ...], layout: str | None = None, picture: bool = False) -> str:
    """The axes of an array as letters of BTHWC, from its shape; `layout` states them instead.

    `picture`: it is known to be a single picture (so [3,H,W] is RGB, not three grey frames).

    Raises ShapeError where nothing fits or more than one reading does.

    >>> find_layout((24, 3, 480, 640)), find_layout((24, 480, 640, 3)), find_layout((1, 24, 3, 480, 640))
    ('TCHW', 'THWC', 'BTCHW')
    >>> find_layout((24, 480, 640)), find_layout((480, 640, 3))
    ('THW', 'HWC')
    >>> find_layout((3, 480, 640, 3))
    'THWC'
    """
    if layout is not None:
        return _check_layout(shape, layout.upper())
    fits = [name for name in _LAYOUTS.get(len(shape), ()) if _fits(shape, name)]
    if picture:
        fits = [name for name in fits if "T" not in name or shape[name.index("T")] == 1]
    if len(fits) > 1:
        # [3,H,W,3] is three frames of a video, not one with the channels first whose pictures are 3 pixels wide.
        fits = [name for name in fits if not {shape[name.index(axis)] for axis in "HW"} & set(CHANNELS)] or fits
    if len(shape) == 5 and shape[0] != 1:
        raise ShapeError(
            f"a batch of {shape[0]} videos {list(shape)} is not one video: pass video[0], video[1], ... one by one, or "
            "all to tapkit.track_batch"
        )
    if len(fits) > 1:
        raise ShapeError(
            f"an array of shape {list(shape)} may be {' or '.join(fits)}: say which, for instance layout={fits[0]!r}"
        )
    if not fits:
        raise ShapeError(
            "a video is [T,H,W,3], [T,3,H,W], [1,T,3,H,W] or grey [T,H,W] (also with 1 or 4 channels), "
            f"got {list(shape)}; if its axes are in another order, state them, for instance layout='CTHW'"
        )
    return fits[0]


_LAYOUTS = {
    2: ("HW",),
    3: ("THW", "HWC", "CHW"),
    4: ("THWC", "TCHW", "CTHW"),
    5: ("BTHWC", "BTCHW", "BCTHW"),
}


def _fits(shape: tuple[int, ...], name: str) -> bool:
    """Whether an array of `shape` can sensibly be read as `name`."""
    sizes = dict(zip(name, shape, strict=True))
    # Channels first of all axes are taken for RGB only: a few grey or RGBA frames are the likelier reading.
    channels = (3,) if name in ("CTHW", "BCTHW", "CHW") else CHANNELS[1:] if name == "HWC" else CHANNELS
    if "C" in sizes and sizes["C"] not in channels:
        return False
    if name == "THW" and sizes["W"] in CHANNELS[1:]:
        return False
    return sizes["H"] > 0 and sizes["W"] > 0


def _check_layout(shape: tuple[int, ...], layout: str) -> str:
    if sorted(layout) != sorted(set(layout) & set("BTHWC")) or not {"H", "W"} <= set(layout):
        raise UsageError(f"layout={layout!r} must name each axis once by a letter of BTHWC, H and W among them")
    if len(layout) != len(shape):
        raise ShapeError(f"layout={layout!r} names {len(layout)} axes, but the array {list(shape)} has {len(shape)}")
    sizes = dict(zip(layout, shape, strict=True))
    if sizes.get("C", 1) not in CHANNELS:
        raise ShapeError(f"with layout={layout!r} an array {list(shape)} has {sizes['C']} channels, not 1, 3 or 4")
    if sizes.get("B", 1) != 1:
        raise ShapeError(f"with layout={layout!r} an array {list(shape)} holds {sizes['B']} videos: pass one")
    return layout


class ValueRange:
    """The numbers that mean black and white in an array, and the way from there to uint8."""

    def __init__(self, black: float, white: float) -> None:
        if not (np.isfinite(black) and np.isfinite(white) and black < white):
            raise UsageError(f"value_range must be (black, white) with black < white, got ({black}, {white})")
        self.black, self.white = float(black), float(white)

    @classmethod
    def stated(cls, value_range: float | tuple[float, float]) -> ValueRange:
        """From the caller's (black, white), or white alone."""
        if isinstance(value_range, (int, float)):
            return cls(0.0, value_range)
        return cls(*value_range)

    @classmethod
    def found(cls, dtype: np.dtype, low: float, high: float) -> ValueRange:
        """From the type and the extremes of the values. Raises UsageError where they leave it open."""
        if dtype == np.bool_:
            return cls(0, 1)
        if dtype == np.uint8:
            return cls(0, 255)
        if not (np.isfinite(low) and np.isfinite(high)):
            raise UsageError("the video holds values that are not numbers (NaN or infinite): replace them first")
        span = f"the values of this {dtype} video lie in {low:g}..{high:g}"
        if dtype.kind == "f":
            if low >= -0.01 and high <= 1.01:  # resizing with a cubic filter overshoots a little
                return cls(0, 1)
            if low >= -2.55 and 2 <= high <= 257.55:
                return cls(0, 255)
        elif low >= 0 and high <= 255 and dtype != np.uint16:
            return cls(0, 255)
        elif dtype == np.uint16 and high > 4095:
            return cls(0, 65535)
        example = "(-1, 1)" if low < 0 else next((str(w) for w in (255, 1023, 4095, 65535) if high <= w), f"{high:g}")
        raise UsageError(f"{span}: state which are black and white, for instance value_range={example}")

    def to_uint8(self, image: np.ndarray, what: str) -> np.ndarray:
        """`image` as uint8 0..255, rounded, as a new array. Raises UsageError for NaN or values far outside."""
        if image.dtype == np.uint8 and (self.black, self.white) == (0, 255):
            return image.copy()
        scaled = (image.astype(np.float32) - self.black) * (255 / (self.white - self.black))
        if not np.isfinite(scaled).all():
            raise UsageError(f"{what} holds values that are not numbers (NaN or infinite): replace them first")
        if scaled.min(initial=0) < -26 or scaled.max(initial=0) > 281:  # a tenth of the range may overshoot
            raise UsageError(
                f"{what} has values in {float(image.min()):g}..{float(image.max()):g}, but black and white are taken "
                f"to be {self.black:g} and {self.white:g}: state them with value_range=(black, white)"
            )
        rounded: np.ndarray = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
        return rounded


def to_rgb(image: np.ndarray) -> np.ndarray:
    """Grey [H,W], [H,W,1], RGB [H,W,3] or RGBA [H,W,4] uint8 as RGB [H,W,3]; alpha is left out.

    >>> to_rgb(np.full((2, 2), 5, np.uint8)).shape
    (2, 2, 3)
    """
    if image.ndim == 2:
        image = image[..., None]
    if image.shape[-1] == 1:
        return np.repeat(image, 3, axis=-1)
    return np.ascontiguousarray(image[..., :3])


def as_numpy(values: Any) -> np.ndarray:
    """A tensor (of any device and dtype), array or anything numpy understands, as an array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        # numpy has no bfloat16.
        values = values.float() if values.is_floating_point() else values
        values = values.numpy()
    return np.asarray(values)


def numpy_dtype(values: Any) -> np.dtype:
    """The dtype of a tensor or array, as numpy names it (bfloat16 counts as float32)."""
    return as_numpy(values[(slice(0, 1),) * len(values.shape)]).dtype

"""Frames handed to a running tracker one by one: any usual array, tensor or picture, as uint8 RGB.

What one array cannot say by itself is stated by the caller (the order of the colours, which values are black and
white) or settled by the first frame of its type and kept, so that brightness does not jump from frame to frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from tapkit.errors import ShapeError, UsageError
from tapkit.video.base import Frame
from tapkit.video.layout import CHANNELS, ValueRange, as_numpy, to_rgb

Colors = Literal["rgb", "bgr"]
"""Order of the colour channels: of Pillow, imageio and PyAV, or of OpenCV."""
_CHANNELS = {1: "gray", 3: "RGB", 4: "RGBA"}


class FrameReader:
    """Converts the frames of one session.

    Args:
        colors: the order of the channels, where there are three or four; alpha, which comes last, is left out.
        value_range: (black, white), or white alone; None: 0..255 for uint8, and for other types what their first frame
            leaves no doubt about (0..1 or 0..255 for floats, 0..65535 for uint16 with values beyond 4095).

    Raises `UsageError` for orders and ranges that cannot be.
    """

    def __init__(self, colors: Colors = "rgb", value_range: float | tuple[float, float] | None = None) -> None:
        if colors not in get_args(Colors):
            raise UsageError(f"colors must be rgb (Pillow, imageio, PyAV) or bgr (OpenCV), got {colors!r}")
        self.colors = colors
        try:
            self._stated = None if value_range is None else ValueRange.stated(value_range)
        except (TypeError, ValueError) as error:
            raise UsageError(f"value_range must be (black, white), or white alone, got {value_range!r}") from error
        self._ranges: dict[str, ValueRange] = {}
        """By dtype: settled by the first frame of that type."""
        self._last: tuple[str, str, int, ValueRange] | None = None

    @property
    def said(self) -> str:
        """How the last frame was read, in words; empty before the first."""
        if self._last is None:
            return ""
        dtype, layout, channels, values = self._last
        shape = ",".join("3" if a == "C" and channels == 3 else str(channels) if a == "C" else a for a in layout)
        kind = _CHANNELS[channels]
        kind = kind.replace("RGB", "BGR") if self.colors == "bgr" else kind
        alpha = ", alpha left out" if channels == 4 else ""
        return f"{dtype} [{shape}], {kind}{alpha}, black {values.black:g}, white {values.white:g}"

    def read(self, frame: Any) -> np.ndarray | Tensor:
        """RGB uint8: an array [H,W,3], or a tensor [3,H,W] where the frame is a uint8 tensor (on its own device).

        frame: [H,W], [H,W,1], [H,W,3], [H,W,4] or with the channels first, of bool, integers or floats; array, tensor,
        PIL image or `Frame`. Raises `ShapeError` for what is no picture, `UsageError` for values of unknown meaning.
        """
        if isinstance(frame, Frame):
            frame = frame.image
        if isinstance(frame, Tensor) and frame.dtype == torch.uint8 and self._stated is None:
            return self._tensor(frame)
        plain = _plain(frame)
        layout = _layout(plain.shape, plain.dtype, first=isinstance(frame, Tensor))
        channels = plain.shape[layout.index("C")] if "C" in layout else 1
        values = self._range(plain)
        kept = plain.reshape([n for n, axis in zip(plain.shape, layout, strict=True) if axis not in "TB"])
        axes = [axis for axis in layout if axis not in "TB"]
        picture = kept.transpose([axes.index(axis) for axis in "HWC" if axis in axes])
        self._last = (str(plain.dtype), "".join(axes), channels, values)
        picture = self._in_order(picture, channels)
        if plain.dtype == np.uint8 and (values.black, values.white) == (0, 255):
            return to_rgb(picture)
        return to_rgb(values.to_uint8(picture, f"a {plain.dtype} frame"))

    def _tensor(self, frame: Tensor) -> Tensor:
        """A uint8 tensor, without leaving its device."""
        layout = _layout(tuple(frame.shape), "uint8", first=True)
        kept = frame.reshape([n for n, axis in zip(frame.shape, layout, strict=True) if axis not in "TB"])
        axes = [axis for axis in layout if axis not in "TB"]
        picture = kept[None] if "C" not in axes else kept.permute([axes.index(axis) for axis in "CHW"])
        channels = int(picture.shape[0])
        self._last = ("uint8", "".join(axes), channels, ValueRange(0, 255))
        if channels == 1:
            return picture.expand(3, -1, -1)
        return picture[:3].flip(0) if self.colors == "bgr" else picture[:3]

    def _in_order(self, picture: np.ndarray, channels: int) -> np.ndarray:
        if channels == 1 or self.colors == "rgb":
            return picture
        return picture[..., 2::-1]  # BGR and BGRA alike

    def _range(self, values: np.ndarray) -> ValueRange:
        if self._stated is not None:
            return self._stated
        name = str(values.dtype)
        if name not in self._ranges:
            self._ranges[name] = _found(values)
        return self._ranges[name]

    # -- saving -----------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """What the first frames have settled."""
        return {name: [values.black, values.white] for name, values in self._ranges.items()}

    def load_json(self, settled: Mapping[str, Any]) -> None:
        """Go on with what `to_json` gave."""
        self._ranges = {name: ValueRange(*values) for name, values in settled.items()}


def _plain(frame: Any) -> np.ndarray:
    """The frame as an array with its own axes and values. Raises `ShapeError` for what is no picture."""
    if hasattr(frame, "convert") and hasattr(frame, "getbands"):  # a PIL image
        from tapkit.video.stills import image_values

        return image_values(frame)
    try:
        plain = as_numpy(frame)
    except (TypeError, ValueError, RuntimeError):
        plain = np.zeros(0, object)
    if plain.dtype.kind not in "buif":
        what = type(frame).__name__ if plain.dtype.kind == "O" else f"{plain.dtype} values"
        raise ShapeError(f"a frame must be an array, a tensor or a PIL image of bool, integers or floats, got {what}")
    return plain


def _found(values: np.ndarray) -> ValueRange:
    """Black and white by type and values. Raises `UsageError` where they leave it open."""
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UsageError(f"this {values.dtype} frame holds values that are not numbers (NaN or infinite)")
    try:
        return ValueRange.found(values.dtype, low, high)
    except UsageError as error:
        example = str(error).rpartition("for instance ")[2]
        raise UsageError(
            f"the values of this {values.dtype} frame lie in {low:g}..{high:g}: state which are black and white when "
            f"the session is started, for instance tracker.start(info, {example})"
        ) from None


def _layout(shape: tuple[int, ...], dtype: Any, first: bool = False) -> str:
    """The axes of one frame; where both ends may be channels, they are the last axis, or with `first` the first.

    Raises `ShapeError` for what cannot be one picture.
    """
    single = shape[1:] if len(shape) == 4 and shape[0] == 1 else shape
    batch = "B" * (len(shape) - len(single))
    if min(shape, default=0) > 0:
        if len(single) == 2:
            return batch + "HW"
        if len(single) == 3:
            order = ("CHW", "HWC") if first else ("HWC", "CHW")
            for axes in order:
                if single[axes.index("C")] in CHANNELS:
                    return batch + axes
    more = "; the frames of a video are handed over one by one" if len(shape) > 3 else ""
    raise ShapeError(
        "a frame is [H,W,3], [3,H,W], gray [H,W] or [H,W,1], or with alpha [H,W,4], "
        f"got {dtype} {[int(n) for n in shape]}{more}"
    )

"""Resizing that keeps the corners in place: area averaging when shrinking, bilinear when growing.

There is one resizer. A picture is converted to 8-bit RGB at its own size first, and each channel is then scaled by
itself, with FFmpeg's swscale; so a file read at a smaller size, an array, and a full-size frame handed to a live
session all give the same pixels. A point (x, y), corner origin, moves to (x w'/w, y h'/h) exactly: see
`tapkit.coords.resize`.
"""

from __future__ import annotations

from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from tapkit.coords import Size

EXACT = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
"""Without the two rounding flags swscale darkens RGB output by nearly 2 grey levels of 255 when it scales."""

_SAME_IN_PLANES = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p")
"""Formats that swscale converts to planes of RGB with the very numbers of interleaved RGB (a test holds that): with
them a full-size picture need not be turned over, which at 1920x1080 halves the time. Only for widths of whole blocks
(`_BLOCK`): of others swscale leaves the last columns of the planes unwritten."""
_BLOCK = 16


def resize_picture(frame: av.VideoFrame, size: Size, reformatter: VideoReformatter) -> np.ndarray:
    """A decoded picture as RGB uint8 [H,W,3] of `size` (height, width), as stored (not rotated).

    Colours are converted by the matrix and range that the frame states, as FFmpeg does; alpha is left out.
    """
    own = (frame.height, frame.width)

    def convert(form: str) -> av.VideoFrame:
        return reformatter.reformat(frame, width=own[1], height=own[0], format=form, interpolation=Interpolation.AREA)

    if own == tuple(size):
        return convert("rgb24").to_ndarray()
    quick = frame.format.name in _SAME_IN_PLANES and own[1] % _BLOCK == 0
    green, blue, red = (convert("gbrp") if quick else convert("rgb24").reformat(format="gbrp")).planes
    return _scale([red, green, blue], own, size)


def resize_array(image: np.ndarray, size: Size) -> np.ndarray:
    """An RGB image [H,W,3] uint8 as a new array of `size` (height, width).

    >>> resize_array(np.full((4, 6, 3), 7, np.uint8), (2, 3)).tolist()[0][0]
    [7, 7, 7]
    """
    if image.shape[:2] == tuple(size):
        return image.copy()
    planes = av.VideoFrame.from_ndarray(np.ascontiguousarray(image.transpose(2, 0, 1)), format="yuv444p")
    return _scaled(planes, size)


def _scale(channels: list[av.video.plane.VideoPlane], own: Size, size: Size) -> np.ndarray:
    """Three planes of a picture of size `own` as one array [H,W,3] of `size`."""
    planes = av.VideoFrame(own[1], own[0], "yuv444p")
    for target, channel in zip(planes.planes, channels, strict=True):
        pixels: Any = channel  # a buffer, though PyAV's type does not say so
        if target.line_size != channel.line_size:
            pixels = np.zeros((own[0], target.line_size), np.uint8)
            pixels[:, : own[1]] = np.frombuffer(memoryview(channel), np.uint8).reshape(own[0], -1)[:, : own[1]]
        target.update(pixels)
    return _scaled(planes, size)


def _scaled(planes: av.VideoFrame, size: Size) -> np.ndarray:
    """Three planes of equal size (what FFmpeg calls yuv444p, though no colour is converted) as [H,W,3] of `size`."""
    height, width = size
    resized = planes.reformat(width=width, height=height, format="yuv444p", interpolation=EXACT).to_ndarray()
    return np.ascontiguousarray(resized.transpose(1, 2, 0))

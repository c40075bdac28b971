"""Resizing that keeps the corners in place: area averaging when shrinking, bilinear when growing.

All sources resize with FFmpeg's swscale, so that an array and the file it came from give the same picture.
A point (x, y), corner origin, then moves to (x w'/w, y h'/h) exactly: see `tapkit.coords.resize`.
"""

from __future__ import annotations

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from tapkit.coords import Size

EXACT = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
"""Without the two rounding flags swscale darkens RGB output by nearly 2 grey levels of 255 when it scales."""


def resize_picture(frame: av.VideoFrame, size: Size, reformatter: VideoReformatter) -> np.ndarray:
    """A decoded picture as RGB uint8 [H,W,3] of `size` (height, width), as stored (not rotated).

    Colours are converted by the matrix and range that the frame states, as FFmpeg does; alpha is left out.
    """
    height, width = size
    same = (frame.height, frame.width) == (height, width)
    resized = reformatter.reformat(
        frame, width=width, height=height, format="rgb24", interpolation=Interpolation.AREA if same else EXACT
    )
    return resized.to_ndarray()


def resize_array(image: np.ndarray, size: Size) -> np.ndarray:
    """An RGB image [H,W,3] uint8 as a new array of `size` (height, width).

    >>> resize_array(np.full((4, 6, 3), 7, np.uint8), (2, 3)).tolist()[0][0]
    [7, 7, 7]
    """
    if image.shape[:2] == tuple(size):
        return image.copy()
    # As three planes of equal size (what FFmpeg calls yuv444p) every channel is scaled on its own, unconverted.
    planes = av.VideoFrame.from_ndarray(np.ascontiguousarray(image.transpose(2, 0, 1)), format="yuv444p")
    height, width = size
    resized = planes.reformat(width=width, height=height, format="yuv444p", interpolation=EXACT).to_ndarray()
    return np.ascontiguousarray(resized.transpose(1, 2, 0))

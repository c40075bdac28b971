"""Decoded pictures in their own values: what FFmpeg's conversion to 8 bits would cut off."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from tapkit.errors import VideoError


def full_range(frame: av.VideoFrame) -> float | None:
    """The greatest value that a channel of the picture can hold; None for floats."""
    name = frame.format.name
    return None if _is_float(name) else float((1 << frame.format.components[0].bits) - 1)


def is_deep(frame: av.VideoFrame) -> bool:
    """Whether a picture is grey or RGB with more than 8 bits: values of an instrument, not of a television signal."""
    name = frame.format.name
    return name.startswith(("gray", "ya", "rgb", "bgr", "gbr", "x2rgb")) and (
        _is_float(name) or frame.format.components[0].bits > 8
    )


def own_values(frame: av.VideoFrame) -> np.ndarray:
    """A picture as stored, [H,W] or [H,W,3]: uint8, uint16 or float32 in its own unit; alpha is left out.

    YUV of more than 8 bits becomes RGB of the same number of bits.
    """
    name, bits = frame.format.name, frame.format.components[0].bits
    if not is_deep(frame):
        if bits <= 8:
            return frame.reformat(format="gray" if name == "gray" else "rgb24").to_ndarray()
        wide = frame.reformat(format="rgb48le").to_ndarray()
        scaled: np.ndarray = np.rint(wide * (((1 << bits) - 1) / 65535)).astype(np.uint16)
        return scaled
    if "f16" in name or name.startswith(("ya", "x2", "gbrapf", "rgbaf")):
        grey = name.startswith(("gray", "ya"))
        if _is_float(name):
            frame = frame.reformat(format="grayf32le" if grey else "gbrpf32le")
        else:
            frame = frame.reformat(format="gray16le" if grey else "rgb48le")
    values = frame.to_ndarray()
    if values.ndim == 3:
        values = values[..., :3]
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def read_picture(path: Path) -> tuple[np.ndarray, float | None]:
    """The first picture of a file that FFmpeg decodes (DPX, OpenEXR, 16-bit PNG and TIFF): its values, and the greatest
    that its type can hold.

    Raises VideoError if it cannot be decoded.
    """
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            for frame in container.decode(video=0):
                return own_values(frame), full_range(frame)
    except (av.FFmpegError, ValueError, IndexError, OSError) as error:
        raise VideoError(f"{path} cannot be decoded: {str(getattr(error, 'strerror', error)).lower()}") from error
    raise VideoError(f"{path} holds no picture")


def _is_float(name: str) -> bool:
    return "f32" in name or "f16" in name

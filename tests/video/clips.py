"""Small videos made on the spot, whose frames carry their own number as a bar code."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS = 8


def coded_frame(number: int, height: int = 48, width: int = 64) -> np.ndarray:
    """[H,W,3] uint8: the upper half holds `number` in black and white stripes (most significant left), the lower
    half is a ramp from left to right, tinted red in its last eighth (so that turns and mirrors show)."""
    image = np.zeros((height, width, 3), np.uint8)
    for bit in range(BITS):
        stripe = slice(bit * width // BITS, (bit + 1) * width // BITS)
        image[: height // 2, stripe] = 255 * ((number >> (BITS - 1 - bit)) & 1)
    image[height // 2 :] = (np.arange(width) * 200 // width)[None, :, None]
    image[height // 2 :, -(width // 8) :] = (230, 20, 20)
    return image


def number_of(image: np.ndarray) -> int:
    """The number in a frame made by `coded_frame`, after any encoding and resizing."""
    height, width = image.shape[:2]
    columns = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    bits = image[height // 8 : height // 3, columns].mean((0, 2)) > 128
    return int("".join(str(int(bit)) for bit in bits), 2)


def write_clip(
    path: Path,
    frames: int = 20,
    *,
    size: tuple[int, int] = (48, 64),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 600),
    rate: int = 30,
    options: dict[str, str] | None = None,
    rotation: int | None = None,
    matrix: Sequence[int] | None = None,
    aspect: Fraction | None = None,
) -> Path:
    """Frames numbered 0, 1, ... in a file of the kind that the ending of `path` says; pts in ticks of `time_base`."""
    pts = range(0, frames * 20, 20) if pts is None else pts
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = size
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = time_base
        stream.time_base = time_base
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if matrix is not None:
            stream.set_display_matrix(matrix)
        for number, tick in zip(range(frames), pts, strict=True):
            picture = av.VideoFrame.from_ndarray(coded_frame(number, *size), format="rgb24").reformat(format=pix_fmt)
            picture.pts, picture.time_base = tick, time_base
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path

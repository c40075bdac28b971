"""Clips for the studio's tests: a texture that moves by whole pixels, and whose frames say their number."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT, FRAMES = 96, 64, 24
STEP = (2, 1)
"""Pixels that the texture moves from one frame to the next."""


def pictures(count: int = FRAMES) -> np.ndarray:
    """[T,64,96,3]; the two bottom rows are the number of the frame as a grey value."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (40, 60, 3)).astype(np.uint8)
    canvas = coarse.repeat(4, 0).repeat(4, 1)
    frames = []
    for t in range(count):
        x, y = 120 - STEP[0] * t, 80 - STEP[1] * t
        frame = canvas[y % 90 : y % 90 + HEIGHT, x % 140 : x % 140 + WIDTH].copy()
        frame[-2:] = 10 * t % 250
        frames.append(frame)
    return np.stack(frames)


def write_clip(path: Path, frames: np.ndarray) -> Path:
    """An H.264 file with key pictures far apart."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "8", "g": "12"})
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv444p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def number_in(picture: np.ndarray) -> int:
    """The number that a frame of `pictures` says, at any size."""
    return round(float(picture[-1].mean()) / 10)

"""Small made benchmarks for the tests of this folder."""

from __future__ import annotations

import struct
import zlib
from types import SimpleNamespace

import numpy as np
import pytest

from tapkit.datasets.base import Clip
from tapkit.datasets.frames import ArrayFrames
from tapkit.types import VideoInfo


def synthetic_clip(name="walk", tracks=4, frames=6, size=(24, 32), seed=0) -> Clip:
    """A clip of random pixels with tracks inside the frame, some entries hidden."""
    random = np.random.default_rng(seed)
    video = random.integers(0, 256, (frames, *size, 3), dtype=np.uint8)
    xy = random.uniform(1, (size[1] - 1, size[0] - 1), (tracks, frames, 2)).astype(np.float32)
    visible = random.random((tracks, frames)) > 0.2
    visible[:, 0] = True
    info = VideoInfo(size[1], size[0], frames=frames)
    return Clip(name, xy, visible, size, lambda: ArrayFrames(video, info))


def pixels(clip: Clip) -> np.ndarray:
    """All frames [T,H,W,3]."""
    with clip.open() as source:
        return np.stack([frame.image for frame in source.frames()])


def png16(image: np.ndarray) -> bytes:
    """A 16-bit PNG of [H,W,1 or 3] uint16, written by hand because Pillow cannot."""
    height, width, channels = image.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in image)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 16, 0 if channels == 1 else 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.fixture(scope="session")
def made() -> SimpleNamespace:
    """made.clip(name, tracks, frames, size, seed), made.pixels(clip), made.png16(image), made.same(a, b)."""
    return SimpleNamespace(clip=synthetic_clip, pixels=pixels, png16=png16, same=same)


def same(ours: Clip, theirs: Clip, tolerance: float = 1e-4) -> None:
    """Assert that two clips agree in ground truth and in pixels."""
    assert ours.size == theirs.size
    np.testing.assert_array_equal(ours.visible, theirs.visible)
    np.testing.assert_allclose(ours.xy[ours.visible], theirs.xy[theirs.visible], atol=tolerance)
    np.testing.assert_array_equal(pixels(ours), pixels(theirs))

"""Clips with known motion for the tests of flow."""

from __future__ import annotations

import numpy as np
import pytest


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth random picture [height,width,3] uint8 of full contrast."""
    cv = pytest.importorskip("cv2")
    noise = np.random.default_rng(seed).random((height, width, 3)).astype(np.float32)
    return cv.normalize(cv.GaussianBlur(noise, (0, 0), 2.0), None, 0, 255, cv.NORM_MINMAX).astype(np.uint8)


@pytest.fixture
def panning() -> np.ndarray:
    """[12,120,160,3]: the picture moves by (-2, -1) pixels a frame."""
    big = texture(180, 220)
    return np.stack([big[20 + t : 140 + t, 10 + 2 * t : 170 + 2 * t] for t in range(12)])


@pytest.fixture
def covered() -> np.ndarray:
    """[16,120,160,3]: a still picture, over which a square of 48 pixels passes to the right by 8 pixels a frame."""
    still, square = texture(120, 160, 1), texture(48, 48, 2)
    frames = np.repeat(still[None], 16, 0)
    for t in range(16):
        left = 8 * t
        frames[t, 36:84, left : left + 48] = square[:, : 160 - left]
    return frames

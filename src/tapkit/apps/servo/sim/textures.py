"""Pictures for the surfaces of the simulated scenes, made from numbers: blotches of two sizes, and cards with marks."""

from __future__ import annotations

import numpy as np
from PIL import Image


def blotches(random: np.random.Generator, size: int, tone: np.ndarray, strength: float) -> np.ndarray:
    """Smooth blotches around a colour [3], [size,size,3] uint8."""
    picture = np.zeros((size, size, 3))
    for cell in (6, 14):
        small = (random.normal(0, 80, (size // cell + 2, size // cell + 2, 3)) + 128).clip(0, 255).astype(np.uint8)
        layer = Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC)
        picture += 0.5 * (np.asarray(layer, np.float64) - 128)
    return np.asarray((tone + strength * picture).clip(0, 255).astype(np.uint8))


def card(random: np.random.Generator, size: int = 96) -> np.ndarray:
    """A colour with rectangles of other colours on it, as printed boxes have them: [size,size,3] uint8."""
    tone = random.uniform(40, 220, 3)
    picture = blotches(random, size, tone, 0.5)
    for _ in range(14):
        w, h = random.integers(size // 12, size // 3, 2)
        x, y = random.integers(0, size - w), random.integers(0, size - h)
        picture[y : y + h, x : x + w] = random.integers(0, 256, 3)
    return picture


def wood(random: np.random.Generator, size: int = 512) -> np.ndarray:
    """A table: grain along x, stains, quiet colours, [size,size,3] uint8."""
    grain = np.cumsum(random.normal(0, 5, (size, 1)), 0)
    grain = (grain - grain.mean()) * 12 / max(float(grain.std()), 1e-6)
    base = np.array([150.0, 120.0, 92.0]) + grain[:, :, None]
    stains = blotches(random, size, np.full(3, 128.0), 0.45).astype(np.float64).mean(2, keepdims=True) - 128
    return np.asarray((base + stains + random.normal(0, 5, (size, size, 1))).clip(0, 255).astype(np.uint8))

"""Colours of a GIF: at most 256, chosen to fit the footage and kept as long as they do.

A palette made anew for every frame flickers and defeats the format's compression (only what changes is
stored); one palette for a whole film cannot be known while frames still arrive. So a palette is kept until
frames stop looking like it, and colours are mixed by ordered (Bayer) dithering, whose pattern stands still.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

_BITS = 5
_BAYER_AMPLITUDE = 14.0
_ORDINARY, _COLOURFUL = 20_000, 8_000


def _bayer(order: int) -> np.ndarray:
    """The ordered-dither matrix of side 2**order, values in (-0.5, 0.5) (Bayer, ICC 1973)."""
    matrix = np.zeros((1, 1))
    for _ in range(order):
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    return (matrix + 0.5) / matrix.size - 0.5


class GifPalette:
    """Maps RGB frames to palette indices; one palette serves as many frames as it fits.

    Args:
        colors: how many entries the palette has, 2 to 256.
    """

    def __init__(self, colors: int = 256) -> None:
        self.colors = colors
        self.rgb = np.zeros((256, 3), np.uint8)
        """The palette in force [256,3]."""
        self._table: np.ndarray | None = None
        self._error = 0.0

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Palette indices [H,W] uint8 of an RGB image [H,W,3] uint8; `rgb` is then the palette they refer to."""
        if self._table is None or self._misfit(image) > 1.35 * self._error + 1.0:
            self._fit(image)
        assert self._table is not None  # set by _fit
        height, width = image.shape[:2]
        tile = np.rint(_bayer(3) * _BAYER_AMPLITUDE).astype(np.int16)
        noise = np.tile(tile, (-(-height // 8), -(-width // 8)))[:height, :width, None]
        mixed = np.clip(image + noise, 0, 255).astype(np.uint8)
        return np.asarray(self._table[_cell(mixed)])

    def _misfit(self, image: np.ndarray) -> float:
        """Mean absolute error per channel of a sample of pixels under the palette in force."""
        assert self._table is not None
        sample = image[2::5, 2::5].reshape(-1, 3) if min(image.shape[:2]) > 40 else image.reshape(-1, 3)
        return float(np.abs(sample.astype(np.int16) - self.rgb[self._table[_cell(sample)]]).mean())

    def _fit(self, image: np.ndarray) -> None:
        """Choose the palette from a sample in which vivid pixels count extra: overlays are small but matter."""
        pixels = image.reshape(-1, 3)
        chroma = pixels.max(1).astype(np.int16) - pixels.min(1)
        vivid = np.flatnonzero(chroma >= max(np.quantile(chroma, 0.97), 1))
        rows = np.concatenate([_spread(np.arange(len(pixels)), _ORDINARY), _spread(vivid, _COLOURFUL)])
        chosen = Image.fromarray(pixels[rows][None]).quantize(self.colors, Image.Quantize.MEDIANCUT, kmeans=2)
        flat = np.array(chosen.getpalette() or [], dtype=np.uint8).reshape(-1, 3)[: self.colors]
        self.rgb = np.concatenate([flat, np.repeat(flat[-1:], 256 - len(flat), axis=0)])
        levels = (np.arange(1 << _BITS, dtype=np.float32) + 0.5) * (256 >> _BITS)
        cells = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
        palette = flat.astype(np.float32)
        self._table = ((palette**2).sum(1) - 2.0 * cells @ palette.T).argmin(1).astype(np.uint8)
        self._error = self._misfit(image)


def _cell(rgb: np.ndarray) -> np.ndarray:
    """Index of each colour [...,3] uint8 in the look-up table of 2**_BITS levels per channel."""
    level = (rgb >> (8 - _BITS)).astype(np.int32)
    return (level[..., 0] << (2 * _BITS)) | (level[..., 1] << _BITS) | level[..., 2]


def _spread(rows: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of the rows, evenly spread."""
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)] if len(rows) else rows

"""Light: the curve of sRGB and back, and colours of one frame adapted to another."""

from __future__ import annotations

import numpy as np

from tapkit.video.base import Depth

_CODES = np.arange(256) / 255
_FINE = 4095
"""Steps of the table by which light becomes codes again: of its square root, in which sRGB is nearly even."""
GAIN = (0.5, 2.0)
"""Bounds of the gain by which colours are adapted."""
LEAST_CONTRAST = 0.05
"""Standard deviation of light below which an offset cannot be told from a gain."""


def to_linear(encoded: np.ndarray) -> np.ndarray:
    """Values 0..1 through the curve of sRGB (IEC 61966-2-1) to linear light; beyond 1 the curve goes on."""
    value = np.maximum(encoded, 0)
    return np.asarray(np.where(value <= 0.04045, encoded / 12.92, ((value + 0.055) / 1.055) ** 2.4), np.float32)


def from_linear(light: np.ndarray) -> np.ndarray:
    """The inverse of `to_linear`."""
    value = np.maximum(light, 0)
    return np.asarray(np.where(value <= 0.0031308, light * 12.92, 1.055 * value ** (1 / 2.4) - 0.055), np.float32)


_LINEAR = to_linear(_CODES)
_PLAIN = _CODES.astype(np.float32)
_BACK = np.rint(255 * from_linear((np.arange(_FINE + 1) / _FINE) ** 2)).astype(np.uint8)


class Curve:
    """From a video's own values to the light in which it is composited, and back.

    Args:
        depth: of the video; None: 8 bits.
        linear: whether to composite in linear light; values that are linear already stay so.
    """

    def __init__(self, depth: Depth | None, linear: bool = True) -> None:
        self.depth, self.linear = depth, linear

    def light(self, values: np.ndarray) -> np.ndarray:
        """Values of any shape as float32; 0 is black, 1 white, more is brighter than white."""
        if self.depth is None:
            return np.take(_LINEAR if self.linear else _PLAIN, values, mode="clip")  # half the time of indexing
        scaled = (values.astype(np.float32) - np.float32(self.depth.black)) / np.float32(
            self.depth.white - self.depth.black
        )
        return to_linear(scaled) if self.linear and not self.depth.linear else scaled

    def values(self, light: np.ndarray) -> np.ndarray:
        """Light as the video's own values: rounded and cut to what its type holds; floats are left as they are."""
        if self.depth is None:
            bounded = np.clip(light, 0, 1).astype(np.float32, copy=False)
            if self.linear:
                np.sqrt(bounded, out=bounded)
                bounded *= _FINE
                bounded += 0.5
                return np.asarray(np.take(_BACK, bounded.astype(np.uint16), mode="clip"))
            return np.asarray((bounded * 255 + 0.5).astype(np.uint8))
        shown = from_linear(light) if self.linear and not self.depth.linear else light
        scaled = shown * np.float32(self.depth.white - self.depth.black) + np.float32(self.depth.black)
        if self.depth.dtype.kind == "f":
            return np.asarray(scaled, self.depth.dtype)
        most = np.iinfo(self.depth.dtype)
        return np.asarray(np.clip(np.rint(scaled.astype(np.float64)), most.min, most.max).astype(self.depth.dtype))

    def artwork(self, rgb: np.ndarray) -> np.ndarray:
        """Colours of an artwork, 0..1 through the curve of sRGB, in the light that is composited in."""
        return (
            to_linear(rgb) if self.linear or (self.depth is not None and self.depth.linear) else rgb.astype(np.float32)
        )


def adapted(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gain and offset [3] of each channel that turn the light of places on one frame [n,3] into that on another.

    Robust: medians and ten rounds of Huber weights. The gain is kept in `GAIN`; where the places are too few (8) or too
    alike, there is no offset.
    """
    gain, offset = np.ones(3), np.zeros(3)
    if len(before) < 8:
        return gain, offset
    for channel in range(3):
        x, y = before[:, channel].astype(float), after[:, channel].astype(float)
        level = float(np.median(y) / max(np.median(x), 1e-4))
        gain[channel] = np.clip(level, *GAIN)
        if x.std() < LEAST_CONTRAST:
            continue
        slope, shift, weight = level, 0.0, np.ones(len(x))
        for _ in range(10):
            mx, my = np.average(x, weights=weight), np.average(y, weights=weight)
            slope = float((weight * (x - mx) * (y - my)).sum() / max((weight * (x - mx) ** 2).sum(), 1e-9))
            shift = float(my - slope * mx)
            residual = np.abs(y - slope * x - shift)
            scale = max(1.4826 * float(np.median(residual)), 1e-4)
            weight = np.minimum(1.0, 1.345 * scale / np.maximum(residual, 1e-9))
        if GAIN[0] <= slope <= GAIN[1]:
            gain[channel], offset[channel] = slope, shift
    return gain, offset

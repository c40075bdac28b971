"""Colours for points, chosen in a perceptual space so that none shouts and neighbours can be told apart.

All colours are made in OKLCH (Ottosson, "A perceptual color space for image processing", 2020): lightness,
chroma and hue, in which equal steps look equal. Colours outside sRGB lose chroma until they fit, never hue.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from PIL import ImageColor

from tapkit.errors import UsageError

_OKLAB_TO_LMS = np.array(
    [[1.0, 0.3963377774, 0.2158037573], [1.0, -0.1055613458, -0.0638541728], [1.0, -0.0894841775, -1.2914855480]]
)
_LMS_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)
_GOLDEN_ANGLE = 137.50776405003785


def oklch(lightness: ArrayLike, chroma: ArrayLike, hue: ArrayLike) -> np.ndarray:
    """sRGB [...,3] float32 in 0..1 of OKLCH colours: lightness 0..1, chroma 0..0.4, hue in degrees."""
    light, vivid, tone = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (lightness, chroma, hue)))
    low, high = np.zeros_like(vivid), np.ones_like(vivid)
    fits = _in_gamut(_linear_rgb(light, vivid, tone))
    for _ in range(12):  # the largest share of the chroma that sRGB can show
        share = (low + high) / 2
        inside = _in_gamut(_linear_rgb(light, vivid * share, tone))
        low, high = np.where(inside, share, low), np.where(inside, high, share)
    linear = np.clip(_linear_rgb(light, vivid * np.where(fits, 1.0, low), tone), 0.0, 1.0)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(encoded, dtype=np.float32)


def _linear_rgb(lightness: np.ndarray, chroma: np.ndarray, hue: np.ndarray) -> np.ndarray:
    angle = np.deg2rad(hue)
    lab = np.stack([lightness, chroma * np.cos(angle), chroma * np.sin(angle)], -1)
    return np.asarray((lab @ _OKLAB_TO_LMS.T) ** 3 @ _LMS_TO_RGB.T)


def _in_gamut(linear: np.ndarray) -> np.ndarray:
    return np.asarray(((linear >= -1e-4) & (linear <= 1 + 1e-4)).all(-1))


def by_position(xy: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Colours [N,3] float32 in 0..1 by place in the frame: hue runs across, lightness and hue shift down.

    Neighbours get similar colours, so that what moves together reads as one; far points differ.

    Args:
        xy: [N,2] pixels, corner origin; points outside take the colour of the nearest border.
        size: (height, width) of the frame.
    """
    u = np.clip(xy[..., 0] / size[1], 0, 1)
    v = np.clip(xy[..., 1] / size[0], 0, 1)
    hue = 240 + 300 * u + 45 * (v - 0.5)
    return oklch(0.80 - 0.12 * v + _glow(hue), 0.175, hue)


def by_number(numbers: np.ndarray) -> np.ndarray:
    """Colours [N,3] float32 in 0..1 for whole numbers: hues a golden angle apart, three lightnesses in turn."""
    numbers = np.asarray(numbers)
    hue = 25 + numbers * _GOLDEN_ANGLE
    return oklch(np.array([0.74, 0.82, 0.67])[numbers % 3] + _glow(hue), 0.175, hue)


def by_confidence(confidence: np.ndarray) -> np.ndarray:
    """Colours [N,3] float32 in 0..1: from a dark red (0) over amber (0.5) to a bright turquoise (1)."""
    c = np.clip(confidence, 0, 1)
    hue = 20 + 165 * c
    return oklch(0.62 + 0.20 * c + _glow(hue), 0.20 - 0.04 * c, hue)


def _glow(hue: np.ndarray) -> np.ndarray:
    """Extra lightness around yellow, which is olive when dark; blue and purple stay vivid when darker."""
    return np.asarray(0.07 * np.cos(np.deg2rad(hue - 100)))


def one_colour(name: str) -> np.ndarray:
    """[3] float32 in 0..1 of a colour name or code that Pillow knows ("tomato", "#ffaa00", "hsl(200,80%,60%)").

    Raises:
        UsageError: no such colour.
    """
    try:
        return np.array(ImageColor.getrgb(name)[:3], dtype=np.float32) / 255
    except ValueError as error:
        raise UsageError(
            f"{name!r} is no colour; give position, id, confidence, a name or a code as #ffaa00"
        ) from error

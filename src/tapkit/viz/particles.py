"""Particles with their links, drawn on a frame."""

from __future__ import annotations

from colorsys import hsv_to_rgb

import numpy as np
from PIL import Image, ImageDraw


def draw_particles(
    frame: np.ndarray, ids: np.ndarray, xy: np.ndarray, links: np.ndarray, weights: np.ndarray, zoom: int = 2
) -> np.ndarray:
    """A picture of one frame's particles: dots in a colour of their own, links from red (weight 0) to green (1).

    Args:
        frame: [H,W,3] uint8.
        ids: [n] int64, sorted: particle ids, which give the colours.
        xy: [n,2] pixels, corner origin.
        links: [l,2] ids.
        weights: [l] 0..1.
        zoom: by how much the picture is enlarged.

    Returns:
        [H*zoom,W*zoom,3] uint8; the frame is darkened below.
    """
    height, width = frame.shape[:2]
    image = Image.fromarray((frame * 0.5).astype(np.uint8)).resize((width * zoom, height * zoom))
    pen = ImageDraw.Draw(image)
    places = xy * zoom
    ends = places[np.searchsorted(ids, links)]
    for (start, end), weight in zip(ends, weights, strict=True):
        red, green = round(255 * (1 - float(weight))), round(255 * float(weight))
        pen.line([tuple(start), tuple(end)], fill=(red, green, 60))
    for number, (x, y) in zip(ids, places, strict=True):
        hue = hsv_to_rgb((int(number) * 0.61803) % 1, 0.6, 1.0)
        pen.ellipse([x - 1.5, y - 1.5, x + 1.5, y + 1.5], fill=tuple(round(255 * c) for c in hue))
    return np.asarray(image)

"""Antialiased strokes and discs, thousands per frame, in numpy: only the pixels they touch are computed.

Every shape is turned into (pixel, coverage) entries from its exact distance field. Where shapes overlap, the entry
that covers most wins the pixel, so crossing trails stay crisp instead of piling up, and the order of the points
does not matter. Positions are pixels, corner origin: the centre of pixel (column i, row j) is (i + 0.5, j + 0.5).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_ROW_BITS = 20
_SCORE_LEVELS = (1 << (31 - _ROW_BITS)) - 1


class Strokes(NamedTuple):
    """S tapered straight strokes with round ends."""

    start: np.ndarray
    """[S,2] float32."""
    end: np.ndarray
    """[S,2] float32."""
    radius: np.ndarray
    """[S,2] float32: half the width at either end, pixels."""
    opacity: np.ndarray
    """[S,2] float32 at either end, 0..1."""
    rgb: np.ndarray
    """[S,3] float32, 0..1."""
    arc: np.ndarray
    """[S] float32: length of the whole path before `start`, pixels; dashes are counted along it."""
    dashed: np.ndarray
    """[S] bool."""


class Discs(NamedTuple):
    """N discs or rings of one radius."""

    center: np.ndarray
    """[N,2] float32."""
    rgb: np.ndarray
    """[N,3] float32, 0..1."""
    fill: np.ndarray
    """[N] float32: opacity of the inside, 0..1; 0 is a ring."""
    rim: np.ndarray
    """[N] float32: opacity of the border, 0..1."""
    dashed: np.ndarray
    """[N] bool: whether the border has gaps."""


class _Cover(NamedTuple):
    """Pixels that shapes touch: entries [E]."""

    pixel: np.ndarray
    """Flat pixel index."""
    shape: np.ndarray
    """Row of the shape."""
    score: np.ndarray
    """Which entry wins a pixel, 0..1."""
    colour: np.ndarray
    """Weight of the shape's colour, 0..1."""
    total: np.ndarray
    """Weight of colour and dark outline together, 0..1."""


class Canvas:
    """Draws on images of one size; keeps one int32 per pixel to find which entry wins."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self._winner = np.zeros(height * width, np.int32)

    def strokes(self, image: np.ndarray, strokes: Strokes, outline: float, shade: float, dash: float) -> None:
        """Draw in place on a contiguous image [H,W,3] uint8.

        Args:
            outline: width of the dark outline, pixels.
            shade: its opacity, 0..1.
            dash: length of one dash and of one gap, pixels.
        """
        delta = np.abs(strokes.end - strokes.start)
        flat = delta[:, 0] >= delta[:, 1]
        for axis, rows in ((0, np.flatnonzero(flat)), (1, np.flatnonzero(~flat))):
            if len(rows):
                cover = self._stroke_cover(strokes, rows, axis, outline, shade, dash)
                self._composite(image, cover, strokes.rgb)

    def discs(self, image: np.ndarray, discs: Discs, radius: float, rim: float, outline: float, shade: float) -> None:
        """Draw in place on a contiguous image [H,W,3] uint8.

        Args:
            radius: of all discs, to the outside of the rim, pixels.
            rim: width of the border, pixels.
            outline, shade: width and opacity of the dark outline.
        """
        if len(discs.center):
            self._composite(image, self._disc_cover(discs, radius, rim, outline, shade), discs.rgb)

    def _stroke_cover(
        self, strokes: Strokes, rows: np.ndarray, axis: int, outline: float, shade: float, dash: float
    ) -> _Cover:
        """Entries of strokes that run mostly along `axis` (0: x): for each pixel column along it, a short band."""
        a, b, radius = strokes.start[rows], strokes.end[rows], strokes.radius[rows]
        major, minor = a[:, axis], a[:, 1 - axis]
        d_major, d_minor = b[:, axis] - major, b[:, 1 - axis] - minor
        limit, cross_limit = (self.width, self.height) if axis == 0 else (self.height, self.width)
        reach = radius.max(1) + outline + 0.5
        low, high = np.minimum(major, major + d_major) - reach, np.maximum(major, major + d_major) + reach
        first = np.floor(np.clip(low, 0, limit)).astype(np.int64)
        count = np.maximum(np.ceil(np.clip(high, 0, limit)).astype(np.int64) - first, 0)
        of = np.repeat(np.arange(len(rows)), count)
        column = np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count) + first[of]

        along = (column + 0.5).astype(np.float32) - major[of]
        safe = np.where(d_major == 0, np.float32(1e-6), d_major)
        middle = minor[of] + np.clip(along / safe[of], 0, 1) * d_minor[of]
        band = int(np.ceil(float(reach.max()) * np.sqrt(2)))
        base = np.floor(np.clip(middle, -band - 2, cross_limit + band + 2)).astype(np.int64)
        cross = base[:, None] + np.arange(-band, band + 1)
        across = (cross + 0.5).astype(np.float32) - minor[of][:, None]

        length2 = np.maximum(d_major**2 + d_minor**2, 1e-6)
        ratio_major, ratio_minor = (d_major / length2)[of], (d_minor / length2)[of]
        u = np.clip((along * ratio_major)[:, None] + across * ratio_minor[:, None], 0, 1)
        distance = np.hypot(along[:, None] - u * d_major[of][:, None], across - u * d_minor[of][:, None])
        near = (distance < reach[of][:, None]) & (cross >= 0) & (cross < cross_limit)
        line, _ = np.nonzero(near)
        u, distance, cross, of = u[near], distance[near], cross[near], of[line]
        column = column[line]
        pixel = cross * self.width + column if axis == 0 else column * self.width + cross

        shape = rows[of]
        half = radius[of, 0] + u * (radius[of, 1] - radius[of, 0])
        core = np.clip(half - distance + 0.5, 0, 1)
        edge = np.clip(half + outline - distance + 0.5, 0, 1) * shade
        opacity = strokes.opacity[shape, 0] + u * (strokes.opacity[shape, 1] - strokes.opacity[shape, 0])
        dashed = strokes.dashed[shape]
        if dashed.any():
            arc = strokes.arc[shape] + u * np.sqrt(length2)[of]
            phase = np.abs((arc % (2 * dash)) - dash) - dash / 2  # a triangle: positive on the dash, in pixels
            opacity = np.where(dashed, opacity * np.clip(phase + 0.5, 0, 1), opacity)
        score = (0.75 * core + 0.25 * edge) * (0.5 + 0.5 * opacity)
        return _Cover(pixel, shape, score, core * opacity, (core + edge * (1 - core)) * opacity)

    def _disc_cover(self, discs: Discs, radius: float, rim: float, outline: float, shade: float) -> _Cover:
        """Entries of discs: a square patch around each."""
        reach = radius + outline + 0.5
        span = int(np.ceil(reach))
        corner = np.floor(discs.center).astype(np.int64)
        offset = np.arange(-span, span + 1)
        x, y = corner[:, :1] + offset, corner[:, 1:] + offset
        dx = (x + 0.5 - discs.center[:, :1]).astype(np.float32)
        dy = (y + 0.5 - discs.center[:, 1:]).astype(np.float32)
        distance = np.hypot(dx[:, None, :], dy[:, :, None])  # [N,P,P]
        inside = ((x >= 0) & (x < self.width))[:, None, :] & ((y >= 0) & (y < self.height))[:, :, None]
        shape, row, col = np.nonzero((distance < reach) & inside)
        distance = distance[shape, row, col]

        border = np.abs(distance - (radius - rim / 2))
        opacity = discs.rim[shape]
        dashed = discs.dashed[shape]
        if dashed.any():
            angle = np.arctan2(dy[shape, row], dx[shape, col])
            opacity = np.where(dashed, opacity * np.clip(0.5 + 2.5 * np.cos(5 * angle), 0, 1), opacity)
        ring = np.clip(rim / 2 - border + 0.5, 0, 1) * opacity
        edge = np.clip(rim / 2 + outline - border + 0.5, 0, 1) * shade * opacity
        colour = np.maximum(ring, np.clip(radius - distance + 0.5, 0, 1) * discs.fill[shape])
        keep = (colour > 0.004) | (edge > 0.004)
        shape, row, col, colour, edge = shape[keep], row[keep], col[keep], colour[keep], edge[keep]
        pixel = y[shape, row] * self.width + x[shape, col]
        score = 1 - distance[keep] / (reach + 1)
        return _Cover(pixel, shape, score, colour, colour + edge * (1 - colour))

    def _composite(self, image: np.ndarray, cover: _Cover, rgb: np.ndarray) -> None:
        """Give each pixel to the entry with the highest score and blend that one in."""
        row = cover.shape & ((1 << _ROW_BITS) - 1)
        key = ((np.clip(cover.score, 0, 1) * _SCORE_LEVELS).astype(np.int32) << _ROW_BITS) | row.astype(np.int32)
        np.maximum.at(self._winner, cover.pixel, key)
        won = np.flatnonzero(self._winner[cover.pixel] == key)
        self._winner[cover.pixel] = 0
        pixel = cover.pixel[won]
        flat = image.reshape(-1, 3)
        under = flat[pixel] * (1 - cover.total[won, None])
        over = rgb[cover.shape[won]] * (255 * cover.colour[won, None])
        flat[pixel] = (under + over + 0.5).astype(np.uint8)

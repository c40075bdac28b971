"""Antialiased strokes and discs, thousands per frame, in numpy: only the pixels they touch are computed.

Every shape is turned into (pixel, coverage) entries from its exact distance field. Where shapes overlap, the entry
that covers most wins the pixel, so crossing trails stay crisp instead of piling up, and the order of the points
does not matter. Positions are pixels, corner origin: the centre of pixel (column i, row j) is (i + 0.5, j + 0.5).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_ROW_BITS = 20
_BATCH_COLUMNS = 4096
_COLUMNS_PER_END = 8.0
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
        covers = [
            self._stroke_cover(strokes, rows, axis, outline, shade, dash)
            for axis, along in ((0, flat), (1, ~flat))
            for rows in _batches(np.flatnonzero(along), delta[along, axis])
        ]
        if covers:
            self._composite(image, _Cover(*(np.concatenate(parts) for parts in zip(*covers, strict=True))), strokes.rgb)

    def discs(self, image: np.ndarray, discs: Discs, radius: float, rim: float, outline: float, shade: float) -> None:
        """Draw in place on a contiguous image [H,W,3] uint8.

        Args:
            radius: of all discs, to the outside of the rim, pixels.
            rim: width of the border, pixels.
            outline, shade: width and opacity of the dark outline.
        """
        if len(discs.center):
            self._composite(image, self._disc_cover(discs, radius, rim, outline, shade), discs.rgb)

    def inside(self, center: np.ndarray, radius: float) -> np.ndarray:
        """Flat indices [E] of the pixels whose centre is less than `radius` from one of the centres [N,2]."""
        shape, row, col, _, patch = self._patches(center, radius)
        x, y = patch
        return np.asarray(y[shape, row] * self.width + x[shape, col])

    def _patches(
        self, center: np.ndarray, reach: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """Pixels within `reach` of each centre, in the frame: which centre, row and column in its square patch,
        distance (all [E]), and the columns and rows of the patches (both [N,P])."""
        span = int(np.ceil(reach))
        offset = np.arange(-span, span + 1)
        corner = np.floor(center).astype(np.int64)
        x, y = corner[:, :1] + offset, corner[:, 1:] + offset
        dx, dy = (x + 0.5 - center[:, :1]).astype(np.float32), (y + 0.5 - center[:, 1:]).astype(np.float32)
        distance = np.hypot(dx[:, None, :], dy[:, :, None])  # [N,P,P]
        within = ((x >= 0) & (x < self.width))[:, None, :] & ((y >= 0) & (y < self.height))[:, :, None]
        shape, row, col = np.nonzero((distance < reach) & within)
        return shape, row, col, distance[shape, row, col], (x, y)

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

        along = (column + 0.5 - major[of]).astype(np.float32)
        safe = np.where(d_major == 0, np.float32(1e-6), d_major)
        middle = minor[of] + np.clip(along / safe[of], 0, 1) * d_minor[of]
        band = int(np.ceil(float((reach * np.hypot(1, d_minor / safe)).max(initial=1.0))))
        base = np.floor(np.clip(middle, -band - 2, cross_limit + band + 2)).astype(np.int64) - band
        rows_across = 2 * band + 1

        # [columns, rows_across]: distance to the stroke, squared, through the nearest point at share u of its length.
        length2 = np.maximum(d_major**2 + d_minor**2, 1e-6)
        across = (base + 0.5 - minor[of]).astype(np.float32)[:, None] + np.arange(rows_across, dtype=np.float32)
        u = across * (d_minor / length2)[of, None]
        u += (along * (d_major / length2)[of])[:, None]
        np.clip(u, 0, 1, out=u)
        off = u * -d_major[of, None]
        off += along[:, None]
        across -= u * d_minor[of, None]
        square = off * off + across * across
        near = np.flatnonzero(square < (reach**2)[of, None])

        line, across_row = np.divmod(near, rows_across)
        cross = base[line] + across_row
        inside = (cross >= 0) & (cross < cross_limit)
        if not inside.all():
            near, line, cross = near[inside], line[inside], cross[inside]
        distance, u, of, column = np.sqrt(square.ravel()[near]), u.ravel()[near], of[line], column[line]
        pixel = cross * self.width + column if axis == 0 else column * self.width + cross
        return self._stroke_weights(strokes, rows[of], pixel, u, distance, outline, shade, dash)

    def _stroke_weights(
        self,
        strokes: Strokes,
        shape: np.ndarray,
        pixel: np.ndarray,
        u: np.ndarray,
        distance: np.ndarray,
        outline: float,
        shade: float,
        dash: float,
    ) -> _Cover:
        """Weights of entries at `distance` from share `u` of their stroke's length."""
        half = _between(strokes.radius, shape, u) - distance
        half += 0.5
        core = np.clip(half, 0, 1)
        edge = np.clip(half + np.float32(outline), 0, 1) * np.float32(shade)
        opacity = _between(strokes.opacity, shape, u)
        if strokes.dashed.any():
            length = np.hypot(*(strokes.end - strokes.start).T).astype(np.float32)
            arc = strokes.arc[shape] + u * length[shape]
            phase = np.abs((arc % (2 * dash)) - dash) - dash / 2  # a triangle: positive on the dash, in pixels
            opacity = np.where(strokes.dashed[shape], opacity * np.clip(phase + 0.5, 0, 1), opacity)
        score = (0.75 * core + 0.25 * edge) * (0.5 + 0.5 * opacity)
        return _Cover(pixel, shape, score, core * opacity, (core + edge * (1 - core)) * opacity)

    def _disc_cover(self, discs: Discs, radius: float, rim: float, outline: float, shade: float) -> _Cover:
        """Entries of discs: a square patch around each."""
        reach = radius + outline + 0.5
        shape, row, col, distance, (x, y) = self._patches(discs.center, reach)

        middle = distance - (radius - rim / 2)
        border = np.abs(middle)
        # Towards the inside the outline is thin: a small ring would be a dark blob rather than hollow.
        outer = np.where(middle < 0, np.float32(0.35 * outline), np.float32(outline))
        opacity = discs.rim[shape]
        dashed = discs.dashed[shape]
        if dashed.any():
            dashes = min(max(round(0.9 * radius), 3), 8)
            center = discs.center[shape]
            angle = np.arctan2(y[shape, row] + 0.5 - center[:, 1], x[shape, col] + 0.5 - center[:, 0])
            opacity = np.where(dashed, opacity * np.clip(0.5 + 2.0 * np.cos(dashes * angle), 0, 1), opacity)
        ring = np.clip(rim / 2 - border + 0.5, 0, 1) * opacity
        edge = np.clip(rim / 2 + outer - border + 0.5, 0, 1) * shade * opacity
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
        shape, colour, keep = cover.shape[won], 255 * cover.colour[won], 1 - cover.total[won]
        flat = image.reshape(-1)
        place = cover.pixel[won] * 3
        for channel in range(3):  # one plane at a time: numpy gathers single bytes much faster than triples
            value = flat[place] * keep
            value += rgb[:, channel][shape] * colour
            value += 0.5
            flat[place] = value.astype(np.uint8)
            place += 1


def _batches(rows: np.ndarray, length: np.ndarray) -> list[np.ndarray]:
    """The rows in batches of so many pixels of `length` that intermediate arrays stay in the processor's cache."""
    if not len(rows):
        return []
    batch = np.cumsum(length + _COLUMNS_PER_END) // _BATCH_COLUMNS
    return np.split(rows, np.flatnonzero(np.diff(batch)) + 1)


def _between(ends: np.ndarray, shape: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Values at share `u` between the two ends [S,2] of each entry's stroke."""
    return np.asarray(ends[:, 0][shape] + u * (ends[:, 1] - ends[:, 0])[shape])

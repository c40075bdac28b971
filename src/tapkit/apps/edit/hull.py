"""The convex hull of some points, and how far places are outside of it."""

from __future__ import annotations

import numpy as np


def hull(xy: np.ndarray) -> np.ndarray:
    """Corners [k,2] of the convex hull, in order (A. Andrew's monotone chain, 1979); all points if they are two or
    fewer."""
    points = np.unique(xy, axis=0)
    if len(points) < 3:
        return np.asarray(points)

    def chain(ordered: np.ndarray) -> list[np.ndarray]:
        out: list[np.ndarray] = []
        for point in ordered:
            while len(out) > 1 and _turn(out[-2], out[-1], point) <= 0:
                out.pop()
            out.append(point)
        return out[:-1]

    return np.array(chain(points) + chain(points[::-1]))


def _turn(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))


def outside(places: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Distance of places [n,2] to a convex polygon [k,2], pixels; 0 inside."""
    if len(polygon) < 3:
        gaps = places[:, None] - polygon[None]
        return np.asarray(np.sqrt((gaps * gaps).sum(-1)).min(1))
    start, side = polygon, np.roll(polygon, -1, 0) - polygon
    along, down = side.T
    length = np.maximum(along * along + down * down, 1e-12)
    x, y = places[:, :1] - start[:, 0], places[:, 1:] - start[:, 1]
    turn = along * y - down * x
    inside = (turn >= 0).all(1) | (turn <= 0).all(1)
    out = np.zeros(len(places))
    x, y = x[~inside], y[~inside]  # few are outside
    share = np.clip((x * along + y * down) / length, 0, 1)
    x -= share * along
    y -= share * down
    out[~inside] = np.sqrt((x * x + y * y).min(1)) if len(x) else 0
    return out


def radius(polygon: np.ndarray) -> float:
    """Of the disc that has the polygon's area."""
    if len(polygon) < 3:
        return 0.0
    x, y = polygon.T
    return float(np.sqrt(abs(0.5 * (x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / np.pi))

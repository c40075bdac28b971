"""Which points are tracked: places on triangles that are seen on some frame, so that what appears late has tracks.

Candidates are where rays through the pixels of several frames meet a surface. They are spread over the picture, not
over the surface: a floor that reaches the horizon would otherwise take most of them. Objects share the points by the
square root of the pixels that they cover, those that move three times as much.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from tapkit.generate.rays import Surface, centres
from tapkit.generate.take import Take

KEY_FRAMES = 8
"""Frames on which points are chosen, the first among them."""
FIRST_FRAME_SHARE = 2
"""The first frame has that many times as many points as another: benchmarks ask on the first frame."""
MOVING_SHARE = 3.0


class SurfacePoints(NamedTuple):
    """N places on the scene's surface."""

    triangle: np.ndarray
    """[N] int64, of `Take.triangles`."""
    corners: np.ndarray
    """[N,3] float64, weights of its corners (barycentric)."""
    part: np.ndarray
    """[N] int64, of `Take.parts`."""
    chosen_on: np.ndarray
    """[N] int64, the frame on which it was chosen, and is seen."""


def choose_points(take: Take, count: int, seed: int) -> SurfacePoints:
    """`count` points, fewer if the scene shows less than that many pixels of things with tracks."""
    random = np.random.default_rng([seed, 20])
    frames = _key_frames(take.frames, random)
    shares = np.ones(len(frames))
    shares[0] = FIRST_FRAME_SHARE
    chosen = [
        _choose_on(take, frame, number, random)
        for frame, number in zip(frames, _split(count, shares, np.full(len(frames), count)), strict=True)
    ]
    return SurfacePoints(*(np.concatenate(field) for field in zip(*chosen, strict=True)))


def _key_frames(frames: int, random: np.random.Generator) -> list[int]:
    """The first frame, and one of each of the pieces that the others are cut into."""
    edges = np.linspace(1, frames, min(KEY_FRAMES, frames)).astype(int)
    later = [int(random.integers(low, high)) for low, high in pairwise(edges) if high > low]
    return [0, *later]


def _choose_on(take: Take, frame: int, count: int, random: np.random.Generator) -> SurfacePoints:
    """`count` points that are seen on `frame`."""
    surface = Surface(take.geometry(frame)[0], take.triangles, take.geometry(frame)[1])
    pixels = centres(take.size)
    hits = surface.cast(pixels + random.uniform(-0.5, 0.5, pixels.shape))
    part = np.where(hits.triangle < 0, -1, take.part_of[hits.triangle])
    tracked = np.array([each.mask > 0 for each in take.parts], bool)
    candidates = [np.flatnonzero(part == i) if tracked[i] else np.zeros(0, np.int64) for i in range(len(take.parts))]
    pixels_of = np.array([len(rows) for rows in candidates])
    quota = _split(count, np.sqrt(pixels_of) * np.where(take.moves, MOVING_SHARE, 1.0), pixels_of)
    rows = np.concatenate(
        [random.choice(own, number, replace=False) for own, number in zip(candidates, quota, strict=True)]
        or [np.zeros(0, np.int64)]
    ).astype(np.int64)
    return SurfacePoints(hits.triangle[rows], hits.corners[rows], part[rows], np.full(len(rows), frame))


def _split(count: int, shares: np.ndarray, most: np.ndarray) -> np.ndarray:
    """`count` in whole parts as `shares`, none above `most`; what one cannot take goes to the others."""
    quota = np.zeros(len(shares), np.int64)
    while (left := min(count, int(most.sum())) - quota.sum()) > 0:
        open_ = quota < most
        wanted = left * np.where(open_, shares, 0) / shares[open_].sum()
        step = np.floor(wanted).astype(np.int64)
        rest = np.argsort(-(wanted - step), kind="stable")[: left - step.sum()]
        step[rest] += 1
        quota = np.minimum(quota + step, most)
    return quota

"""Which points stand still: pairs of frames vote, each by its epipolar geometry; and how much parallax pairs have."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tapkit.apps.camera.epipolar import rotation_between, two_view
from tapkit.apps.camera.intrinsics import rays
from tapkit.apps.camera.observations import Observations
from tapkit.apps.camera.options import CameraOptions

GAPS = (2, 4, 8, 16)
TIGHTEST = 0.4
"""Pixels below which the threshold of a vote does not shrink, however precise the tracker is."""
MOST_PAIRS = 100
"""Pairs of frames that vote, spread evenly over the clip."""
FEWEST_COMMON = 12
LEAST_RATIO = 0.35
"""Inliers of a pair below which it has no vote."""
LEAST_PARALLAX = 1.0
"""Median parallax in pixels, rotation taken out, below which a pair has no vote: any translation would fit."""
LEAST_PAIRS = 3
UNSURE = 0.5
"""Weight of points that fewer pairs have seen."""
FEWEST_STATIC = 20
"""Static points below which all points of a frame are used."""


class Votes(NamedTuple):
    """What the pairs said."""

    score: np.ndarray
    """[N] share of the pairs that a point agrees with; NaN where none has seen it."""
    pairs: np.ndarray
    """[N] pairs that have seen it and were not degenerate."""
    asked: int
    """Pairs that were looked at."""
    voted: int
    """Of these, pairs with parallax and a majority."""
    noise: float
    """Noise of positions in pixels, the median over the pairs; NaN where none has voted."""

    def static(self, least: float) -> np.ndarray:
        """[N] bool; points that too few pairs have seen are not static, nor moving."""
        return (self.pairs >= LEAST_PAIRS) & (self.score >= least)

    def moving(self, least: float) -> np.ndarray:
        """[N] bool."""
        return (self.pairs >= LEAST_PAIRS) & (self.score < least)


def common(observations: Observations, first: int, second: int) -> np.ndarray:
    """Rows of the points that both frames see."""
    return np.flatnonzero((observations.weight[:, first] > 0) & (observations.weight[:, second] > 0))


def parallax(observations: Observations, camera: np.ndarray, first: int, second: int) -> float:
    """Median distance in pixels between where points are seen and where rotation alone would have moved them; 0 for
    fewer than `FEWEST_COMMON` points."""
    rows = common(observations, first, second)
    if len(rows) < FEWEST_COMMON:
        return 0.0
    one = rays(observations.xy[rows, first], camera[first])
    other = rays(observations.xy[rows, second], camera[second])
    weight = np.sqrt(observations.weight[rows, first] * observations.weight[rows, second])
    _, far = rotation_between(one, other, weight)
    return float(np.median(far) * camera[second, :2].mean())


def vote(observations: Observations, camera: np.ndarray, calibrated: bool, options: CameraOptions, pace: int) -> Votes:
    """Epipolar votes on pairs of frames `pace` times 2, 4, 8 and 16 apart.

    A pair has no vote if rotation explains it (any point agrees with any translation) or too few points agree.
    """
    random = np.random.default_rng(options.seed)
    count, frames = len(observations), observations.frames
    pairs = [(t, t + g * pace) for g in GAPS for t in range(frames - g * pace)]
    chosen = np.unique(np.linspace(0, len(pairs) - 1, min(len(pairs), MOST_PAIRS)).round().astype(int))
    agreed, seen = np.zeros(count), np.zeros(count, np.int64)
    noise = []
    for first, second in (pairs[n] for n in chosen.tolist()):
        rows = common(observations, first, second)
        if len(rows) < FEWEST_COMMON or parallax(observations, camera, first, second) < LEAST_PARALLAX:
            continue
        one = rays(observations.xy[rows, first], camera[first])
        other = rays(observations.xy[rows, second], camera[second])
        pixel = 1 / float(camera[[first, second], :2].mean())
        found = two_view(one, other, options.epipolar_error * pixel, random, calibrated, TIGHTEST * pixel)
        if found is None or found.inlier.mean() < LEAST_RATIO:
            continue
        noise.append(found.noise / pixel)
        seen[rows] += 1
        agreed[rows] += found.inlier
    with np.errstate(invalid="ignore"):
        score = agreed / np.where(seen, seen, np.nan)
    return Votes(score, seen, len(chosen), len(noise), float(np.median(noise)) if noise else float("nan"))


def without_moving(observations: Observations, votes: Votes, least: float) -> Observations:
    """Points that were voted out no longer count; unsure ones count half. Frames in which too few are left use all."""
    factor = np.where(votes.moving(least), 0.0, np.where(votes.static(least), 1.0, UNSURE))
    weight = observations.weight * factor[:, None]
    few = (weight > 0).sum(0) < FEWEST_STATIC
    more = (observations.weight > 0).sum(0) > (weight > 0).sum(0)
    everything = few & more
    weight[:, everything] = observations.weight[:, everything] * UNSURE
    return observations.weighted(weight)

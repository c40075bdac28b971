"""Averages that count what is undefined, and how far they can be trusted: the bootstrap over clips.

Clips are the unit of resampling, because points of one clip share its difficulty (Efron and Tibshirani,
"An Introduction to the Bootstrap", 1993, chapters 6 and 13: percentile intervals; chapter 16: paired test).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tapkit.errors import ShapeError, UsageError


class Mean(NamedTuple):
    """A mean over clips, and what stands behind it."""

    value: float | None
    """None: defined for no clip."""
    low: float | None
    """Lower end of the interval; None with fewer than two clips."""
    high: float | None
    defined: int
    """Clips in the mean."""
    undefined: int
    """Clips for which the figure has no denominator."""


def mean_defined(values: np.ndarray, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> Mean:
    """Mean of `values` [clips] over those that are not NaN, with a percentile bootstrap interval.

    Deterministic for a given `seed`. An interval needs at least two defined clips.

    >>> mean_defined(np.array([1.0, np.nan, 3.0])).value, mean_defined(np.array([1.0, np.nan])).undefined
    (2.0, 1)
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1:
        raise ShapeError(f"one value for each clip is needed, [clips], got {list(values.shape)}")
    kept = values[~np.isnan(values)]
    undefined = len(values) - len(kept)
    if not len(kept):
        return Mean(None, None, None, 0, undefined)
    if len(kept) == 1:
        return Mean(float(kept[0]), None, None, 1, undefined)
    means = kept[_resample(len(kept), resamples, seed)].mean(1)
    low, high = np.quantile(means, _tails(level))
    return Mean(float(kept.mean()), float(low), float(high), len(kept), undefined)


class Difference(NamedTuple):
    """B minus A over the clips that both have."""

    value: float
    low: float
    high: float
    p: float
    """Two-sided bootstrap p value of "there is no difference"."""
    clips: int
    better: int
    """Clips on which B is higher."""
    worse: int

    @property
    def significant(self) -> bool:
        """Whether zero lies outside the interval."""
        return self.low > 0 or self.high < 0


def paired_difference(
    first: np.ndarray, second: np.ndarray, level: float = 0.95, resamples: int = 10000, seed: int = 0
) -> Difference:
    """Is `second` better than `first` by more than the choice of clips explains? Both [clips], same clips.

    Clips on which either is NaN are left out. The p value counts how often the resampled mean difference,
    shifted to have mean zero, is at least as far from zero as the observed one.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise ShapeError(f"paired values must both be [clips], got {list(first.shape)} and {list(second.shape)}")
    gain = second - first
    gain = gain[~np.isnan(gain)]
    if len(gain) < 2:
        raise UsageError(f"a paired comparison needs at least two clips that both results have, got {len(gain)}")
    means = gain[_resample(len(gain), resamples, seed)].mean(1)
    mean = float(gain.mean())
    low, high = np.quantile(means, _tails(level))
    far = int((np.abs(means - mean) >= abs(mean)).sum())
    return Difference(
        mean,
        float(low),
        float(high),
        (far + 1) / (resamples + 1),
        len(gain),
        int((gain > 0).sum()),
        int((gain < 0).sum()),
    )


def _resample(clips: int, resamples: int, seed: int) -> np.ndarray:
    """Indices [resamples, clips] drawn with replacement."""
    return np.random.default_rng(seed).integers(0, clips, (resamples, clips))


def _tails(level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise UsageError(f"the level of an interval lies between 0 and 1, got {level}")
    return (1 - level) / 2, (1 + level) / 2

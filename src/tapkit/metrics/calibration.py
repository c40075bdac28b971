"""Is a probability of 0.8 right in 80 % of the cases? Reliability diagrams, ECE and the Brier score.

Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 2 (equal-width bins);
Brier, "Verification of forecasts expressed in terms of probability", 1950.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tapkit.errors import ShapeError, UsageError


class Reliability(NamedTuple):
    """Sums for each of K equal bins of the predicted probability; sums of several clips add up."""

    entries: np.ndarray
    """[K] int64 predictions in the bin."""
    predicted: np.ndarray
    """[K] float64, sum of the predicted probabilities."""
    happened: np.ndarray
    """[K] int64, how often it was so."""
    squared: np.ndarray
    """[K] float64, sum of (predicted - happened)^2."""

    @staticmethod
    def join(parts: Sequence[Reliability]) -> Reliability:
        """Of several clips together."""
        if not parts:
            raise UsageError("nothing to join: give at least one reliability diagram")
        return Reliability(*(np.sum(field, axis=0) for field in zip(*parts, strict=True)))

    @property
    def ece(self) -> float:
        """Expected calibration error 0..1: |mean probability - observed frequency|, weighted by count; NaN if empty."""
        total = int(self.entries.sum())
        return float(np.abs(self.predicted - self.happened).sum() / total) if total else float("nan")

    @property
    def brier(self) -> float:
        """Mean squared error of the probability, 0..1; NaN if empty."""
        total = int(self.entries.sum())
        return float(self.squared.sum() / total) if total else float("nan")

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """(mean predicted probability, observed frequency) of each bin [K]; NaN in empty bins."""
        with np.errstate(invalid="ignore"):
            return self.predicted / self.entries, self.happened / self.entries


def reliability(
    probability: np.ndarray, happened: np.ndarray, where: np.ndarray | None = None, bins: int = 10
) -> Reliability:
    """Bin probabilities 0..1 against what happened (bool), both [...], over the entries of `where`.

    Bins are [0, 1/K), ..., [(K-1)/K, 1].

    >>> reliability(np.array([0.9, 0.9]), np.array([True, False])).ece
    0.4
    """
    probability, happened = np.asarray(probability, np.float64), np.asarray(happened, bool)
    if probability.shape != happened.shape:
        raise ShapeError(
            f"probabilities {list(probability.shape)} and outcomes {list(happened.shape)} must have one shape"
        )
    keep = np.ones(probability.shape, bool) if where is None else np.asarray(where, bool)
    p, y = probability[keep], happened[keep]
    if p.size and not ((p >= 0) & (p <= 1)).all():
        raise UsageError("probabilities must lie in 0..1; logits need a sigmoid")
    index = np.minimum((p * bins).astype(np.int64), bins - 1)
    return Reliability(
        entries=np.bincount(index, minlength=bins),
        predicted=np.bincount(index, p, bins),
        happened=np.bincount(index[y], minlength=bins),
        squared=np.bincount(index, np.square(p - y), bins),
    )

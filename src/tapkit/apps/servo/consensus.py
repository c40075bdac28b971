"""Which of some matched points agree on one similarity of the picture: shift, turn, scale."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Similarity(NamedTuple):
    """(x + iy) -> ratio (x + iy) + shift, and the points that agree with it."""

    ratio: complex
    shift: complex
    agree: np.ndarray
    """[n] bool."""

    def __call__(self, xy: np.ndarray) -> np.ndarray:
        """Where points [n,2] go."""
        moved = self.ratio * _complex(xy) + self.shift
        return np.stack([moved.real, moved.imag], -1)


def _complex(xy: np.ndarray) -> np.ndarray:
    wide = np.asarray(xy, np.float64)
    return np.asarray(wide[..., 0] + 1j * wide[..., 1])


def tolerance_of(xy: np.ndarray, width: float) -> float:
    """Pixels within which points may miss a common similarity.

    A sixth of how far they [n,2] lie from their middle (root mean square), since small things allow any similarity that
    is tested loosely; 0.8 to 3 % of the picture's width.
    """
    spread = float(np.sqrt(((xy - xy.mean(0)) ** 2).sum(1).mean())) if len(xy) else 0.0
    return float(np.clip(spread / 6, 0.008 * width, 0.03 * width))


def agree_on_similarity(
    first: np.ndarray, second: np.ndarray, tolerance: float, trials: int = 200, seed: int = 0
) -> Similarity | None:
    """The similarity from points [n,2] to points [n,2] with which most agree to within `tolerance` pixels (RANSAC over
    pairs, then least squares over those that agree); None for fewer than two points, or points on one spot.
    """
    a, b = _complex(first), _complex(second)
    if len(a) < 2:
        return None
    i, j = np.triu_indices(len(a), 1)
    if len(i) > trials:
        chosen = np.random.default_rng(seed).choice(len(i), trials, replace=False)
        i, j = i[chosen], j[chosen]
    apart = np.abs(a[j] - a[i]) > 1.0
    i, j = i[apart], j[apart]
    if not len(i):
        return None
    ratio = (b[j] - b[i]) / (a[j] - a[i])
    shift = b[i] - ratio * a[i]
    off = np.abs(ratio[:, None] * a + shift[:, None] - b)
    score = np.minimum(off, tolerance).sum(1)
    score[(np.abs(ratio) < 0.2) | (np.abs(ratio) > 5)] = np.inf
    best = int(score.argmin())
    agree = off[best] <= tolerance
    for _ in range(3):
        if agree.sum() < 2:
            return None
        centre_a, centre_b = a[agree].mean(), b[agree].mean()
        spread = (np.abs(a[agree] - centre_a) ** 2).sum()
        if spread < 1e-6:
            return None
        turned = (np.conj(a[agree] - centre_a) * (b[agree] - centre_b)).sum() / spread
        moved = centre_b - turned * centre_a
        agree = np.abs(turned * a + moved - b) <= tolerance
    return Similarity(complex(turned), complex(moved), agree)

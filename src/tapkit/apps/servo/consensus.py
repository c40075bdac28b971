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


def refined(
    first: np.ndarray, second: np.ndarray, fit: Similarity, xy: np.ndarray, around: float | None = None
) -> tuple[Similarity, float]:
    """The similarity near `fit` for which the pictures are most alike around the points, and how alike: by steps of
    shift, turn and size, halved when none helps. `around`: see `likeness`."""
    centre = complex(*xy.mean(0))
    far = max(float(np.abs(_complex(xy) - centre).max()), 1.1)
    best, step = likeness(first, second, fit, xy, around), 2.0
    while step > 0.2:
        better = False
        for change in (1, 1j, -1, -1j, 1j / far, -1j / far, 1 / far, -1 / far):
            if abs(change) == 1:
                tried = fit._replace(shift=fit.shift + step * change)
            else:  # about the middle of the points
                ratio = fit.ratio * (1 + step * change)
                tried = fit._replace(ratio=ratio, shift=fit.shift + (fit.ratio - ratio) * centre)
            like = likeness(first, second, tried, xy, around)
            if like > best + 1e-4:
                fit, best, better = tried, like, True
        if not better:
            step /= 2
    return fit, best


def likeness(
    first: np.ndarray, second: np.ndarray, fit: Similarity, xy: np.ndarray, around: float | None = None
) -> float:
    """Normalised correlation, -1 to 1, of two pictures [H,W,3] around points [n,2] of the first, where `fit` puts them.

    Over the box of the points and a tenth more, or only within `around` pixels of each of them, for things that others
    lie in front of. Colours count, light and contrast do not.
    """
    if around is None:
        low, high = xy.min(0), xy.max(0)
        margin = 0.1 * (high - low) + 1
        x, y = (np.linspace(a, b, 24) for a, b in zip(low - margin, high + margin, strict=True))
        grid = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    else:
        side = np.linspace(-around, around, 7)
        grid = (xy[:, None] + np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)).reshape(-1, 2)
    there = fit(grid)
    inside = [((p >= 0.5) & (p <= np.array(i.shape[1::-1]) - 0.5)).all(1) for p, i in ((grid, first), (there, second))]
    both = inside[0] & inside[1]
    if both.sum() < 0.3 * len(grid):
        return 0.0
    a, b = _sampled(first, grid[both]), _sampled(second, there[both])
    a, b = a - a.mean(0), b - b.mean(0)
    return float((a * b).sum() / max(np.sqrt((a * a).sum() * (b * b).sum()), 1e-9))


def _sampled(image: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Colours [n,3] at positions [n,2] within the picture, between four pixels."""
    height, width = image.shape[:2]
    place = xy - 0.5  # to pixel centres
    corner = np.clip(np.floor(place).astype(int), 0, (width - 2, height - 2))
    u, v = (place - corner).T[..., None]
    x, y = corner.T
    top = (1 - u) * image[y, x] + u * image[y, x + 1]
    return np.asarray((1 - v) * top + v * ((1 - u) * image[y + 1, x] + u * image[y + 1, x + 1]))


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

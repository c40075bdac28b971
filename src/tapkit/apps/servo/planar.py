"""Clustering of tracks without depth: which points move by the same similarity of the picture, over many frame pairs.

Similarities (shift, turn, scale) are proposed by two points that lie near each other, between frames of any
demonstration; points are alike if they agree with the same proposals, in the sense of T-linkage (Magri and Fusiello,
CVPR 2014); spectral clustering (Ng, Jordan and Weiss, NIPS 2001) makes groups of them, and groups whose common motion
fits as well as their own are joined. Adequate for things on a table under a camera that looks down; quick, no training.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapkit.errors import UsageError


@dataclass(frozen=True)
class PlanarOptions:
    """How similarities are proposed and judged."""

    clusters: int = 6
    """At most so many."""
    proposals: int = 3000
    tolerance: float = 0.012
    """Of the picture: how far a point may be from where a proposal puts it and still agree (one sigma)."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.clusters < 1 or self.proposals < 1:
            raise UsageError("clusters and proposals must be at least 1")
        if not self.tolerance > 0:
            raise UsageError(f"tolerance must be positive, got {self.tolerance}")


def cluster_planar(xy: np.ndarray, visible: np.ndarray, options: PlanarOptions | None = None) -> np.ndarray:
    """Clusters of tracks [N] int64 from 0.

    Args:
        xy: [N,F,2] in units of the picture's width, demonstrations one after the other.
        visible: [N,F] bool.
    """
    options = options or PlanarOptions()
    random = np.random.default_rng(options.seed)
    if len(xy) <= max(options.clusters, 3):
        return np.zeros(len(xy), np.int64)
    agree, known = _preferences(xy, visible, options, random)
    alike = _tanimoto(agree, known)
    labels = _spectral(alike, min(options.clusters, len(xy)), random)
    return _joined(labels, alike)


def _preferences(
    xy: np.ndarray, visible: np.ndarray, options: PlanarOptions, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """How much each point agrees with each proposal [N,K], 0 to 1, and whether it was seen on both frames [N,K]."""
    count, _frames = visible.shape
    agree, known = [], []
    z = xy[..., 0] + 1j * xy[..., 1]
    order = random.permutation(count)
    for trial in range(4 * options.proposals):
        point = order[trial % count]  # all points get their turn: small objects too
        own = np.flatnonzero(visible[point])
        if len(own) < 2:
            continue
        first, second = random.choice(own, 2, replace=False)
        seen = visible[:, first] & visible[:, second]
        apart = np.abs(z[:, first] - z[point, first])
        near = np.flatnonzero(seen & (apart > 0.02) & (apart < 0.2))
        if not len(near):
            continue
        partner = random.choice(near)
        ratio = (z[partner, second] - z[point, second]) / (z[partner, first] - z[point, first])
        if not 0.25 < abs(ratio) < 4:
            continue
        there = z[point, second] + ratio * (z[:, first] - z[point, first])
        close = np.exp(-(np.abs(there - z[:, second]) ** 2) / (2 * options.tolerance**2)) * seen
        if close.sum() < 3.5:  # the two themselves, and hardly anybody else
            continue
        agree.append(close)
        known.append(seen)
        if len(agree) == options.proposals:
            break
    if not agree:
        return np.zeros((count, 1)), np.zeros((count, 1), bool)
    return np.stack(agree, 1), np.stack(known, 1)


def _tanimoto(agree: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Likeness [N,N], 0 to 1, over the proposals that both points could be asked about."""
    both = known.astype(np.float64)
    product = agree @ agree.T
    squares = agree**2
    own = squares @ both.T  # [p,q]: of p, where q was seen too
    total = own + own.T - product
    alike = np.divide(product, total, out=np.zeros_like(product), where=total > 1e-9)
    np.fill_diagonal(alike, 1.0)
    return np.asarray(alike)


def _spectral(alike: np.ndarray, clusters: int, random: np.random.Generator) -> np.ndarray:
    degree = alike.sum(1) ** -0.5
    _, vectors = np.linalg.eigh(alike * degree[:, None] * degree)
    rows = vectors[:, -clusters:]
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return min((_k_means(rows, clusters, random) for _ in range(8)), key=lambda found: found[1])[0]


def _k_means(rows: np.ndarray, clusters: int, random: np.random.Generator) -> tuple[np.ndarray, float]:
    """Labels [N] and the sum of squared distances; begins with rows far from one another (k-means++)."""
    centres = [rows[random.integers(len(rows))]]
    for _ in range(clusters - 1):
        far = np.min([((rows - c) ** 2).sum(1) for c in centres], axis=0)
        chance = far / far.sum() if far.sum() > 0 else None
        centres.append(rows[random.choice(len(rows), p=chance)])
    middle = np.stack(centres)
    labels = np.zeros(len(rows), np.int64)
    for _ in range(50):
        squares = ((rows[:, None] - middle) ** 2).sum(2)
        fresh = squares.argmin(1)
        if (fresh == labels).all():
            break
        labels = fresh
        middle = np.stack([rows[labels == c].mean(0) if (labels == c).any() else middle[c] for c in range(clusters)])
    return labels, float(((rows - middle[labels]) ** 2).sum())


def _joined(labels: np.ndarray, alike: np.ndarray) -> np.ndarray:
    """Join groups that are as like each other as they are within; names of clusters are then 0, 1, ..."""
    labels = np.unique(labels, return_inverse=True)[1]
    while labels.max() > 0:
        count = int(labels.max()) + 1
        member = (labels[:, None] == np.arange(count)).astype(np.float64)
        size = member.sum(0)
        between = (member.T @ alike @ member) / (size[:, None] * size)
        pairs = np.maximum(size * (size - 1), 1)
        within = ((member.T @ alike @ member).diagonal() - size) / pairs  # without the points' likeness to themselves
        ratio = between / np.maximum(np.minimum(within[:, None], within), 1e-9)
        np.fill_diagonal(ratio, 0)
        first, second = np.unravel_index(int(ratio.argmax()), ratio.shape)
        if ratio[first, second] < 0.7:
            break
        labels[labels == second] = first
        labels = np.unique(labels, return_inverse=True)[1]
    return np.asarray(labels, np.int64)

"""Motion models in spite of outliers: samples scored by MSAC, then reweighted least squares.

The first guess comes from seeded minimal samples (P. Torr and A. Zisserman, MLESAC, 2000: the truncated squared
residual), with the scale of the noise from the least median of squares (P. Rousseeuw and A. Leroy, Robust Regression
and Outlier Detection, 1987). It is polished by iteratively reweighted least squares with Tukey's biweight. A model that
the points do not support gives way to the next simpler one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from tapkit.apps.edit.models import DEGREES, KINDS, LEAST, Kind, affine, apply, fit, homography, refined

SAMPLES = 500
"""Minimal samples at most."""
BATCH = 64
"""Samples that are drawn at a time, until enough of them can be expected to hold no outlier."""
ALL_PAIRS = 32
"""Up to so many points, a model of two points is tried on all pairs."""
BIWEIGHT = 4.685
STEPS = 10
STILL = 0.01
"""Pixels by which the points move in the last of these steps, at most."""
LEAST_SIGMA = 0.05
"""Pixels: noise is never taken to be smaller."""
LARGEST_SIGMA, SIGMA_SHARE = 4.0, 0.02
"""Nor to be larger than so many pixels, or that share of the points' extent."""
FAR = 1e6
"""Pixels: infinity."""
LEAST_SUPPORT = 0.5
"""Share of the weight that must agree with a model."""
LEAST_SCATTER = 1e-3
"""Ratio of the eigenvalues of the points' scatter below which they lie on a line."""
LEAST_PERSPECTIVE = 0.3
"""Pixels by which a homography must move the region's corners beyond an affine model, to be worth its jitter; less
where many exact points tell it apart."""
SAME = 2.0
"""Pixels up to which two models of a frame are the same one, and a model is near the one of the frame before."""
LEAST_NEAR = 0.2
"""Share of the weight that speaks for a model near the one of the frame before."""
MUCH_MORE = 0.4
"""Share of the weight by which another one must have more."""
LARGEST_AREA = 50.0
"""A region grows or shrinks by at most this factor."""


@dataclass(frozen=True, eq=False)
class Fit:
    """One model between two frames."""

    kind: Kind
    matrix: np.ndarray
    """[3,3] float64, P to Q."""
    inlier: np.ndarray
    """[n] float64, 0..1: how far each point agrees with it."""
    support: float
    """Share of the weight that agrees, 0..1."""
    rms: float
    """Of the residuals of those, pixels."""


def robust_fit(
    kind: Kind,
    p: np.ndarray,
    q: np.ndarray,
    weight: np.ndarray,
    corners: np.ndarray | None = None,
    seed: int = 0,
    near: np.ndarray | None = None,
) -> Fit | None:
    """The model of `kind`, or the richest simpler one that the points support; None if none does.

    Args:
        p, q: [n,2] positions on the two frames.
        weight: [n], 0 for points that do not count.
        corners: [4,2] of the region on the frame of `p`, which a homography must carry sensibly.
        seed: of the samples.
        near: [3,3], where the model should be, from the frame before. If points agree with it, another model must have
            many more on its side: those that something in front has taken along are of one mind, too.

    Where more than half of the weight is against every model, the one with most and closest points is returned all the
    same: its `support` says so.
    """
    used = np.flatnonzero(weight > 0)
    if not len(used):
        return None
    a, b, w = p[used], q[used], weight[used]
    tried: list[Fit] = []
    for each in KINDS[KINDS.index(kind) :: -1]:
        found = _fitted(each, a, b, w, corners, seed, near)
        if found is None:
            continue
        inlier = np.zeros(len(p))
        inlier[used] = found.inlier
        whole = Fit(found.kind, found.matrix, inlier, found.support, found.rms)
        if whole.support >= LEAST_SUPPORT:
            return whole
        tried.append(whole)
    return max(tried, key=lambda each: each.support / (1 + each.rms), default=None)


def _fitted(
    kind: Kind,
    p: np.ndarray,
    q: np.ndarray,
    w: np.ndarray,
    corners: np.ndarray | None,
    seed: int,
    near: np.ndarray | None,
) -> Fit | None:
    if len(p) < LEAST[kind] or (kind in ("affine", "homography") and not spread(p, w)):
        return None
    if kind == "similarity" and np.ptp(p, axis=0).max() < 1e-6:  # all in one place
        return None
    close = None
    if near is not None:
        close = _judged(kind, *_polished(kind, near, p, q, w, SAME), p, q, w, corners)
        close = None if close is None or close.support < LEAST_NEAR or close.rms > SAME else close
        if close is not None and close.support + MUCH_MORE >= 1:
            return close  # no other model can have so many more
    start = _start(kind, p, q, w, np.random.default_rng(seed))
    if start is None:
        return close
    found = _judged(kind, *_polished(kind, start, p, q, w, _scale(start, p, q, w, kind)), p, q, w, corners)
    return close if close is not None and (found is None or found.support < close.support + MUCH_MORE) else found


def _judged(
    kind: Kind,
    matrix: np.ndarray,
    inlier: np.ndarray,
    sigma: float,
    p: np.ndarray,
    q: np.ndarray,
    w: np.ndarray,
    corners: np.ndarray | None,
) -> Fit | None:
    """A polished model with its support; None if it does not carry the region sensibly."""
    if kind == "homography" and not sensible(matrix, corners if corners is not None else p):
        return None
    if kind == "affine" and np.linalg.det(matrix[:2, :2]) <= 0:  # a mirror
        return None
    residual = _gaps(matrix, p, q)
    support = float(w[residual <= BIWEIGHT * sigma].sum() / w.sum())
    share = w * inlier
    if kind == "homography" and corners is not None and share.any():
        noise = float(np.sqrt(share @ residual**2)) / max(float(share.sum()), 1e-12)
        simple = _nearly_affine(matrix, p, q, share, corners, min(LEAST_PERSPECTIVE, 3 * noise))
        matrix = matrix if simple is None else simple
    rms = float(np.sqrt(share @ residual**2 / max(share.sum(), 1e-12)))
    return Fit(kind, matrix, inlier, support, rms)


def spread(p: np.ndarray, w: np.ndarray) -> bool:
    """Whether points are spread over an area, rather than along a line."""
    share = w / w.sum()
    centred = p - share @ p
    values = np.linalg.eigvalsh((centred * share[:, None]).T @ centred)
    return bool(values[0] > LEAST_SCATTER * values[1] > 0)


def sensible(matrix: np.ndarray, corners: np.ndarray) -> bool:
    """Whether a homography keeps a region in front of the camera, its corners in order, and its area in bounds."""
    lifted = np.column_stack([corners, np.ones(len(corners))]) @ matrix[2]
    if not (lifted > 1e-9).all():
        return False
    if len(corners) != 4:
        return True
    before, after = area(corners), area(apply(matrix, corners))
    return bool(
        before * after > 0 and 1 / LARGEST_AREA < abs(after / before) < LARGEST_AREA and _convex(apply(matrix, corners))
    )


def area(polygon: np.ndarray) -> float:
    """Signed area of a polygon [n,2]."""
    x, y = polygon.T
    return float(0.5 * (x * np.roll(y, -1) - y * np.roll(x, -1)).sum())


def _convex(polygon: np.ndarray) -> bool:
    side = np.roll(polygon, -1, 0) - polygon
    turn = side[:, 0] * np.roll(side[:, 1], -1) - side[:, 1] * np.roll(side[:, 0], -1)
    return bool((turn > 0).all() or (turn < 0).all())


def _nearly_affine(
    matrix: np.ndarray, p: np.ndarray, q: np.ndarray, w: np.ndarray, corners: np.ndarray, limit: float
) -> np.ndarray | None:
    """The affine model of the same points, if it carries the corners to the same places, to `limit` pixels."""
    simple = affine(p, q, w)
    if simple is None or np.abs(apply(matrix, corners) - apply(simple, corners)).max() >= limit:
        return None
    return simple


# -- the first guess -------------------------------------------------------------------------------


def _start(kind: Kind, p: np.ndarray, q: np.ndarray, w: np.ndarray, dice: np.random.Generator) -> np.ndarray | None:
    """The best of many models through as few points as possible."""
    if kind == "translation":
        out = np.eye(3)
        out[:2, 2] = _weighted_median(q - p, w)
        return out
    least, count = LEAST[kind], len(p)
    if kind == "similarity" and count <= ALL_PAIRS:
        rows = np.array(list(combinations(range(count), 2)))
        return _best(minimal(kind, p[rows], q[rows]), p, q, w)[0]
    best, cost, drawn, wanted = None, np.inf, 0, SAMPLES
    chance = w / w.sum()
    while drawn < min(SAMPLES, max(wanted, BATCH)):
        # Efraimidis and Spirakis, 2006: the largest of u^(1/w) are a weighted sample without replacement.
        keys = np.log(dice.random((BATCH, count))) / np.maximum(chance, 1e-12)
        rows = np.argpartition(-keys, least - 1, 1)[:, :least] if count > least else np.tile(np.arange(count), (1, 1))
        drawn += BATCH
        matrix, score, agree = _best(minimal(kind, p[rows], q[rows]), p, q, w)
        if matrix is not None and score < cost:
            best, cost = matrix, score
            clean = np.clip(agree**least, 1e-9, 1 - 1e-9)
            wanted = int(np.ceil(np.log(1e-3) / np.log(1 - clean)))
        if count <= least:
            break
    return best


def _weighted_median(values: np.ndarray, w: np.ndarray) -> np.ndarray:
    order = np.argsort(values, 0)
    total = np.cumsum(w[order], 0)
    place = (total >= 0.5 * w.sum()).argmax(0)
    return np.asarray(np.take_along_axis(values, np.take_along_axis(order, place[None], 0), 0)[0])


def minimal(kind: Kind, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Models [S,3,3] through samples [S,k,2]; NaN where a sample is degenerate. Solved in coordinates of size one."""
    (to_p, _), (to_q, back) = _scaler(p), _scaler(q)
    return np.asarray(back @ _minimal(kind, apply(to_p, p), apply(to_q, q)) @ to_p)


def _scaler(xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shift and scale of points [...,2] to about one, and its inverse."""
    middle, size = xy.reshape(-1, 2).mean(0), max(float(np.abs(xy - xy.reshape(-1, 2).mean(0)).max()), 1e-9)
    there = np.array([[1 / size, 0, -middle[0] / size], [0, 1 / size, -middle[1] / size], [0, 0, 1]])
    return there, np.array([[size, 0, middle[0]], [0, size, middle[1]], [0, 0, 1]])


def _minimal(kind: Kind, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    count, least = p.shape[:2]
    if kind == "similarity":
        a, b = p[:, 1] - p[:, 0], q[:, 1] - q[:, 0]
        square = (a * a).sum(1)
        with np.errstate(divide="ignore", invalid="ignore"):
            along = (a * b).sum(1) / square
            across = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / square
        out = np.zeros((count, 3, 3))
        out[:, 0, 0] = out[:, 1, 1] = along
        out[:, 0, 1], out[:, 1, 0], out[:, 2, 2] = -across, across, 1
        out[:, :2, 2] = q[:, 0] - np.einsum("sij,sj->si", out[:, :2, :2], p[:, 0])
        return out
    h = np.concatenate([p, np.ones((count, least, 1))], 2)
    if kind == "affine":
        out = np.zeros((count, 3, 3))
        out[:, :2] = np.swapaxes(_solve(h, q), 1, 2)
        out[:, 2, 2] = 1
        return out
    none = np.zeros_like(h)
    first = np.concatenate([h, none, -q[..., :1] * p], 2)
    second = np.concatenate([none, h, -q[..., 1:] * p], 2)
    rows = np.stack([first, second], 2).reshape(count, 8, 8)
    return np.concatenate([_solve(rows, q.reshape(count, 8, 1))[..., 0], np.ones((count, 1))], 1).reshape(count, 3, 3)


def _solve(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Batched solutions, NaN for singular systems."""
    bad = ~(np.abs(np.linalg.det(a)) > 1e-12)
    out = np.linalg.solve(np.where(bad[:, None, None], np.eye(a.shape[1]), a), b)
    out[bad] = np.nan
    return np.asarray(out)


def _best(models: np.ndarray, p: np.ndarray, q: np.ndarray, w: np.ndarray) -> tuple[np.ndarray | None, float, float]:
    """The model of least truncated cost, that cost, and the share of the weight that agrees with it."""
    models = models[np.isfinite(models).all((1, 2))]
    if not len(models):
        return None, np.inf, 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        moved = apply(models, p[None])
        residual = np.nan_to_num(((moved - q) ** 2).sum(-1), nan=np.inf, posinf=1e12)
    median = np.median(residual, 1)
    sigma = 1.4826 * float(np.sqrt(median.min()))
    limit = max(1.0, 1.5 * min(sigma, largest_noise(q))) ** 2
    cost = np.minimum(residual, limit) @ w
    row = int(cost.argmin())
    return models[row], float(cost[row] / limit), float(w[residual[row] < limit].sum() / w.sum())


# -- and its polish --------------------------------------------------------------------------------


def _polished(
    kind: Kind, matrix: np.ndarray, p: np.ndarray, q: np.ndarray, w: np.ndarray, sigma: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Reweighted least squares: the model, each point's share 0..1, and the scale of the noise in pixels.

    `sigma`: what the noise is taken for at first. It is measured on the points that agree so far.
    """
    inlier = _shares(matrix, p, q, sigma)
    for _ in range(STEPS):
        share = w * inlier
        found = homography(p, q, share, 1) if kind == "homography" and share.any() else fit(kind, p, q, share)
        if found is None:
            break
        moved = float(np.nan_to_num(_gaps(found, p, apply(matrix, p)), nan=FAR).max())
        matrix = found
        sigma = _scale(matrix, p, q, w, kind, sigma)
        inlier = _shares(matrix, p, q, sigma)
        if moved < STILL:
            break
    if kind == "homography" and inlier.any():
        matrix = refined(matrix, p, q, w * inlier)
    return matrix, inlier, sigma


def _shares(matrix: np.ndarray, p: np.ndarray, q: np.ndarray, sigma: float) -> np.ndarray:
    residual = _gaps(matrix, p, q) / (BIWEIGHT * sigma)
    return np.asarray(np.where(residual < 1, (1 - np.minimum(residual, 1) ** 2) ** 2, 0.0))


def _gaps(matrix: np.ndarray, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Distances [n] of where points are taken to where they are; large, not infinite, beyond the horizon."""
    with np.errstate(invalid="ignore"):
        gap = np.nan_to_num(apply(matrix, p) - q, nan=FAR, posinf=FAR, neginf=-FAR)
    return np.asarray(np.minimum(np.hypot(*gap.T), FAR))


def _scale(
    matrix: np.ndarray, p: np.ndarray, q: np.ndarray, w: np.ndarray, kind: Kind, sigma: float | None = None
) -> float:
    """Robust standard deviation of a residual, with what the model itself has taken up.

    `sigma`: of the points that agree so far, by this one; None: of all.
    """
    residual = _gaps(matrix, p, q)
    w = np.where(_shares(matrix, p, q, sigma) > 0, w, 0) if sigma is not None else w
    if not w.any():
        return LEAST_SIGMA
    order = np.argsort(residual)
    total = np.cumsum(w[order])
    median = residual[order[int((total >= 0.5 * total[-1]).argmax())]]
    free = max(len(p) - DEGREES[kind] / 2, 1)
    # 1.4826 for one axis; residuals here are lengths in two, whose median is 1.1774 sigma.
    return float(np.clip(float(median) / 1.1774 * (1 + 2.5 / free), LEAST_SIGMA, largest_noise(q)))


def largest_noise(q: np.ndarray) -> float:
    """Pixels up to which residuals of points that are spread like these may be noise, and not another motion."""
    return max(LARGEST_SIGMA, SIGMA_SHARE * float(np.hypot(*np.quantile(q, 0.9, 0) - np.quantile(q, 0.1, 0))))

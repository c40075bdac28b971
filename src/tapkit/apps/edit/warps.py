"""Non-rigid maps that are read anywhere, out of pairs of points: moving least squares and thin-plate splines.

S. Schaefer, T. McPhail and J. Warren, Image Deformation Using Moving Least Squares, SIGGRAPH 2006 (section 2: affine,
similarity and rigid). F. Bookstein, Principal Warps, PAMI 1989, with the regularisation of G. Wahba, Spline Models for
Observational Data, 1990. All map P to Q; to render, the roles are swapped (from the frame back to the artwork).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tapkit.apps.edit.models import apply, fit
from tapkit.errors import UsageError

Local = Literal["affine", "similarity", "rigid"]
LOCALS: tuple[Local, ...] = ("affine", "similarity", "rigid")
LEAST_LOCAL: dict[Local, int] = {"affine": 3, "similarity": 2, "rigid": 2}
NEAREST = 0.5
"""Pixels: distances to a point are never taken to be smaller."""
MOST_SPLINE = 500
"""More points than this are thinned out for a spline, to `KEPT_SPLINE` of them."""
KEPT_SPLINE = 300
STIFFNESS = 1e-6
"""Default regularisation of a spline, times the number of points and the mean of |K|: about what tracks of 0.3 pixels
of noise need. A thousand times of it bends visibly less than cloth does."""
_CELLS = 4_000_000
"""Weights (places x points) that are held at a time."""


def mls(
    v: np.ndarray,
    p: np.ndarray,
    q: np.ndarray,
    weight: np.ndarray,
    kind: Local = "similarity",
    alpha: float = 1.0,
    nearest: float = NEAREST,
) -> np.ndarray:
    """Moving least squares at places `v` [...,2]: each place has a model of its own, to which near points count most.

    Args:
        p, q: [n,2].
        weight: [n], 0 or more; at least one above 0.
        kind: of the local models.
        alpha: weights fall as distance^(-2 alpha).
        nearest: distances below this many pixels count as this; larger ones smooth over the noise of single points.

    Raises `UsageError` for an unknown kind. Float32 places are worked on in float32.
    """
    if kind not in LOCALS:
        raise UsageError(f"moving least squares are {', '.join(LOCALS)}, not {kind!r}")
    kept = weight > 0
    if kept.sum() < LEAST_LOCAL[kind]:
        matrix = fit("translation", p, q, weight)
        return v.copy() if matrix is None else np.asarray(apply(matrix, v), v.dtype)
    dtype = np.float32 if v.dtype == np.float32 else np.float64
    middle = p[kept].mean(0)
    a, b, w = ((part).astype(dtype) for part in (p[kept] - middle, q[kept] - middle, weight[kept]))
    places = (v.reshape(-1, 2) - middle).astype(dtype)
    out = np.empty_like(places)
    at_once = max(_CELLS // len(a), 1)
    features = _features(a, b)
    for begin in range(0, len(places), at_once):
        part = slice(begin, begin + at_once)
        out[part] = _moved(places[part], a, w, features, kind, alpha, nearest)
    return np.asarray(out.reshape(v.shape) + middle, v.dtype)


def _features(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """What is summed with the weights of each place, [n,13]."""
    (ax, ay), (bx, by) = a.T, b.T
    one = np.ones_like(ax)
    return np.stack([one, ax, ay, bx, by, ax * ax, ax * ay, ay * ay, ax * bx, ax * by, ay * bx, ay * by], 1)


def _moved(
    v: np.ndarray, a: np.ndarray, w: np.ndarray, features: np.ndarray, kind: Local, alpha: float, nearest: float
) -> np.ndarray:
    square = v @ (-2 * a.T)
    square += (v[:, 0] ** 2 + v[:, 1] ** 2)[:, None]
    square += a[:, 0] ** 2 + a[:, 1] ** 2
    np.maximum(square, v.dtype.type(nearest * nearest), out=square)
    if alpha == 2.0:
        square *= square
    elif alpha != 1.0:
        square **= alpha
    u = np.divide(w, square, out=square)
    sums = u @ features
    sums /= sums[:, :1]
    ax, ay, bx, by = sums[:, 1:5].T
    xx, xy, yy = sums[:, 5] - ax * ax, sums[:, 6] - ax * ay, sums[:, 7] - ay * ay
    cross = sums[:, 8:12] - np.stack([ax * bx, ax * by, ay * bx, ay * by], 1)  # x.x x.y y.x y.y
    dx, dy = v[:, 0] - ax, v[:, 1] - ay
    tiny = v.dtype.type(1e-9)
    if kind == "affine":
        det = np.maximum(xx * yy - xy * xy, tiny)
        gx, gy = (yy * dx - xy * dy) / det, (xx * dy - xy * dx) / det
        return np.stack([gx * cross[:, 0] + gy * cross[:, 2] + bx, gx * cross[:, 1] + gy * cross[:, 3] + by], 1)
    along, across = cross[:, 0] + cross[:, 3], cross[:, 1] - cross[:, 2]
    scale = np.maximum(xx + yy, tiny) if kind == "similarity" else np.maximum(np.hypot(along, across), tiny)
    cos, sin = along / scale, across / scale
    return np.stack([cos * dx - sin * dy + bx, sin * dx + cos * dy + by], 1)


@dataclass(frozen=True, eq=False)
class Spline:
    """A thin-plate spline: f(v) = X(v) affine + sum_j U(|v - P_j|) bend_j."""

    points: np.ndarray
    """[n,2]."""
    bend: np.ndarray
    """[n,2]."""
    affine: np.ndarray
    """[3,2]: constant, x, y."""

    @classmethod
    def fit(
        cls, p: np.ndarray, q: np.ndarray, weight: np.ndarray | None = None, stiffness: float | None = None
    ) -> Spline | None:
        """Through `q` at `p` [n,2]; None where the points lie on a line or are fewer than four.

        Args:
            weight: [n]; None: all alike. A point of weight w is fitted with stiffness / w.
            stiffness: lambda, in the units of K; 0 passes through all points, None: `STIFFNESS` n mean|K|.
        """
        w = np.ones(len(p)) if weight is None else np.asarray(weight, float)
        rows = np.flatnonzero(w > 0)
        _, first = np.unique(p[rows].round(6), axis=0, return_index=True)  # one of several points in one place
        rows = rows[np.sort(first)]
        if len(rows) > MOST_SPLINE:
            rows = rows[farthest(p[rows], KEPT_SPLINE, w[rows])]
        if len(rows) < 4:
            return None
        a, w = np.asarray(p[rows], float), w[rows] / w[rows].max()
        if np.linalg.matrix_rank(a - a.mean(0)) < 2:  # the system is then singular, but rounding may hide it
            return None
        kernel = _radial(((a[:, None] - a) ** 2).sum(-1))
        if stiffness is None:
            stiffness = STIFFNESS * len(a) * float(np.abs(kernel).mean())
        plane = np.column_stack([np.ones(len(a)), a])
        system = np.zeros((len(a) + 3, len(a) + 3))
        system[: len(a), : len(a)] = kernel + np.diag(stiffness / w)
        system[: len(a), len(a) :], system[len(a) :, : len(a)] = plane, plane.T
        try:
            found = np.linalg.solve(system, np.concatenate([q[rows], np.zeros((3, 2))]))
        except np.linalg.LinAlgError:
            return None
        return cls(a, found[: len(a)], found[len(a) :]) if np.isfinite(found).all() else None

    def __call__(self, v: np.ndarray) -> np.ndarray:
        """Where places [...,2] go."""
        places = v.reshape(-1, 2)
        out = self.affine[0] + places @ self.affine[1:]
        at_once = max(_CELLS // len(self.points), 1)
        for begin in range(0, len(places), at_once):
            part = slice(begin, begin + at_once)
            square = ((places[part, None] - self.points) ** 2).sum(-1)
            out[part] += _radial(square) @ self.bend
        return np.asarray(out.reshape(v.shape), v.dtype)


def _radial(square: np.ndarray) -> np.ndarray:
    """r^2 log r of squared distances; 0 at 0."""
    return np.asarray(0.5 * square * np.log(np.maximum(square, 1e-30)))


def farthest(xy: np.ndarray, count: int, weight: np.ndarray) -> np.ndarray:
    """Rows of `count` points, each the farthest (times its trust) from those before it; the most trusted one first."""
    chosen = [int(weight.argmax())]
    distance = np.full(len(xy), np.inf)
    while len(chosen) < min(count, len(xy)):
        distance = np.minimum(distance, ((xy - xy[chosen[-1]]) ** 2).sum(1))
        chosen.append(int((distance * weight**2).argmax()))
    return np.array(chosen)

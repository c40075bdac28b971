"""Motion models between two sets of points, each by weighted least squares, as 3x3 matrices that map P to Q.

Translation, similarity and affine are linear. The homography is the normalised DLT (R. Hartley, In Defense of the
Eight-Point Algorithm, PAMI 1997) followed by Gauss-Newton steps on the symmetric transfer error (R. Hartley and
A. Zisserman, Multiple View Geometry, section 4.2.2). Positions are pixels, corner origin; nothing here depends on it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Kind = Literal["translation", "similarity", "affine", "homography"]
KINDS: tuple[Kind, ...] = ("translation", "similarity", "affine", "homography")
"""From the simplest to the richest; each contains those before it."""
LEAST: dict[Kind, int] = {"translation": 1, "similarity": 2, "affine": 3, "homography": 4}
"""Points that a model needs."""
DEGREES: dict[Kind, int] = {"translation": 2, "similarity": 4, "affine": 6, "homography": 8}
"""Degrees of freedom."""
NEWTON_STEPS = 5


def apply(matrix: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Points [...,2] through matrices [...,3,3]; what lies on the horizon or behind it comes out as infinity.

    >>> apply(np.array([[1.0, 0, 2], [0, 1, 3], [0, 0, 1]]), np.array([[1.0, 1.0]])).tolist()
    [[3.0, 4.0]]
    """
    moved = xy @ np.swapaxes(matrix[..., :2, :2], -1, -2) + matrix[..., None, :2, 2]
    if (matrix[..., 2, :2] == 0).all() and (matrix[..., 2, 2] == 1).all():
        return np.asarray(moved)
    depth = (xy @ matrix[..., 2, :2, None])[..., 0] + matrix[..., None, 2, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(depth[..., None] > 1e-9, moved / depth[..., None], np.inf))


def fit(kind: Kind, p: np.ndarray, q: np.ndarray, weight: np.ndarray) -> np.ndarray | None:
    """The model of that kind from `p` to `q` [n,2] with weights [n]: [3,3], or None where the points cannot say.

    All of `fit` is plain least squares; see `tapkit.apps.edit.robust` for outliers.
    """
    if (weight > 0).sum() < LEAST[kind]:
        return None
    if kind == "translation":
        return translation(p, q, weight)
    if kind == "similarity":
        return similarity(p, q, weight)
    if kind == "affine":
        return affine(p, q, weight)
    return homography(p, q, weight)


def translation(p: np.ndarray, q: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The weighted mean of the displacements."""
    out = np.eye(3)
    out[:2, 2] = weight @ (q - p) / weight.sum()
    return out


def similarity(p: np.ndarray, q: np.ndarray, weight: np.ndarray) -> np.ndarray | None:
    """Rotation, scale and shift in closed form; a reflection cannot come out. None where all points are one."""
    share = weight / weight.sum()
    middle_p, middle_q = share @ p, share @ q
    a, b = p - middle_p, q - middle_q
    spread = float(share @ (a * a).sum(1))
    if not spread > 1e-12:
        return None
    along = float(share @ (a * b).sum(1)) / spread
    across = float(share @ (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])) / spread
    out = np.eye(3)
    out[:2, :2] = [[along, -across], [across, along]]
    out[:2, 2] = middle_q - out[:2, :2] @ middle_p
    return out


def affine(p: np.ndarray, q: np.ndarray, weight: np.ndarray) -> np.ndarray | None:
    """Six parameters by least squares. None for points on a line."""
    share = weight / weight.sum()
    middle_p, middle_q = share @ p, share @ q
    a, b = p - middle_p, q - middle_q
    scatter = (a * share[:, None]).T @ a
    if not np.linalg.det(scatter) > 1e-12 * np.trace(scatter) ** 2:
        return None
    out = np.eye(3)
    out[:2, :2] = np.linalg.solve(scatter, (a * share[:, None]).T @ b).T
    out[:2, 2] = middle_q - out[:2, :2] @ middle_p
    return out


def homography(p: np.ndarray, q: np.ndarray, weight: np.ndarray, steps: int = NEWTON_STEPS) -> np.ndarray | None:
    """Eight parameters: the normalised DLT, then `steps` Gauss-Newton steps. None where it is degenerate."""
    start = dlt(p, q, weight)
    return None if start is None else refined(start, p, q, weight, steps)


def dlt(p: np.ndarray, q: np.ndarray, weight: np.ndarray) -> np.ndarray | None:
    """The algebraic homography, scaled so that its last entry is 1."""
    counted = (weight > 0).astype(float)
    to_p, to_q = _normaliser(p, counted), _normaliser(q, counted)
    if to_p is None or to_q is None:
        return None
    a, b = apply(to_p, p), apply(to_q, q)
    rows = _equations(a, b) * np.sqrt(np.repeat(weight, 2))[:, None]
    values, vectors = np.linalg.eigh(rows.T @ rows)
    if not values[1] > 1e-12 * values[-1]:  # more than one homography explains the points
        return None
    return _unit(np.linalg.inv(to_q) @ vectors[:, 0].reshape(3, 3) @ to_p)


def through(p: np.ndarray, q: np.ndarray) -> np.ndarray | None:
    """The homography that maps four points [4,2] exactly onto four others; None if three of them are on a line."""
    return dlt(p, q, np.ones(4))


def _unit(matrix: np.ndarray) -> np.ndarray | None:
    last = matrix[2, 2]
    return None if not abs(last) > 1e-12 * np.abs(matrix).max() else np.asarray(matrix / last)


def _normaliser(xy: np.ndarray, weight: np.ndarray) -> np.ndarray | None:
    """Shift and scale to mean 0 and mean distance sqrt(2)."""
    share = weight / weight.sum()
    middle = share @ xy
    distance = float(share @ np.hypot(*(xy - middle).T))
    if not distance > 1e-9:
        return None
    scale = np.sqrt(2) / distance
    return np.array([[scale, 0, -scale * middle[0]], [0, scale, -scale * middle[1]], [0, 0, 1]])


def _equations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Two rows of the DLT for each pair of points, [2n,9]."""
    one, none = np.ones(len(a)), np.zeros((len(a), 3))
    h = np.column_stack([a, one])
    first = np.column_stack([h, none, -b[:, :1] * h])
    second = np.column_stack([none, h, -b[:, 1:] * h])
    return np.stack([first, second], 1).reshape(-1, 9)


def refined(
    start: np.ndarray, p: np.ndarray, q: np.ndarray, weight: np.ndarray, steps: int = NEWTON_STEPS
) -> np.ndarray:
    """Gauss-Newton on sum w (|H p - q|^2 + |H^-1 q - p|^2); a step that does not help ends it.

    Both halves are taken in normalised coordinates, where the eight parameters are of one size.
    """
    to_p, to_q = _normaliser(p, weight), _normaliser(q, weight)
    if to_p is None or to_q is None:
        return start
    a, b, root = apply(to_p, p), apply(to_q, q), np.sqrt(np.repeat(weight, 2))
    back = np.array([to_q[0, 0], to_p[0, 0]])  # pixels of either side again
    matrix = _unit(to_q @ start @ np.linalg.inv(to_p))
    if matrix is None:
        return start
    cost = np.inf
    best = matrix
    for _ in range(steps + 1):
        found = _transfer(matrix, a, b, root, back)
        if found is None or not found[1] < cost * (1 - 1e-12):
            break
        normal, cost, gradient = found[0], found[1], found[2]
        best = matrix
        step = np.linalg.lstsq(normal, -gradient, rcond=1e-12)[0]
        matrix = matrix + np.append(step, 0.0).reshape(3, 3)
    final = _unit(np.linalg.inv(to_q) @ best @ to_p)
    return start if final is None else final


def _transfer(
    matrix: np.ndarray, a: np.ndarray, b: np.ndarray, root: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, float, np.ndarray] | None:
    """J^T J, cost and J^T r of the symmetric transfer error for the eight free entries."""
    try:
        inverse = np.linalg.inv(matrix)
    except np.linalg.LinAlgError:
        return None
    there, depth = _project(matrix, a)
    back, depth_back = _project(inverse, b)
    if min(depth.min(), depth_back.min()) <= 1e-9 and max(depth.max(), depth_back.max()) > 0:
        return None
    h = np.column_stack([a, np.ones(len(a))]) / depth[:, None]
    forward = _slopes(there, h)
    # d(H^-1 b) = -H^-1 dH (H^-1 b): the slopes of the way back at its own end.
    g = np.column_stack([back, np.ones(len(b))])  # H^-1 b, up to its depth
    inner = np.einsum("ij,nk->nijk", inverse, g).reshape(len(b), 3, 9)  # d numerator / d entry of H, negated
    lifted = inner[:, :2] - back[:, :, None] * inner[:, 2:]
    backward = -lifted[:, :, :8]
    jacobian = np.concatenate(
        [forward.reshape(-1, 8) * (root / scale[0])[:, None], backward.reshape(-1, 8) * (root / scale[1])[:, None]]
    )
    residual = np.concatenate([(there - b).ravel() * root / scale[0], (back - a).ravel() * root / scale[1]])
    return jacobian.T @ jacobian, float(residual @ residual), jacobian.T @ residual


def _project(matrix: np.ndarray, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lifted = xy @ matrix[:, :2].T + matrix[:, 2]
    depth = lifted[:, 2]
    safe = np.where(np.abs(depth) > 1e-12, depth, 1e-12)
    return lifted[:, :2] / safe[:, None], safe


def _slopes(there: np.ndarray, h: np.ndarray) -> np.ndarray:
    """d(H a)/d(entries) without the last: [n,2,8]; `h` are the homogeneous points over their depth."""
    none = np.zeros_like(h)
    first = np.concatenate([h, none, -there[:, :1] * h], 1)
    second = np.concatenate([none, h, -there[:, 1:] * h], 1)
    return np.stack([first, second], 1)[:, :, :8]

"""Rotations and rigid motions, in arrays with any leading axes; all float64.

Motions are 4 x 4 matrices. Their logarithms are (translation, rotation vector) [...,6]; updates are applied from the
left, T <- exp(xi) T. Closed forms as in J.-L. Blanco, A tutorial on SE(3) transformation parameterizations (2010).
"""

from __future__ import annotations

import numpy as np

_SMALL = 1e-5
"""Angle in radians below which series are used."""


def hat(v: np.ndarray) -> np.ndarray:
    """Vectors [...,3] as the matrices [...,3,3] of the cross product: hat(a) @ b = a x b."""
    x, y, z = np.moveaxis(v, -1, 0)
    zero = np.zeros_like(x)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*v.shape[:-1], 3, 3)


def _factors(angle: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """sin a / a, (1 - cos a) / a^2 and (a - sin a) / a^3."""
    small = angle < _SMALL
    safe = np.where(small, 1.0, angle)
    square = angle * angle
    return (
        np.where(small, 1 - square / 6, np.sin(safe) / safe),
        np.where(small, 0.5 - square / 24, (1 - np.cos(safe)) / safe**2),
        np.where(small, 1 / 6 - square / 120, (safe - np.sin(safe)) / safe**3),
    )


def rotation(vector: np.ndarray) -> np.ndarray:
    """Rotation matrices [...,3,3] of rotation vectors [...,3] (axis times angle, radians).

    >>> rotation(np.array([0, 0, np.pi / 2])).round(6).tolist()
    [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    vector = np.asarray(vector, np.float64)
    sine, cosine, _ = _factors(np.linalg.norm(vector, axis=-1))
    cross = hat(vector)
    found: np.ndarray = np.eye(3) + sine[..., None, None] * cross + cosine[..., None, None] * (cross @ cross)
    return found


def rotation_vector(matrix: np.ndarray) -> np.ndarray:
    """The inverse of `rotation`; angles up to pi."""
    q = quaternion(matrix)
    sine = np.linalg.norm(q[..., :3], axis=-1)
    angle = 2 * np.arctan2(sine, q[..., 3])
    factor = np.where(sine < 1e-9, 2.0, angle / np.where(sine < 1e-9, 1.0, sine))
    return q[..., :3] * factor[..., None]


def quaternion(matrix: np.ndarray) -> np.ndarray:
    """Unit quaternions [...,4] as (x, y, z, w) with w >= 0 of rotation matrices [...,3,3].

    The eigenvector of the largest eigenvalue of Bar-Itzhack's matrix (2000), which is stable for every rotation.
    """
    r = np.asarray(matrix, np.float64)
    trace = r[..., 0, 0] + r[..., 1, 1] + r[..., 2, 2]
    k = np.empty((*r.shape[:-2], 4, 4))
    k[..., :3, :3] = r + np.swapaxes(r, -1, -2) - trace[..., None, None] * np.eye(3)
    k[..., 3, 0] = r[..., 2, 1] - r[..., 1, 2]
    k[..., 3, 1] = r[..., 0, 2] - r[..., 2, 0]
    k[..., 3, 2] = r[..., 1, 0] - r[..., 0, 1]
    k[..., :3, 3] = k[..., 3, :3]
    k[..., 3, 3] = trace
    q = np.linalg.eigh(k)[1][..., -1]
    return q * np.where(q[..., 3:] < 0, -1.0, 1.0)


def of_quaternion(q: np.ndarray) -> np.ndarray:
    """Rotation matrices [...,3,3] of quaternions (x, y, z, w) [...,4] of any length but 0."""
    q = np.asarray(q, np.float64)
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    cross = hat(q[..., :3])
    found: np.ndarray = np.eye(3) + 2 * q[..., 3, None, None] * cross + 2 * (cross @ cross)
    return found


def motion(xi: np.ndarray) -> np.ndarray:
    """Motions [...,4,4] of their logarithms [...,6]."""
    xi = np.asarray(xi, np.float64)
    vector = xi[..., 3:]
    _, cosine, rest = _factors(np.linalg.norm(vector, axis=-1))
    cross = hat(vector)
    left = np.eye(3) + cosine[..., None, None] * cross + rest[..., None, None] * (cross @ cross)
    return of_parts(rotation(vector), (left @ xi[..., :3, None])[..., 0])


def logarithm(matrix: np.ndarray) -> np.ndarray:
    """The inverse of `motion` [...,6]."""
    vector = rotation_vector(matrix[..., :3, :3])
    angle = np.linalg.norm(vector, axis=-1)
    sine, cosine, _ = _factors(angle)
    small = angle < _SMALL
    safe = np.where(small, 1.0, angle)
    factor = np.where(small, 1 / 12, (1 - sine / (2 * cosine)) / safe**2)
    cross = hat(vector)
    back = np.eye(3) - 0.5 * cross + factor[..., None, None] * (cross @ cross)
    return np.concatenate([(back @ matrix[..., :3, 3, None])[..., 0], vector], -1)


def of_parts(turn: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """[...,4,4] of rotations [...,3,3] and translations [...,3]."""
    whole = np.zeros((*turn.shape[:-2], 4, 4))
    whole[..., :3, :3], whole[..., :3, 3], whole[..., 3, 3] = turn, shift, 1
    return whole


def inverse(matrix: np.ndarray) -> np.ndarray:
    """The inverses of motions [...,4,4]."""
    turn = np.swapaxes(matrix[..., :3, :3], -1, -2)
    return of_parts(turn, -(turn @ matrix[..., :3, 3, None])[..., 0])


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [...,3] moved by [...,4,4]."""
    found: np.ndarray = (matrix[..., :3, :3] @ points[..., None])[..., 0] + matrix[..., :3, 3]
    return found


def nearest_rotation(matrix: np.ndarray) -> np.ndarray:
    """The rotation nearest to a matrix [3,3] (Frobenius norm)."""
    u, _, v = np.linalg.svd(matrix)
    found: np.ndarray = u @ np.diag([1.0, 1.0, np.linalg.det(u @ v)]) @ v
    return found

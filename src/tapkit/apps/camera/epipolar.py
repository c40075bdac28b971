"""Two views: rotation, essential and fundamental matrices from points that partly move or are wrong.

Points are directions (x, y, 1) of two cameras; the matrices satisfy second^T M first = 0. Thresholds and distances are
in pixels, by the focal length. Sources: D. Nister, An efficient solution to the five-point relative pose problem
(2004), in the form of H. Stewenius, C. Engels, D. Nister, Recent developments on direct relative orientation (2006);
Hartley and Zisserman, Multiple view geometry, sections 9.6 (four poses), 11.1.2 (seven points) and 11.4.3 (Sampson
distance).
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np

from tapkit.apps.camera.rigid import hat, nearest_rotation, rotation

ROUNDS = ((40, 0.65), (120, 1.1))
"""Samples drawn in each round, and the share of inliers that ends the search."""
JUDGES, BEST = 80, 12
"""Points by which all models are judged first, and how many of them are then judged by all points."""

_CUBICS = [
    (3, 0, 0), (2, 1, 0), (1, 2, 0), (0, 3, 0), (2, 0, 1), (1, 1, 1), (0, 2, 1), (1, 0, 2), (0, 1, 2), (0, 0, 3),
    (2, 0, 0), (1, 1, 0), (0, 2, 0), (1, 0, 1), (0, 1, 1), (0, 0, 2), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0),
]  # fmt: skip
"""Powers of x, y, z: ten of degree three, which are eliminated, then the basis of the quotient ring."""


def _gather() -> np.ndarray:
    """[64,20]: which monomial the product of three of (x, y, z, 1) is."""
    table = np.zeros((64, 20))
    for row, parts in enumerate(product(range(4), repeat=3)):
        table[row, _CUBICS.index(tuple(parts.count(v) for v in range(3)))] = 1  # type: ignore[arg-type]
    return table


_GATHER = _gather()


def essentials(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Essential matrices [K,3,3] of samples of five points [S,5,3] each; up to ten for a sample, real ones only."""
    constraints = (second[..., :, None] * first[..., None, :]).reshape(len(first), 5, 9)
    basis = np.linalg.svd(constraints)[2][:, 5:].reshape(-1, 4, 3, 3)
    e = np.moveaxis(basis, 1, -1)  # [S,3,3,4]: each entry is linear in x, y, z, 1
    square = np.einsum("sabi,scbj->sacij", e, e)  # E E^T
    cubes = np.einsum("sacij,scdk->sadijk", square, e)  # E E^T E
    trace = np.einsum("saaij,scdk->scdijk", square, e)
    system = (2 * cubes - trace).reshape(-1, 9, 64)
    minors = np.einsum("abc,sai,sbj,sck->sijk", _LEVI_CIVITA, e[:, 0], e[:, 1], e[:, 2])
    system = np.concatenate([system, minors.reshape(-1, 1, 64)], 1) @ _GATHER
    usable = np.linalg.cond(system[:, :, :10]) < 1e12
    system, basis = system[usable], basis[usable]
    reduced = -np.linalg.solve(system[:, :, :10], system[:, :, 10:])
    action = np.zeros((len(reduced), 10, 10))
    action[:, :6] = reduced[:, [0, 1, 2, 4, 5, 7]]  # x times x^2, xy, y^2, xz, yz, z^2
    action[:, [6, 7, 8, 9], [0, 1, 3, 6]] = 1  # x times x, y, z, 1
    values, vectors = np.linalg.eig(action)
    real = (np.abs(values.imag) < 1e-9) & (np.abs(vectors[:, 9]) > 1e-12)
    sample, column = np.nonzero(real)
    solution = vectors[sample, :, column].real
    weights = solution[:, 6:10] / solution[:, 9:]
    found: np.ndarray = np.einsum("ki,kiab->kab", weights, basis[sample])
    found /= np.linalg.norm(found, axis=(1, 2), keepdims=True)
    return found


_LEVI_CIVITA = np.zeros((3, 3, 3))
for _a, _b, _c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
    _LEVI_CIVITA[_a, _b, _c], _LEVI_CIVITA[_a, _c, _b] = 1, -1


def fundamentals(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Fundamental matrices [K,3,3] of samples of seven points [S,7,3] each, up to three for a sample."""
    constraints = (second[..., :, None] * first[..., None, :]).reshape(len(first), 7, 9)
    basis = np.linalg.svd(constraints)[2][:, 7:].reshape(-1, 2, 3, 3)
    at = np.array([-1.0, 0.0, 1.0, 2.0])
    values = np.linalg.det(basis[:, None, 0] + at[None, :, None, None] * basis[:, None, 1])
    cubic = values @ np.linalg.inv(np.vander(at, 4)).T  # highest power first
    usable = np.abs(cubic[:, 0]) > 1e-12
    cubic, basis = cubic[usable], basis[usable]
    companion = np.zeros((len(cubic), 3, 3))
    companion[:, 0] = -cubic[:, 1:] / cubic[:, :1]
    companion[:, [1, 2], [0, 1]] = 1
    roots = np.linalg.eigvals(companion)
    sample, column = np.nonzero(np.abs(roots.imag) < 1e-9)
    mix = roots[sample, column].real[:, None, None]
    found: np.ndarray = basis[sample, 0] + mix * basis[sample, 1]
    found /= np.linalg.norm(found, axis=(1, 2), keepdims=True)
    return found


def sampson(matrices: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Square roots of the Sampson distances [...,M] of M points to the epipolar geometries [...,3,3], in the units of
    the directions."""
    flat = matrices.reshape(-1, 9)
    value = np.abs(flat @ (second[:, :, None] * first[:, None, :]).reshape(-1, 9).T)
    slope = (flat[:, :3] @ first.T) ** 2  # of the lines in the second view, then in the first
    slope += (flat[:, 3:6] @ first.T) ** 2
    slope += (flat[:, ::3] @ second.T) ** 2
    slope += (flat[:, 1::3] @ second.T) ** 2
    value /= np.sqrt(np.maximum(slope, 1e-24, out=slope), out=slope)
    found: np.ndarray = value.reshape(*matrices.shape[:-2], len(first))
    return found


class TwoView(NamedTuple):
    """What two views have in common."""

    matrix: np.ndarray
    """[3,3] essential or fundamental."""
    inlier: np.ndarray
    """[M] bool."""
    noise: float
    """Standard deviation of the inliers' distances, by their median."""


def two_view(
    first: np.ndarray,
    second: np.ndarray,
    threshold: float,
    random: np.random.Generator,
    calibrated: bool = True,
    tightest: float | None = None,
) -> TwoView | None:
    """The epipolar geometry that most points [M,3] agree with; None where there are too few.

    Random samples scored by the truncated sum of squares (MSAC), then refined on the inliers. With `tightest` the
    threshold shrinks to three times the noise of the inliers, but not below `tightest`.
    """
    needed, solve = (5, essentials) if calibrated else (7, fundamentals)
    if len(first) < needed + 1:
        return None
    best, least = None, np.inf
    for samples, enough in ROUNDS if calibrated else tuple((2 * n, share) for n, share in ROUNDS):
        drawn = np.argsort(random.random((samples, len(first))), 1)[:, :needed]
        models = solve(first[drawn], second[drawn])
        if not len(models):
            continue
        some = random.permutation(len(first))[:JUDGES]
        rough = _msac(models, first[some], second[some], threshold)
        models = models[np.argsort(rough)[:BEST]]
        cost = _msac(models, first, second, threshold)
        place = int(cost.argmin())
        if cost[place] < least:
            best, least = models[place], float(cost[place])
        if best is not None and (sampson(best, first, second) < threshold).mean() > enough:
            break
    if best is None:
        return None
    refined = _refine_pose(best, first, second, threshold) if calibrated else _refine(best, first, second, threshold)
    if _msac(refined[None], first, second, threshold)[0] < least:
        best = refined
    distance = sampson(best, first, second)
    noise = _noise(distance, threshold)
    if tightest is not None:
        threshold = min(threshold, max(3 * noise, tightest))
        again = (_refine_pose if calibrated else _refine)(best, first, second, threshold)
        if _msac(again[None], first, second, threshold)[0] < _msac(best[None], first, second, threshold)[0]:
            best, distance = again, sampson(again, first, second)
            noise = _noise(distance, threshold)
    return TwoView(best, distance < threshold, noise)


def _noise(distance: np.ndarray, threshold: float) -> float:
    inliers = distance[distance < threshold]
    return 1.4826 * float(np.median(inliers)) if len(inliers) else 0.0


def _msac(models: np.ndarray, first: np.ndarray, second: np.ndarray, threshold: float) -> np.ndarray:
    """Truncated sums of squares [K]."""
    cost = sampson(models, first, second)
    cost /= threshold
    found: np.ndarray = (np.minimum(cost, 1.0, out=cost) ** 2).sum(1)
    return found


def _refine(matrix: np.ndarray, first: np.ndarray, second: np.ndarray, threshold: float) -> np.ndarray:
    """Eight points and more, each divided by the slope of its Sampson distance, of rank two."""
    for _ in range(3):
        inlier = sampson(matrix, first, second) < threshold
        if inlier.sum() < 9:
            return matrix
        one, other = first[inlier], second[inlier]
        slope = ((one @ matrix.T)[:, :2] ** 2).sum(1) + ((other @ matrix)[:, :2] ** 2).sum(1)
        rows = (other[:, :, None] * one[:, None, :]).reshape(-1, 9) / np.sqrt(np.maximum(slope, 1e-24))[:, None]
        u, s, v = np.linalg.svd(np.linalg.svd(rows, full_matrices=False)[2][-1].reshape(3, 3))
        matrix = u @ np.diag([s[0], s[1], 0.0]) @ v
        matrix = matrix / np.linalg.norm(matrix)
    return matrix


def _refine_pose(matrix: np.ndarray, first: np.ndarray, second: np.ndarray, threshold: float) -> np.ndarray:
    """Gauss-Newton over rotation and direction of translation, with Cauchy weights on the Sampson distance."""
    turn, shift = four_poses(matrix)[0]
    for _ in range(6):
        matrix = hat(shift) @ turn
        near = sampson(matrix, first, second)
        used = near < 2 * threshold
        if used.sum() < 6:
            break
        one, other = first[used] @ turn.T, second[used]
        lines = first[used] @ matrix.T
        back = other @ matrix
        slope = np.sqrt(np.maximum((lines[:, :2] ** 2).sum(1) + (back[:, :2] ** 2).sum(1), 1e-24))
        value = (lines * other).sum(1) / slope
        across = np.linalg.svd(shift[None])[2][1:]  # [2,3], at right angles to the translation
        j_turn = np.cross(one, np.cross(other, shift))
        j_shift = np.cross(one, other) @ across.T
        jacobian = np.concatenate([j_turn, j_shift], 1) / slope[:, None]
        weight = 1 / (1 + (near[used] / threshold) ** 2)
        normal = (jacobian * weight[:, None]).T @ jacobian + 1e-12 * np.eye(5)
        step = -np.linalg.solve(normal, (jacobian * weight[:, None]).T @ value)
        turn = rotation(step[:3]) @ turn
        shift = shift + across.T @ step[3:]
        shift = shift / np.linalg.norm(shift)
    found: np.ndarray = hat(shift) @ turn / np.sqrt(2)
    return found


def four_poses(matrix: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rotations [3,3] and unit translations [3] of the second camera that an essential matrix stands for."""
    u, _, v = np.linalg.svd(matrix)
    u, v = u * np.sign(np.linalg.det(u)), v * np.sign(np.linalg.det(v))
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    return [(u @ each @ v, sign * u[:, 2]) for each in (turn, turn.T) for sign in (1.0, -1.0)]


def relative_pose(matrix: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the four poses that with which most points lie in front of both cameras."""

    def in_front(pose: tuple[np.ndarray, np.ndarray]) -> int:
        turn, shift = pose
        turned = first @ turn.T
        # depth1 * turned + shift = depth2 * second, in the least squares sense
        across, along = np.cross(second, turned), -np.cross(second, shift)
        depth = (across * along).sum(1) / np.maximum((across**2).sum(1), 1e-24)
        return int(((depth > 0) & (depth * turned[:, 2] + shift[2] > 0)).sum())

    return max(four_poses(matrix), key=in_front)


def rotation_between(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rotation that explains most points [M,3], and how far each is then from where it is seen [M].

    Weighted Kabsch, reweighted by Geman and McClure's kernel whose width shrinks with the median. Distances are in the
    units of the directions.
    """
    one = first / np.linalg.norm(first, axis=1, keepdims=True)
    other = second / np.linalg.norm(second, axis=1, keepdims=True)
    use = weight.copy()
    turn = np.eye(3)
    for _ in range(8):
        turn = nearest_rotation((other * use[:, None]).T @ one)
        turned = first @ turn.T
        left = turned[:, :2] / np.maximum(turned[:, 2:], 1e-6) - second[:, :2]
        far = np.linalg.norm(left, axis=1)
        width = max(float(np.median(far)), 1e-6)
        use = weight / (1 + (far / (1.5 * width)) ** 2) ** 2
    return turn, far

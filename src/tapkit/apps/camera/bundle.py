"""Bundle adjustment with points anchored in the frame they were chosen on, as one inverse depth each.

A point of anchor frame i at direction X0 = (x, y, 1) with inverse depth d is at X = R X0 + d t in frame j, where
(R, t) = T_j T_i^-1 and T are world to camera; its position in the anchor frame is taken as exact, which it is for a
tracker's query. Poses are changed from the left, T <- exp(xi) T. Points are eliminated by the Schur complement, so that
what is solved has six unknowns a frame. Sources: LEAP-VO (arXiv 2401.01887) and DPVO for the parametrisation;
B. Triggs et al., Bundle adjustment - a modern synthesis (2000) for the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from tapkit.apps.camera.intrinsics import rays
from tapkit.apps.camera.rigid import hat, inverse, motion

Kernel = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Takes residuals [E,2] in pixels; returns weights [E,2] of the least squares, and costs [E]."""

NEAREST = 0.1
"""Depth in a frame, in depths in the anchor frame, below which a point is not used there."""
FARTHEST = 250.0
"""Pixels beyond which a residual is not used."""
INVERSE = (1e-4, 20.0)
"""Bounds of inverse depths, in units of the scene."""
_TOGETHER = 1 << 14
"""Edges whose products are held at once."""


def huber(width: float) -> Kernel:
    """Huber's kernel on the length of the residual."""

    def kernel(residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        far = np.linalg.norm(residual, axis=1)
        weight = width / np.maximum(far, width)
        cost = np.where(far <= width, 0.5 * far**2, width * (far - 0.5 * width))
        return np.repeat(weight[:, None], 2, 1), cost

    return kernel


def cauchy(width: float) -> Kernel:
    """Cauchy's kernel on the length of the residual."""

    def kernel(residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        square = (residual**2).sum(1) / width**2
        return np.repeat(1 / (1 + square)[:, None], 2, 1), 0.5 * width**2 * np.log1p(square)

    return kernel


def geman(width: float) -> Kernel:
    """Geman and McClure's kernel on the length of the residual: far outliers cost the same however far they are."""

    def kernel(residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        square = (residual**2).sum(1) / width**2
        return np.repeat(1 / (1 + square)[:, None] ** 2, 2, 1), 0.5 * width**2 * square / (1 + square)

    return kernel


class Edges(NamedTuple):
    """E observations, each of a point in a frame other than its anchor, no pair twice; sorted by `sorted_edges`."""

    point: np.ndarray
    """[E] index."""
    frame: np.ndarray
    """[E] index."""
    xy: np.ndarray
    """[E,2] pixels."""
    weight: np.ndarray
    """[E]."""


@dataclass(frozen=True, eq=False)
class Scene:
    """F frames and N points."""

    pose: np.ndarray
    """[F,4,4] world to camera."""
    camera: np.ndarray
    """[F,4] fx, fy, cx, cy."""
    anchor: np.ndarray
    """[N] frame index of each point."""
    xy: np.ndarray
    """[N,2] pixels in the anchor frame."""
    inverse: np.ndarray
    """[N] inverse depth in the anchor frame."""

    def world(self) -> np.ndarray:
        """Points in the world [N,3]."""
        back = inverse(self.pose)[self.anchor]
        here = rays(self.xy, self.camera[self.anchor]) / self.inverse[:, None]
        found: np.ndarray = (back[:, :3, :3] @ here[..., None])[..., 0] + back[:, :3, 3]
        return found


def sorted_edges(edges: Edges, scene: Scene) -> Edges:
    """Edges that count, in the order that `linearise` needs: by anchor, then by frame."""
    keep = (edges.weight > 0) & (edges.frame != scene.anchor[edges.point])
    point, frame = edges.point[keep], edges.frame[keep]
    order = np.argsort(scene.anchor[point] * len(scene.pose) + frame, kind="stable")
    return Edges(point[order], frame[order], edges.xy[keep][order], edges.weight[keep][order])


class Projection(NamedTuple):
    """Edges seen through the scene."""

    turn: np.ndarray
    """[E,3,3] rotation from the anchor to the frame."""
    shift: np.ndarray
    """[E,3]."""
    ray: np.ndarray
    """[E,3] X0."""
    at: np.ndarray
    """[E,3] X."""
    residual: np.ndarray
    """[E,2] observed minus projected, pixels; 0 where not usable."""
    usable: np.ndarray
    """[E] bool."""


def project(scene: Scene, edges: Edges) -> Projection:
    """Where the points of the edges are, and by how much they miss."""
    anchor = scene.anchor[edges.point]
    pair, member = np.unique(anchor * len(scene.pose) + edges.frame, return_inverse=True)
    between = scene.pose[pair % len(scene.pose)] @ inverse(scene.pose)[pair // len(scene.pose)]
    turn, shift = between[member, :3, :3], between[member, :3, 3]
    ray = rays(scene.xy, scene.camera[scene.anchor])[edges.point]
    at = (turn @ ray[..., None])[..., 0] + scene.inverse[edges.point, None] * shift
    camera = scene.camera[edges.frame]
    depth = np.maximum(at[:, 2:], NEAREST)
    residual = edges.xy - (at[:, :2] / depth * camera[:, :2] + camera[:, 2:])
    usable = (at[:, 2] > NEAREST) & ((residual**2).sum(1) < FARTHEST**2)
    return Projection(turn, shift, ray, at, np.where(usable[:, None], residual, 0.0), usable)


def misses(scene: Scene, edges: Edges) -> np.ndarray:
    """Reprojection errors [E] in pixels; infinite where an edge is not usable."""
    seen = project(scene, edges)
    return np.where(seen.usable, np.linalg.norm(seen.residual, axis=1), np.inf)


class Normal(NamedTuple):
    """Normal equations: poses (and a focal length), points, and what joins them."""

    poses: np.ndarray
    """B [6F(+1), 6F(+1)]."""
    joint: np.ndarray
    """E [6F(+1), N]."""
    points: np.ndarray
    """C [N]."""
    of_poses: np.ndarray
    """Right-hand side [6F(+1)]."""
    of_points: np.ndarray
    """Right-hand side [N]."""
    cost: float


def linearise(scene: Scene, edges: Edges, kernel: Kernel, focal: bool = False) -> Normal:
    """The normal equations at the scene; with `focal` the last unknown is the logarithm of a common focal length."""
    seen = project(scene, edges)
    weight, cost = _weighted(seen, edges, kernel)
    frames, count = len(scene.pose), len(scene.anchor)
    blocks = np.zeros((frames, frames, 6, 6))
    joint = np.zeros((frames, 6, count))
    of_poses = np.zeros((frames, 6))
    anchors = scene.anchor[edges.point]
    host_joint = np.zeros((count, 6))
    extra = _Focal(frames, count) if focal else None
    points, of_points = np.zeros(count), np.zeros(count)
    for start in range(0, len(edges.point), _TOGETHER):
        some = slice(start, start + _TOGETHER)
        point, frame, anchor = edges.point[some], edges.frame[some], anchors[some]
        part = Projection(*(array[some] for array in seen))
        camera = scene.camera[frame]
        jacobian, by_depth, turned = _jacobians(part, camera, scene.inverse[point])
        weighted = jacobian * weight[some][..., None]
        products = np.swapaxes(weighted, 1, 2) @ jacobian  # [e,12,12]
        heads = np.flatnonzero(np.diff(anchor * frames + frame, prepend=-1))
        if not len(heads):
            continue
        summed = np.add.reduceat(products, heads, axis=0)
        j, i = frame[heads], anchor[heads]
        np.add.at(blocks, (j, j), summed[:, :6, :6])
        np.add.at(blocks, (i, i), summed[:, 6:, 6:])
        np.add.at(blocks, (j, i), summed[:, :6, 6:])
        np.add.at(blocks, (i, j), summed[:, 6:, :6])
        right = np.add.reduceat((np.swapaxes(weighted, 1, 2) @ part.residual[..., None])[..., 0], heads, axis=0)
        np.add.at(of_poses, j, right[:, :6])
        np.add.at(of_poses, i, right[:, 6:])
        cross = (np.swapaxes(weighted, 1, 2) @ by_depth[..., None])[..., 0]
        joint[frame, :, point] += cross[:, :6]
        host_joint += np.stack([np.bincount(point, cross[:, 6 + c], count) for c in range(6)], 1)
        depth_weight = by_depth * weight[some]
        points += np.bincount(point, (depth_weight * by_depth).sum(1), count)
        of_points += np.bincount(point, (depth_weight * part.residual).sum(1), count)
        if extra is not None:
            extra.add(part, camera, turned, weight[some], weighted, depth_weight, (point, frame, anchor))
    joint[scene.anchor, :, np.arange(count)] += host_joint
    whole = blocks.transpose(0, 2, 1, 3).reshape(6 * frames, 6 * frames)
    normal = Normal(whole, joint.reshape(6 * frames, count), points, of_poses.ravel(), of_points, cost)
    return normal if extra is None else extra.join(normal)


def _weighted(seen: Projection, edges: Edges, kernel: Kernel) -> tuple[np.ndarray, float]:
    """Weights [E,2] and the cost; an edge that is not usable costs what the farthest residual costs."""
    robust, cost = kernel(seen.residual)
    most = float(kernel(np.array([[FARTHEST, 0.0]]))[1][0])
    use = edges.weight * seen.usable
    return robust * use[:, None], float((edges.weight * np.where(seen.usable, cost, most)).sum())


def _jacobians(seen: Projection, camera: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the projection: by the poses of frame and anchor [E,2,12], by the inverse depth [E,2], by X0 [E,2,3]."""
    z = np.maximum(seen.at[:, 2], NEAREST)
    flat = np.zeros((len(z), 2, 3))
    flat[:, 0, 0], flat[:, 1, 1] = camera[:, 0] / z, camera[:, 1] / z
    flat[:, :, 2] = -camera[:, :2] * seen.at[:, :2] / z[:, None] ** 2
    turned = flat @ seen.turn
    whole = np.concatenate(
        [
            depth[:, None, None] * flat,
            -flat @ hat(seen.at),
            -depth[:, None, None] * turned,
            turned @ hat(seen.ray),
        ],
        2,
    )
    return whole, (flat @ seen.shift[..., None])[..., 0], turned


class _Focal:
    """The row of a common focal length, by its logarithm: it scales the projection and, inversely, X0."""

    def __init__(self, frames: int, count: int) -> None:
        self.by_pose, self.by_point = np.zeros((frames, 6)), np.zeros(count)
        self.alone = self.right = 0.0

    def add(
        self,
        seen: Projection,
        camera: np.ndarray,
        turned: np.ndarray,
        weight: np.ndarray,
        weighted: np.ndarray,
        depth_weight: np.ndarray,
        index: tuple[np.ndarray, np.ndarray, np.ndarray],
    ) -> None:
        point, frame, anchor = index
        z = np.maximum(seen.at[:, 2:], NEAREST)
        flat = np.concatenate([seen.ray[:, :2], np.zeros((len(z), 1))], 1)
        slope = camera[:, :2] * seen.at[:, :2] / z - (turned @ flat[..., None])[..., 0]
        cross = (np.swapaxes(weighted, 1, 2) @ slope[..., None])[..., 0]
        np.add.at(self.by_pose, frame, cross[:, :6])
        np.add.at(self.by_pose, anchor, cross[:, 6:])
        self.by_point += np.bincount(point, (depth_weight * slope).sum(1), len(self.by_point))
        self.alone += float((weight * slope**2).sum())
        self.right += float((weight * slope * seen.residual).sum())

    def join(self, normal: Normal) -> Normal:
        row = self.by_pose.reshape(1, -1)
        poses = np.block([[normal.poses, row.T], [row, np.full((1, 1), self.alone)]])
        return normal._replace(
            poses=poses,
            joint=np.concatenate([normal.joint, self.by_point[None]]),
            of_poses=np.append(normal.of_poses, self.right),
        )


def step(normal: Normal, free: np.ndarray, pose_damping: np.ndarray, point_damping: np.ndarray) -> tuple:  # type: ignore[type-arg]
    """Solve for the free unknowns of poses [6F(+1)] bool; returns their step (0 where fixed), and that of points [N].

    Dampings are added to the diagonals. Points that no edge sees stay. Raises `np.linalg.LinAlgError`.
    """
    known = normal.points > 0
    relief = np.where(known, 1 / np.where(known, normal.points + point_damping, 1.0), 0.0)
    rows = np.flatnonzero(free)
    joint = normal.joint[rows]
    reduced = normal.poses[np.ix_(rows, rows)] - (joint * relief) @ joint.T
    reduced[np.diag_indices(len(rows))] += pose_damping[rows]
    right = normal.of_poses[rows] - joint @ (relief * normal.of_points)
    moved = np.linalg.solve(reduced, right)
    whole = np.zeros(len(normal.of_poses))
    whole[rows] = moved
    return whole, relief * (normal.of_points - joint.T @ moved)


def moved(scene: Scene, by_pose: np.ndarray, by_point: np.ndarray, bounds: tuple[float, float] = INVERSE) -> Scene:
    """The scene after a step; a last entry of `by_pose` beyond six a frame is that of the focal length."""
    frames = len(scene.pose)
    pose = motion(by_pose[: 6 * frames].reshape(frames, 6)) @ scene.pose
    camera = scene.camera
    if len(by_pose) > 6 * frames:
        camera = camera * np.array([1, 1, 0, 0]) * np.exp(np.clip(by_pose[-1], -0.2, 0.2)) + camera * [0, 0, 1, 1]
    return replace(scene, pose=pose, camera=camera, inverse=np.clip(scene.inverse + by_point, *bounds))


class Adjusted(NamedTuple):
    """What an adjustment came to."""

    scene: Scene
    cost: float


def adjust(
    scene: Scene,
    edges: Edges,
    free: np.ndarray,
    kernel: Kernel,
    iterations: int = 10,
    *,
    focal: bool = False,
    rotations: bool = False,
    enough: float = 1e-4,
) -> Adjusted:
    """Levenberg and Marquardt: a step is taken where it lowers the robust cost, else the damping grows tenfold.

    Args:
        scene: where to begin.
        edges: sorted by `sorted_edges`.
        free: [F] frames whose poses may change; the others hold place and, if there are two, scale.
        kernel: the robust kernel.
        iterations: steps taken at most.
        focal: refine one factor of all focal lengths, too.
        rotations: all points are infinitely far (`scene.inverse` is 0): only rotations change.
        enough: relative decrease of the cost that ends it.
    """
    unknown = np.repeat(free, 6)
    if rotations:
        unknown = unknown & np.tile([False] * 3 + [True] * 3, len(free))
    unknown = np.append(unknown, focal) if focal else unknown
    damping, cost = 1e-3, np.inf
    for _ in range(iterations):
        normal = linearise(scene, edges, kernel, focal)
        cost = normal.cost
        before = cost
        diagonal = np.maximum(normal.poses.diagonal(), 1e-6)
        for _ in range(6):
            try:
                by_pose, by_point = step(normal, unknown, damping * diagonal, damping * normal.points + 1e-4)
            except np.linalg.LinAlgError:
                damping *= 10
                continue
            if rotations:
                by_point = np.zeros_like(by_point)
            tried = moved(scene, by_pose, by_point, (0.0, 0.0) if rotations else INVERSE)
            now = _weighted(project(tried, edges), edges, kernel)[1]
            if now < cost:
                scene, cost = tried, now
                damping = max(damping / 10, 1e-9)
                break
            damping *= 10
        if before - cost <= enough * before:
            break
    return Adjusted(scene, cost)

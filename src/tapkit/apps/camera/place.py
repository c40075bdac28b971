"""Poses of frames from points whose places are known, and places of points from frames whose poses are known."""

from __future__ import annotations

import numpy as np

from tapkit.apps.camera.bundle import NEAREST, Edges, Scene
from tapkit.apps.camera.intrinsics import rays
from tapkit.apps.camera.rigid import hat, inverse, motion

Stages = tuple[tuple[float, int], ...]
"""Widths of Geman and McClure's kernel in pixels, and steps with each."""
WIDE: Stages = ((40.0, 4), (12.0, 5), (4.0, 8))
"""A bad guess is no obstacle, but what moves must be little."""
NARROW: Stages = ((8.0, 5), (2.5, 8))
"""From a good guess, whatever else moves."""


def locate(
    guess: np.ndarray,
    camera: np.ndarray,
    points: np.ndarray,
    xy: np.ndarray,
    weight: np.ndarray,
    frame: np.ndarray,
    stages: Stages = WIDE,
) -> tuple[np.ndarray, np.ndarray]:
    """Poses of F frames from E observations of points that are known: each pose for itself, all at once.

    Args:
        guess: [F,4,4] world to camera, to begin with.
        camera: [F,4].
        points: [E,3] in the world.
        xy: [E,2] pixels.
        weight: [E].
        frame: [E], ascending.
        stages: kernels.

    Returns poses [F,4,4] and the errors of the edges [E] in pixels, infinite behind the camera.
    """
    pose, count = guess.copy(), len(guess)
    heads = np.flatnonzero(np.diff(frame, prepend=-1))
    which = frame[heads]
    # Translations in usual distances, so that one damping suits all scenes; some points may be next to infinitely far.
    scale = float(np.median(np.linalg.norm(_seen(pose, camera, points, xy, frame)[0], axis=1))) if len(points) else 1.0
    damping = np.full(count, 1e-4)
    for width, steps in stages:
        cost = _cost(pose, camera, points, xy, weight, frame, width)
        for _ in range(steps):
            at, error = _seen(pose, camera, points, xy, frame)
            use = weight / (1 + (error**2).sum(1) / width**2) ** 2 * (at[:, 2] > NEAREST * scale * 0.1)
            z = np.maximum(at[:, 2], 1e-6 * scale)
            flat = np.zeros((len(z), 2, 3))
            flat[:, 0, 0], flat[:, 1, 1] = camera[frame, 0] / z, camera[frame, 1] / z
            flat[:, :, 2] = -camera[frame, :2] * at[:, :2] / z[:, None] ** 2
            jacobian = np.concatenate([flat * scale, -flat @ hat(at)], 2)
            weighted = np.swapaxes(jacobian * use[:, None, None], 1, 2)
            normal = np.tile(1e-9 * np.eye(6), (count, 1, 1))
            right = np.zeros((count, 6))
            if len(heads):
                normal[which] += np.add.reduceat(weighted @ jacobian, heads, axis=0)
                right[which] = np.add.reduceat((weighted @ error[..., None])[..., 0], heads, axis=0)
            diagonal = np.einsum("fii->fi", normal)
            diagonal *= 1 + damping[:, None]
            diagonal += 1e-6
            change = np.linalg.solve(normal, right[..., None])[..., 0]
            change[:, :3] *= scale
            tried = motion(np.clip(change, -1e3, 1e3)) @ pose
            now = _cost(tried, camera, points, xy, weight, frame, width)
            better = now < cost
            pose = np.where(better[:, None, None], tried, pose)
            gained = np.where(better, cost - now, 0.0)
            cost = np.where(better, now, cost)
            damping = np.where(better, np.maximum(damping / 10, 1e-7), damping * 10)
            if (gained <= 1e-5 * cost + 1e-12).all() and better.any():
                break
    at, error = _seen(pose, camera, points, xy, frame)
    return pose, np.where(at[:, 2] > 0, np.linalg.norm(error, axis=1), np.inf)


def _seen(
    pose: np.ndarray, camera: np.ndarray, points: np.ndarray, xy: np.ndarray, frame: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    at = (pose[frame, :3, :3] @ points[..., None])[..., 0] + pose[frame, :3, 3]
    z = np.where(np.abs(at[:, 2:]) < 1e-9, 1e-9, at[:, 2:])
    return at, xy - (at[:, :2] / z * camera[frame, :2] + camera[frame, 2:])


def _cost(
    pose: np.ndarray,
    camera: np.ndarray,
    points: np.ndarray,
    xy: np.ndarray,
    weight: np.ndarray,
    frame: np.ndarray,
    width: float,
) -> np.ndarray:
    at, error = _seen(pose, camera, points, xy, frame)
    square = np.where(at[:, 2] > 0, (error**2).sum(1), 1e6)
    return np.bincount(frame, weight * square / (width**2 + square), len(pose))


def triangulate(scene: Scene, edges: Edges) -> tuple[np.ndarray, np.ndarray]:
    """Inverse depths [N] of anchored points by least squares over their edges, and the parallax angle [N] in radians
    that they rest on (the largest between anchor and frame); 0 where a point has no edge."""
    count, anchor = len(scene.anchor), scene.anchor[edges.point]
    between = scene.pose[edges.frame] @ inverse(scene.pose)[anchor]
    ray = rays(scene.xy, scene.camera[scene.anchor])[edges.point]
    turned = (between[:, :3, :3] @ ray[..., None])[..., 0]
    shift = between[:, :3, 3]
    seen = rays(edges.xy, scene.camera[edges.frame])
    # seen x (turned + d shift) = 0, of which the first two rows are used.
    slope = seen[:, :2] * shift[:, 2:] - shift[:, :2]
    right = turned[:, :2] - seen[:, :2] * turned[:, 2:]
    use, inverse_depth = edges.weight.copy(), np.zeros(count)
    for _ in range(3):
        above = np.bincount(edges.point, use * (slope * right).sum(1), count)
        below = np.bincount(edges.point, use * (slope**2).sum(1), count)
        inverse_depth = above / np.maximum(below, 1e-18)
        left = np.linalg.norm(slope * inverse_depth[edges.point, None] - right, axis=1) * scene.camera[edges.frame, 0]
        use = edges.weight / (1 + (left / 2.0) ** 2)
    return inverse_depth, parallax_angles(scene, edges, inverse_depth)


def parallax_angles(scene: Scene, edges: Edges, inverse_depth: np.ndarray) -> np.ndarray:
    """The largest angle [N] in radians at each point between its anchor's centre and that of a frame that sees it."""
    anchor = scene.anchor[edges.point]
    between = scene.pose[edges.frame] @ inverse(scene.pose)[anchor]
    centre = -(np.swapaxes(between[:, :3, :3], 1, 2) @ between[:, :3, 3, None])[..., 0]
    depth = 1 / np.maximum(inverse_depth[edges.point], 1e-6)
    point = rays(scene.xy, scene.camera[scene.anchor])[edges.point] * depth[:, None]
    other = point - centre
    cosine = (point * other).sum(1) / (np.linalg.norm(point, axis=1) * np.linalg.norm(other, axis=1) + 1e-18)
    largest = np.zeros(len(scene.anchor))
    np.maximum.at(largest, edges.point, np.arccos(np.clip(cosine, -1, 1)))
    return largest

"""The first window: several ways to begin it, of which the one with the least robust cost is kept."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tapkit.apps.camera.bundle import Edges, Scene, adjust, cauchy, geman, huber, sorted_edges
from tapkit.apps.camera.epipolar import relative_pose, two_view
from tapkit.apps.camera.intrinsics import rays
from tapkit.apps.camera.observations import FEWEST, Observations
from tapkit.apps.camera.options import CameraOptions
from tapkit.apps.camera.place import locate, triangulate
from tapkit.apps.camera.rigid import of_parts
from tapkit.apps.camera.votes import common, parallax

LENGTHS = (8, 12, 15)
"""Keyframes that a first window may have."""
PARALLAX = 0.03
"""Median parallax of a window, in focal lengths, that is plenty."""
LEAST_PARALLAX = 0.006
"""That below which a clip is taken for one of rotation alone."""
MOST_POINTS = 300


class Window(NamedTuple):
    """Where to begin."""

    frames: np.ndarray
    """[F] frame numbers, ascending."""
    stride: int
    """Frames from one keyframe to the next."""
    parallax: float
    """Between the window's ends, in focal lengths."""


def choose_window(
    observations: Observations, camera: np.ndarray, start: int, stop: int, least_stride: int = 1
) -> Window | None:
    """The first window with plenty of parallax, with the closest keyframes for which there is one; else that with most;
    None if the clip is too short, or none has any."""
    best: Window | None = None
    stride = least_stride
    while stride == least_stride or (stop - 1 - start) // stride >= min(LENGTHS) - 1:
        keyframes = np.arange(start, stop, stride)
        if len(keyframes) < 2:
            return None
        for first in range(0, max(len(keyframes) - min(LENGTHS), 0) + 1, 3):
            for length in LENGTHS:
                frames = keyframes[first : first + length]
                if len(frames) < length and length > LENGTHS[0]:
                    continue
                found = parallax(observations, camera, int(frames[0]), int(frames[-1])) / float(camera[:, :2].mean())
                if found >= PARALLAX:
                    return Window(frames, stride, found)
                if best is None or found > best.parallax:
                    best = Window(frames, stride, found)
        stride *= 2
    return best if best is not None and best.parallax >= LEAST_PARALLAX else None


def widest(observations: Observations, camera: np.ndarray, keyframes: np.ndarray) -> float:
    """The largest parallax, in focal lengths, from the first and the middle keyframe to later
    ones."""
    found = 0.0
    for first in {0, len(keyframes) // 2}:
        for span in (1 / 4, 1 / 2, 1):
            last = min(first + max(round(span * (len(keyframes) - 1)), 1), len(keyframes) - 1)
            found = max(found, parallax(observations, camera, int(keyframes[first]), int(keyframes[last])))
    return found / float(camera[:, :2].mean())


def scene_of(
    observations: Observations, frames: np.ndarray, rows: np.ndarray, pose: np.ndarray, camera: np.ndarray
) -> tuple[Scene, Edges]:
    """Points `rows` on `frames`, each anchored in that frame, of those that see it, which is nearest to its host.

    `pose` and `camera` are those of `frames`; inverse depths are 1.
    """
    seen = observations.weight[np.ix_(rows, frames)] > 0
    away = np.abs(frames[None] - observations.host[rows, None]).astype(np.float64)
    anchor = np.where(seen, away, np.inf).argmin(1)
    xy = observations.xy[rows[:, None], frames[None]]
    scene = Scene(pose, camera, anchor, xy[np.arange(len(rows)), anchor], np.ones(len(rows)))
    point, frame = np.nonzero(seen)
    weight = observations.weight[np.ix_(rows, frames)][point, frame]
    return scene, sorted_edges(Edges(point, frame, xy[point, frame], weight), scene)


class Begun(NamedTuple):
    """A first window that was adjusted."""

    rows: np.ndarray
    """Points that were used."""
    scene: Scene
    cost: float
    """For each observation, in squared widths of the kernel."""


def begin(
    observations: Observations, camera: np.ndarray, frames: np.ndarray, options: CameraOptions, width: float
) -> Begun | None:
    """The best of `options.starts` beginnings, by what they explain to within about `width` pixels; None where too few
    points are seen."""
    seen = (observations.weight[:, frames] > 0).sum(1)
    rows = np.flatnonzero(seen >= 3)
    rows = np.sort(rows[np.argsort(-seen[rows], kind="stable")[:MOST_POINTS]])
    if len(rows) < FEWEST:
        return None
    random = np.random.default_rng(options.seed)
    still = np.tile(np.eye(4), (len(frames), 1, 1))
    scene, edges = scene_of(observations, frames, rows, still, camera[frames])
    scenes = _from_two_views(observations, scene, edges, frames, rows, options, random)[: max(options.starts - 1, 1)]
    views = len(scenes)
    depths = [np.full(len(rows), 1.0)] + [random.uniform(0.1, 1, len(rows)) for _ in range(options.starts)]
    for depth in depths[: max(options.starts - views, 1 if not views else 0)]:
        scenes.append(_with(scene, still, depth))
    free = np.arange(len(frames)) > 0
    # From wide to narrow, for each start: a wide kernel alone may favour a motion between those of two bodies.
    tried = [adjust(each, edges, free, huber(1.0), 12, enough=1e-3) for each in scenes[views:]]
    tried = [
        adjust(each, edges, free, cauchy(2.0), 12, enough=1e-3) for each in [*scenes[:views], *(t.scene for t in tried)]
    ]
    tried = [adjust(each.scene, edges, free, cauchy(width), 12, enough=1e-3) for each in tried]
    # Compared by a kernel that counts rather than weighs what disagrees.
    tried = [adjust(each.scene, edges, free, geman(width), 8, enough=1e-3) for each in tried]
    best = min(tried, key=lambda each: each.cost)
    return Begun(rows, normalised(best.scene), best.cost / max(float(edges.weight.sum()), 1e-9) / width**2)


def normalised(scene: Scene) -> Scene:
    """The same with a median inverse depth of 1."""
    scale = float(np.median(scene.inverse))
    pose = scene.pose.copy()
    pose[:, :3, 3] *= scale
    return _with(scene, pose, scene.inverse / scale)


def _with(scene: Scene, pose: np.ndarray, depth: np.ndarray) -> Scene:
    return Scene(pose, scene.camera, scene.anchor, scene.xy, depth)


def _from_two_views(
    observations: Observations,
    scene: Scene,
    edges: Edges,
    frames: np.ndarray,
    rows: np.ndarray,
    options: CameraOptions,
    random: np.random.Generator,
) -> list[Scene]:
    """Scenes begun from the first frame and the last, and from the first and the middle one."""
    found = []
    for other in (len(frames) - 1, len(frames) // 2):
        if other == 0:
            continue
        both = common(observations, int(frames[0]), int(frames[other]))
        both = both[np.isin(both, rows)]
        one = rays(observations.xy[both, frames[0]], scene.camera[0])
        two = rays(observations.xy[both, frames[other]], scene.camera[other])
        views = two_view(one, two, options.epipolar_error / float(scene.camera[0, :2].mean()), random)
        if views is None or views.inlier.sum() < FEWEST:
            continue
        turn, shift = relative_pose(views.matrix, one[views.inlier], two[views.inlier])
        pose = scene.pose.copy()
        pose[other] = of_parts(turn, shift)
        pair = _with(scene, pose, scene.inverse)
        found.append(_filled(pair, observations, frames, rows, both[views.inlier], (0, other)))
    return found


def _filled(
    scene: Scene,
    observations: Observations,
    frames: np.ndarray,
    rows: np.ndarray,
    inliers: np.ndarray,
    pair: tuple[int, int],
) -> Scene:
    """The scene with all poses and depths, from two poses and the points that agree with them."""
    first, second = pair
    known = np.flatnonzero(np.isin(rows, inliers))
    two = Scene(scene.pose, scene.camera, np.full(len(known), first), observations.xy[rows[known], frames[first]],
                np.ones(len(known)))  # fmt: skip
    seen = Edges(np.arange(len(known)), np.full(len(known), second), observations.xy[rows[known], frames[second]],
                 np.ones(len(known)))  # fmt: skip
    depth, _ = triangulate(two, seen)
    usual = float(np.median(depth[depth > 0])) if (depth > 0).any() else 1.0
    world = _with(two, two.pose, np.clip(depth, 0.05 * usual, 20 * usual)).world()
    point, frame = np.nonzero(observations.weight[np.ix_(rows[known], frames)] > 0)
    order = np.argsort(frame, kind="stable")
    point, frame = point[order], frame[order]
    pose, _ = locate(
        _between(scene.pose, first, second), scene.camera, world[point],
        observations.xy[rows[known[point]], frames[frame]], np.ones(len(point)), frame,
    )  # fmt: skip
    pose[[first, second]] = scene.pose[[first, second]]
    _, edges = scene_of(observations, frames, rows, pose, scene.camera)
    whole = _with(scene, pose, scene.inverse)
    depth, _ = triangulate(whole, edges)
    usual = float(np.median(depth[depth > 0])) if (depth > 0).any() else 1.0
    return normalised(_with(whole, pose, np.clip(depth, 0.05 * usual, 20 * usual)))


def _between(pose: np.ndarray, first: int, second: int) -> np.ndarray:
    """Guesses for all frames from the poses of two: the nearer one."""
    middle = (first + second) / 2
    return np.stack([pose[first if t <= middle else second] for t in range(len(pose))])

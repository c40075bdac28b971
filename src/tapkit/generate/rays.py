"""Rays against all triangles of a frame (Embree), which is what visibility, flow and the choice of points rest on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tapkit.errors import require
from tapkit.generate.take import Camera

TOLERANCE = 2e-4
"""A point is seen if its ray meets nothing that is nearer by more than this share of its depth. Rays and vertices are
float32: they meet their own surface within some 1e-6; nothing that is rendered as a body is as thin as this."""


class Hits(NamedTuple):
    """Where R rays first meet a surface."""

    triangle: np.ndarray
    """[R] int64, -1 where there is nothing."""
    corners: np.ndarray
    """[R,3] float64, weights of the triangle's corners (barycentric)."""
    depth: np.ndarray
    """[R] float64 along the camera's axis; inf where there is nothing."""


class Surface:
    """All triangles of a frame, and the camera that looks at them."""

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray, camera: Camera) -> None:
        """`vertices` [V,3], `triangles` [F,3] numbers of vertices. Raises `MissingExtra` without Embree."""
        scene = require("embreex.rtcore_scene", "generate")
        mesh = require("embreex.mesh_construction", "generate")
        self.camera, self.vertices, self.triangles = camera, vertices, triangles
        self._scene = scene.EmbreeScene()
        if len(triangles):
            self._mesh = mesh.TriangleMesh(
                self._scene, np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(triangles, np.int32)
            )

    def cast(self, xy: np.ndarray) -> Hits:
        """What the camera sees at pixels `xy` [R,2], corner origin."""
        return self._cast(self.camera.rays(xy))

    def _cast(self, directions: np.ndarray) -> Hits:
        """Rays of depth 1 [R,3] from where rendering begins."""
        near, far = self.camera.clip
        if not len(self.triangles) or not len(directions):
            nothing = np.full(len(directions), -1)
            return Hits(nothing, np.zeros((len(directions), 3)), np.full(len(directions), np.inf))
        start = self.camera.centre + near * directions
        found = self._scene.run(start.astype(np.float32), directions.astype(np.float32), output=True)
        depth = near + found["tfar"].astype(np.float64)
        missed = (found["primID"] < 0) | (depth > far)
        second, third = found["u"].astype(np.float64), found["v"].astype(np.float64)
        return Hits(
            np.where(missed, -1, found["primID"]).astype(np.int64),
            np.stack([1 - second - third, second, third], -1),
            np.where(missed, np.inf, depth),
        )

    def sees(self, points: np.ndarray) -> np.ndarray:
        """Whether nothing stands between the camera and `points` [R,3], bool [R]; behind the camera: no."""
        depth = self.camera.project(points)[1]
        near, far = self.camera.clip
        result: np.ndarray = (depth > near) & (depth < far)
        front = depth[result]
        directions = (points[result].astype(np.float64) - self.camera.centre) / front[:, None]
        result[result] = self._cast(directions).depth >= front * (1 - TOLERANCE)
        return result

    def sees_sky(self, directions: np.ndarray) -> np.ndarray:
        """Whether nothing at all stands in directions of the world [R,3], bool [R]; behind the camera: no."""
        forward = directions @ self.camera.extrinsics[2, :3]
        result: np.ndarray = forward > 0
        rays = directions[result] / forward[result, None]
        result[result] = self._cast(rays).triangle < 0
        return result


def carry(vertices: np.ndarray, triangles: np.ndarray, triangle: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Where points on triangles are: `triangle` [R], `corners` [R,3] -> [R,3] float64."""
    points: np.ndarray = np.einsum("rc,rcd->rd", corners, vertices[triangles[triangle]].astype(np.float64))
    return points


def centres(size: tuple[int, int]) -> np.ndarray:
    """The centres of all pixels, row by row [H*W,2], corner origin."""
    height, width = size
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return np.stack([x.ravel(), y.ravel()], -1)

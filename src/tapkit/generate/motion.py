"""Tracks and optical flow from the evaluated triangles: projected, never snapped to a pixel.

Visibility is by rays against the same triangles. The rule that PointOdyssey was published with, by the depths of the
pixels around, is there for comparison (specs/pointodyssey.md section 6.6).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tapkit import coords
from tapkit.generate.points import SurfacePoints
from tapkit.generate.rays import Surface, carry, centres
from tapkit.generate.take import Passes, Take

FAR = 1000.0
"""Depth beyond which a position is not valid, as in PointOdyssey."""


class FrameTracks(NamedTuple):
    """N points on one frame."""

    world: np.ndarray
    """[N,3] float64, Blender's world."""
    xy: np.ndarray
    """[N,2] float64, pixels, corner origin; anything for points behind the camera."""
    depth: np.ndarray
    """[N] float64 along the camera's axis."""
    visible: np.ndarray
    """[N] bool, in the frame and nothing before it."""
    visible_by_depth: np.ndarray
    """[N] bool, the same by the published rule."""
    valid: np.ndarray
    """[N] bool, before the camera and not too far."""


class Flow(NamedTuple):
    """Optical flow from the pixels of one frame to another."""

    flow: np.ndarray
    """[H,W,2] float32 pixels; nan where what the pixel shows is behind the camera by then."""
    occluded: np.ndarray
    """[H,W] bool: not seen in the other frame, hidden or outside."""


def track_frame(take: Take, points: SurfacePoints, surface: Surface, passes: Passes) -> FrameTracks:
    """Where the points are on the frame that `surface` and `passes` show."""
    world = carry(surface.vertices, take.triangles, points.triangle, points.corners)
    xy, depth = surface.camera.project(world)
    valid = np.isfinite(xy).all(-1) & (depth > surface.camera.clip[0]) & (depth < FAR)
    inside = valid & coords.inside(np.where(valid[:, None], xy, -1.0), take.size)
    seen = inside.copy()
    seen[inside] = surface.sees(world[inside])
    by_depth = inside.copy()
    by_depth[inside] = passes_depth_rule(xy[inside], depth[inside], passes.depth)
    return FrameTracks(world, xy, depth, seen, by_depth, valid)


def passes_depth_rule(xy: np.ndarray, depth: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """The published rule: of the 2x2 pixels floor..ceil of a position, the farthest is not nearer than 97 % of the
    point's depth, and their median is within 5 % of it. `xy` [R,2] inside, `depth` [R], `pixels` [H,W] -> bool [R]."""
    low = np.floor(xy).astype(int)
    high = np.minimum(np.ceil(xy).astype(int), np.array(pixels.shape[::-1]) - 1)
    low = np.minimum(low, high)
    block = np.stack([pixels[y, x] for y in (low[:, 1], high[:, 1]) for x in (low[:, 0], high[:, 0])], -1)
    block = np.minimum(block, FAR)  # as it is stored: what is farther, and the sky, has the largest depth
    median = np.median(block, -1)
    result: np.ndarray = (block.max(-1) >= 0.97 * depth) & (0.95 * median < depth) & (depth < 1.05 * median)
    return result


def optical_flow(take: Take, here: Surface, there: Surface) -> Flow:
    """Flow of all pixels of `here` to the frame of `there`. The sky is taken to be infinitely far."""
    pixels = centres(take.size)
    hits = here.cast(pixels)
    solid = hits.triangle >= 0
    goal, seen = np.full(pixels.shape, np.nan), np.zeros(len(pixels), bool)
    world = carry(there.vertices, take.triangles, hits.triangle[solid], hits.corners[solid])
    xy, depth = there.camera.project(world)
    goal[solid] = np.where(depth[:, None] > 0, xy, np.nan)
    seen[solid] = there.sees(world)
    directions = here.camera.rays(pixels[~solid])
    turned = directions @ there.camera.extrinsics[:3, :3].T
    with np.errstate(divide="ignore", invalid="ignore"):
        sky = turned @ there.camera.intrinsics[:2].T / turned[:, 2:]
    goal[~solid] = np.where(turned[:, 2:] > 0, sky, np.nan)
    seen[~solid] = there.sees_sky(directions)
    inside = coords.inside(np.nan_to_num(goal, nan=-1.0), take.size)
    height, width = take.size
    return Flow((goal - pixels).astype(np.float32).reshape(height, width, 2), ~(seen & inside).reshape(height, width))

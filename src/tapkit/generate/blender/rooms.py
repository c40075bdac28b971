"""Four walls with windows, a floor and a ceiling, as objects of their own."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from .shapes import Geometry, box, joined
from .surfaces import Paint, mesh_object

THICK = 0.15


def build_room(room: Any, paint: Paint) -> list[tuple[Any, str]]:
    """Objects with their roles: floor, ceiling, walls."""
    width, depth, height = room.width, room.depth, room.height
    made = []
    for name, role, level, look in (
        ("floor", "ground", -THICK / 2, room.floor),
        ("ceiling", "static", height + THICK / 2, room.ceiling),
    ):
        slab = box((width + 2 * THICK, depth + 2 * THICK, THICK), (width / 2, depth / 2, level), 4)
        made.append((mesh_object(name, slab, None), role))
        paint.dress(made[-1][0], look)
    for wall in range(4):
        thing = mesh_object(f"wall {wall}", _wall(room, wall), None)
        paint.dress(thing, room.walls[wall % len(room.walls)], room.ceiling)
        made.append((thing, "static"))
    return made


def _wall(room: Any, wall: int) -> Geometry:
    """Boxes around the windows, and a frame in each of them."""
    length = room.depth if wall in (0, 1) else room.width
    windows = [window for window in room.windows if window.wall == wall]
    holes = [(w.centre - w.width / 2, w.centre + w.width / 2, w.sill, w.sill + w.height) for w in windows]
    across = sorted({0.0, length, *(edge for hole in holes for edge in hole[:2])})
    upwards = sorted({0.0, room.height, *(edge for hole in holes for edge in hole[2:])})
    parts = []
    for left, right in pairwise(across):
        for low, high in pairwise(upwards):
            middle, level = (left + right) / 2, (low + high) / 2
            if not any(a < middle < b and c < level < d for a, b, c, d in holes):
                parts.append(box((right - left, THICK, high - low), (middle, 0, level)))
    for left, right, low, high in holes:
        middle, level = (left + right) / 2, (low + high) / 2
        bars = [((right - left, 0.05, 0.05), (middle, z)) for z in (low + 0.025, level, high - 0.025)]
        bars += [((0.05, 0.05, high - low), (x, level)) for x in (left + 0.025, middle, right - 0.025)]
        parts += [box(size, (x, 0, z)).coloured(1) for size, (x, z) in bars]
    return _placed(joined(parts), room, wall)


def _placed(geometry: Geometry, room: Any, wall: int) -> Geometry:
    """From (along, across, up) to where the wall is."""
    along, across, up = geometry.vertices.T
    offset = {0: -THICK / 2, 1: room.width + THICK / 2, 2: -THICK / 2, 3: room.depth + THICK / 2}[wall]
    x, y = (across + offset, along) if wall in (0, 1) else (along, across + offset)
    faces = (
        geometry.faces if wall in (2, 3) else [face[::-1] for face in geometry.faces]
    )  # axes swapped: turn faces round
    return geometry._replace(vertices=np.stack([x, y, up], -1), faces=faces)

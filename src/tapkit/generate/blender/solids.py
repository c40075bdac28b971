"""Props, furniture and scenery: a form and its seed as geometry."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import bpy
import numpy as np

from .shapes import (
    Geometry,
    box,
    cylinder,
    fitted,
    grid,
    joined,
    revolved,
    rough,
    superquadric,
    torus,
    tube,
)


def _superquadric(rng: np.random.Generator, _: Any) -> Geometry:
    return superquadric(rng.uniform(0.2, 1.6), rng.uniform(0.2, 1.6))


def _knot(rng: np.random.Generator, _: Any) -> Geometry:
    return torus(rng.uniform(0.12, 0.2), ((2, 3), (3, 2), (2, 5), (3, 4))[rng.integers(4)])


def _tree(rng: np.random.Generator, _: Any) -> Geometry:
    height = 1.0
    bend = rng.uniform(-0.06, 0.06, 2)
    steps = np.linspace(0, 0.6, 7)
    trunk = np.stack([bend[0] * steps**2 * 4, bend[1] * steps**2 * 4, steps], -1)
    parts = [tube(trunk, 0.05 * (1 - 0.8 * steps), 10).coloured(1)]
    if rng.random() < 0.4:  # a conifer
        for level in range(4):
            low = 0.22 + 0.19 * level
            cone = revolved([(0.26 - 0.05 * level, low), (0.15 - 0.03 * level, low + 0.14), (0.01, low + 0.3)], 18)
            parts.append(rough(cone, int(rng.integers(1 << 30)), 0.08))
    else:
        for _blob in range(rng.integers(4, 8)):
            centre = trunk[-1] + rng.normal(size=3) * (0.13, 0.13, 0.1) + (0, 0, 0.12 * height)
            crown = rough(superquadric(1, 1, 14, 18), int(rng.integers(1 << 30)), 0.3)
            parts.append(crown.scaled(rng.uniform(0.12, 0.2)).moved(tuple(centre)))
    return joined(parts)


def _legs(width: float, depth: float, height: float, thick: float, inset: float) -> list[Geometry]:
    x, y = width / 2 - inset, depth / 2 - inset
    return [box((thick, thick, height), (sx * x, sy * y, height / 2)).coloured(1) for sx in (-1, 1) for sy in (-1, 1)]


def _table(rng: np.random.Generator, _: Any) -> Geometry:
    thick = rng.uniform(0.03, 0.06)
    legs = _legs(1.4, 0.8, 0.74 - thick, rng.uniform(0.04, 0.08), 0.06)
    return joined([box((1.4, 0.8, thick), (0, 0, 0.74 - thick / 2), 2), *legs])


def _chair(rng: np.random.Generator, _: Any) -> Geometry:
    back = 0.92
    parts = [box((0.46, 0.46, 0.05), (0, -0.03, 0.405)), *_legs(0.46, 0.46, 0.38, 0.04, 0.03)]
    bars = int(rng.integers(0, 4))
    if bars == 0:
        parts.append(box((0.44, 0.03, 0.42), (0, 0.19, 0.68)))
    else:
        parts += [box((0.4, 0.025, 0.08), (0, 0.19, 0.55 + 0.33 * (n + 0.5) / bars)).coloured(1) for n in range(bars)]
        parts += [box((0.04, 0.04, back - 0.4), (x, 0.19, (back + 0.4) / 2)).coloured(1) for x in (-0.2, 0.2)]
    parts.append(box((0.46, 0.02, 0.04), (0, 0.19, back - 0.02)))
    return joined(parts)


def _shelf(rng: np.random.Generator, _: Any) -> Geometry:
    wide, deep, high = 1.0, 0.38, 1.9
    parts = [box((0.03, deep, high), (x, 0, high / 2)) for x in (-wide / 2, wide / 2)]
    parts.append(box((wide, 0.02, high), (0, deep / 2 - 0.01, high / 2)))
    boards = int(rng.integers(4, 7))
    for board in range(boards + 1):
        level = 0.02 + (high - 0.04) * board / boards
        parts.append(box((wide, deep, 0.03), (0, 0, level)))
        x = -wide / 2 + 0.05
        while board < boards and x < wide / 2 - 0.15 and rng.random() < 0.93:  # books
            thick, tall = rng.uniform(0.02, 0.07), rng.uniform(0.5, 0.9) * (high / boards - 0.05)
            parts.append(
                box((thick, 0.2, tall), (x + thick / 2, -0.04, level + 0.015 + tall / 2)).coloured(int(rng.integers(2)))
            )
            x += thick + 0.004
    return joined(parts)


def _sofa(rng: np.random.Generator, _: Any) -> Geometry:
    soft = rng.uniform(0.25, 0.5)

    def cushion(size: tuple[float, float, float], centre: tuple[float, float, float]) -> Geometry:
        return superquadric(soft, soft, 12, 24).scaled(tuple(side / 2 for side in size)).moved(centre)  # type: ignore[arg-type]

    seats = int(rng.integers(2, 4))
    wide = 1.5 / seats
    parts = [box((1.85, 0.85, 0.25), (0, 0, 0.2)), cushion((1.85, 0.26, 0.5), (0, 0.32, 0.6))]
    parts += [cushion((wide, 0.68, 0.2), (-0.75 + wide * (n + 0.5), -0.05, 0.4)).coloured(1) for n in range(seats)]
    parts += [cushion((0.2, 0.88, 0.45), (x, 0, 0.42)) for x in (-0.84, 0.84)]
    parts.append(cushion((0.4, 0.16, 0.36), (rng.uniform(-0.6, 0.6), 0.1, 0.62)).coloured(1))
    return joined(parts)


def _bed(_rng: np.random.Generator, _: Any) -> Geometry:
    mattress = superquadric(0.2, 0.3, 12, 28).scaled((0.98, 0.47, 0.13)).moved((0, 0, 0.36))
    pillow = superquadric(0.6, 0.6, 12, 20).scaled((0.17, 0.3, 0.07)).moved((-0.75, 0, 0.5)).coloured(1)
    return joined(
        [
            box((2.0, 1.0, 0.26), (0, 0, 0.13)).coloured(1),
            mattress,
            pillow,
            box((0.05, 1.0, 0.6), (-1, 0, 0.3)).coloured(1),
        ]
    )


def _lamp(rng: np.random.Generator, _: Any) -> Geometry:
    shade = revolved([(0.2, 1.3), (rng.uniform(0.1, 0.19), 1.6)], 24)
    stand = revolved([(0.16, 0), (0.16, 0.02), (0.015, 0.04), (0.015, 1.3)], 20).coloured(1)
    return joined([shade, stand])


def _picture(_rng: np.random.Generator, _: Any) -> Geometry:
    frame = [box((1.0, 1.0, 0.04), (0, 0, z)).coloured(1) for z in (-0.48, 0.48)]
    frame += [box((0.04, 1.0, 1.0), (x, 0, 0)).coloured(1) for x in (-0.48, 0.48)]
    return joined([box((0.94, 0.4, 0.94), (0, 0.2, 0)), *frame])


def _plant(rng: np.random.Generator, _: Any) -> Geometry:
    parts = [revolved([(0.13, 0), (0.18, 0.3), (0.15, 0.3)], 20).coloured(1)]
    for _leaf in range(rng.integers(9, 18)):
        angle, reach, high = rng.uniform(0, 6.28), rng.uniform(0.12, 0.3), rng.uniform(0.6, 1.2)
        t = np.linspace(0, 1, 7)
        points = np.stack(
            [math.cos(angle) * reach * t**2, math.sin(angle) * reach * t**2, 0.28 + (high - 0.28) * np.sin(t * 1.7)], -1
        )
        parts.append(tube(points, 0.035 * np.sin(math.pi * (0.08 + 0.88 * t)), 6, 0.2))
    return joined(parts)


def _ground(rng: np.random.Generator, shape: Any) -> Geometry:
    """Flat within seven metres, so that feet and wheels stand, then gently hilly; `body` 0 is flat throughout."""
    cells = 64
    plane = grid(cells, cells)
    flat = plane.vertices[:, :2]
    spread = np.sign(flat) * (2 * np.abs(flat)) ** 1.8 / 2  # finer in the middle
    x, y = (spread * shape.size).T
    far = np.clip((np.hypot(x, y) - 7) / 15, 0, 1)
    hills = np.zeros(len(x))
    for _wave in range(6 if shape.body else 0):
        kx, ky = rng.normal(size=2) / rng.uniform(4, 15)
        hills += rng.uniform(0.1, 0.6) * np.sin(kx * x + ky * y + rng.uniform(0, 6.28))
    return plane._replace(vertices=np.stack([x, y, hills * far**2 * (3 - 2 * far)], -1))


FORMS: dict[str, Callable[[np.random.Generator, Any], Geometry]] = {
    "box": lambda _rng, _shape: box(cuts=6),
    "sphere": lambda _rng, _shape: superquadric(1, 1),
    "cylinder": lambda rng, _shape: cylinder(rng.uniform(0.7, 1.0)),
    "cone": lambda _rng, _shape: cylinder(0.05),
    "torus": lambda rng, _shape: torus(rng.uniform(0.2, 0.45)),
    "superquadric": _superquadric,
    "rock": lambda rng, _shape: rough(superquadric(1, 1, 22, 30), int(rng.integers(1 << 30)), 0.45),
    "knot": _knot,
    "tree": _tree,
    "table": _table,
    "chair": _chair,
    "shelf": _shelf,
    "sofa": _sofa,
    "bed": _bed,
    "lamp": _lamp,
    "picture": _picture,
    "rug": lambda _rng, _shape: box(cuts=1),
    "plant": _plant,
    "cloth": lambda _rng, _shape: grid(28, 28),
}
SHARP = ("box", "table", "chair", "shelf", "picture", "rug", "text", "bed")
"""Forms whose edges stay edges."""
STRETCHED = ("box", "sphere", "cylinder", "cone", "superquadric", "rock", "rug", "picture", "cloth")
"""Forms that take the proportions of their shape; the others keep their own."""


def solid(shape: Any) -> Geometry:
    """A `Shape` that is neither a model nor a body -> its geometry, centred on its bounding box, to size."""
    rng = np.random.default_rng(shape.body)
    if shape.form == "ground":
        return _ground(rng, shape)
    if shape.form == "text":
        return fitted(_letters(shape.text), shape.size)
    geometry = FORMS[shape.form](rng, shape)
    if shape.form == "cloth":
        size = np.asarray(shape.proportions) * shape.size / max(shape.proportions)
        return geometry.scaled((size[0], size[1], 1.0))
    return fitted(geometry, shape.size, shape.proportions if shape.form in STRETCHED else None)


def _letters(text: str) -> Geometry:
    curve = bpy.data.curves.new("letters", "FONT")
    curve.body, curve.extrude, curve.bevel_depth = text, 0.15, 0.02
    thing = bpy.data.objects.new("letters", curve)
    bpy.context.scene.collection.objects.link(thing)
    mesh = thing.evaluated_get(bpy.context.evaluated_depsgraph_get()).to_mesh()
    vertices = np.empty(len(mesh.vertices) * 3)
    mesh.vertices.foreach_get("co", vertices)
    faces = [tuple(face.vertices) for face in mesh.polygons]
    bpy.data.objects.remove(thing)
    bpy.data.curves.remove(curve)
    return Geometry(
        vertices.reshape(-1, 3)[:, [0, 2, 1]] * (1, -1, 1), faces, [0] * len(faces)
    )  # upright, read from -Y

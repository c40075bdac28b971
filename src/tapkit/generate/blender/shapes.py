"""Solids as arrays: vertices, faces, and which material a face has. Sizes of about one; whoever uses them scales."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

Face = tuple[int, ...]


class Geometry(NamedTuple):
    """A mesh before Blender has it."""

    vertices: np.ndarray
    """[V,3] float64."""
    faces: list[Face]
    slots: list[int]
    """Material of each face: 0 the object's first, 1 its second, ..."""

    def moved(self, by: tuple[float, float, float]) -> Geometry:
        """Shifted."""
        return self._replace(vertices=self.vertices + np.asarray(by))

    def scaled(self, by: tuple[float, float, float] | float) -> Geometry:
        """Stretched about the origin."""
        return self._replace(vertices=self.vertices * np.asarray(by))

    def coloured(self, slot: int) -> Geometry:
        """All faces of one material."""
        return self._replace(slots=[slot] * len(self.faces))


def joined(parts: list[Geometry]) -> Geometry:
    """Several as one mesh; nothing is merged."""
    vertices, faces, slots, start = [], [], [], 0
    for part in parts:
        vertices.append(part.vertices)
        faces += [tuple(start + corner for corner in face) for face in part.faces]
        slots += part.slots
        start += len(part.vertices)
    return Geometry(np.concatenate(vertices), faces, slots)


def fitted(geometry: Geometry, size: float, proportions: tuple[float, float, float] | None = None) -> Geometry:
    """Centred on its bounding box, longest side `size`; with sides in `proportions` if they are given."""
    low, high = geometry.vertices.min(0), geometry.vertices.max(0)
    sides = (high - low).clip(1e-9)
    wanted = np.asarray(proportions) * size / max(proportions) if proportions else sides * size / sides.max()
    return geometry._replace(vertices=(geometry.vertices - (low + high) / 2) * (wanted / sides))


def box(
    size: tuple[float, float, float] = (1, 1, 1), centre: tuple[float, float, float] = (0, 0, 0), cuts: int = 1
) -> Geometry:
    """Axis-aligned; each side cut into `cuts` x `cuts` faces."""
    parts = []
    steps = np.linspace(-0.5, 0.5, cuts + 1)
    u, v = (axis.ravel() for axis in np.meshgrid(steps, steps, indexing="ij"))
    for axis in range(3):
        for side in (-0.5, 0.5):
            vertices = np.empty((len(u), 3))
            vertices[:, axis] = side
            vertices[:, (axis + 1) % 3], vertices[:, (axis + 2) % 3] = u, v
            parts.append(Geometry(vertices, _quads(cuts + 1, cuts + 1, flip=side < 0), [0] * cuts * cuts))
    return joined(parts).scaled(size).moved(centre)


def _quads(rows: int, columns: int, flip: bool = False, wrap: bool = False) -> list[Face]:
    """Faces of a grid of vertices, row after row; `wrap` closes the columns."""
    faces: list[Face] = []
    for row in range(rows - 1):
        for column in range(columns if wrap else columns - 1):
            beside = (column + 1) % columns
            a, b = row * columns + column, row * columns + beside
            c, d = (row + 1) * columns + beside, (row + 1) * columns + column
            faces.append((a, b, c, d) if flip else (a, d, c, b))
    return faces


def grid(cells_x: int, cells_y: int) -> Geometry:
    """A unit square in the plane z = 0, upwards."""
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, cells_x + 1), np.linspace(-0.5, 0.5, cells_y + 1), indexing="ij")
    vertices = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], -1)
    return Geometry(vertices, _quads(cells_x + 1, cells_y + 1), [0] * cells_x * cells_y)


def superquadric(east: float, north: float, rings: int = 24, sectors: int = 32) -> Geometry:
    """Exponent 1 is an ellipsoid, towards 0 a box, 2 an octahedron. Poles are fans, all is closed."""

    def power(value: np.ndarray, exponent: float) -> np.ndarray:
        return np.asarray(np.sign(value) * np.abs(value) ** exponent)

    latitude = np.linspace(-math.pi / 2, math.pi / 2, rings + 1)[1:-1, None]
    longitude = np.linspace(-math.pi, math.pi, sectors, endpoint=False)[None, :]
    x = power(np.cos(latitude), north) * power(np.cos(longitude), east)
    y = power(np.cos(latitude), north) * power(np.sin(longitude), east)
    z = np.broadcast_to(power(np.sin(latitude), north), x.shape)
    return _closed(np.stack([x, y, z], -1), np.array([0, 0, -1.0]), np.array([0, 0, 1.0]))


def _closed(rings: np.ndarray, first: np.ndarray, last: np.ndarray) -> Geometry:
    """Rings [R,S,3] joined to a closed surface with a fan at either end."""
    count, sectors, _ = rings.shape
    vertices = np.concatenate([rings.reshape(-1, 3), first[None], last[None]])
    faces = _quads(count, sectors, flip=True, wrap=True)
    low, high, end = count * sectors, count * sectors + 1, (count - 1) * sectors
    for sector in range(sectors):
        beside = (sector + 1) % sectors
        faces.append((beside, sector, low))
        faces.append((end + sector, end + beside, high))
    return Geometry(vertices, faces, [0] * len(faces))


def tube(
    points: np.ndarray,
    radii: np.ndarray,
    sectors: int = 14,
    flat: float = 1.0,
    up: tuple[float, float, float] = (0, 0, 1),
) -> Geometry:
    """A closed tube along `points` [P,3] with `radii` [P]; `flat` is its second radius over its first."""
    points, radii = np.asarray(points, dtype=float), np.asarray(radii, dtype=float)
    tangent = np.gradient(points, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True).clip(1e-9)
    reference = np.asarray(up, dtype=float)
    if abs(tangent @ reference).max() > 0.9:
        reference = np.array([0, 1.0, 0]) if abs(tangent[:, 1]).max() < 0.9 else np.array([1.0, 0, 0])
    side = np.cross(tangent, reference)
    side /= np.linalg.norm(side, axis=1, keepdims=True).clip(1e-9)
    other = np.cross(side, tangent)
    angle = np.linspace(0, 2 * math.pi, sectors, endpoint=False)
    around = np.cos(angle)[None, :, None] * side[:, None] + flat * np.sin(angle)[None, :, None] * other[:, None]
    return _closed(points[:, None] + radii[:, None, None] * around, points[0], points[-1])


def capsule(
    start: np.ndarray, end: np.ndarray, r_start: float, r_end: float, sectors: int = 14, flat: float = 1.0
) -> Geometry:
    """A limb: two round ends and a cone between."""
    start, end = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
    along = (end - start) / max(float(np.linalg.norm(end - start)), 1e-9)
    quarter = np.linspace(0.15, 1.0, 5) * math.pi / 2
    head = [(start - along * r_start * math.cos(a), r_start * math.sin(a)) for a in quarter]
    tail = [(end + along * r_end * math.cos(a), r_end * math.sin(a)) for a in quarter[::-1]]
    points, radii = zip(*(head + tail), strict=True)
    return tube(np.array(points), np.array(radii), sectors, flat)


def ellipsoid(
    centre: np.ndarray | tuple[float, float, float], radii: tuple[float, float, float], detail: int = 14
) -> Geometry:
    """A blob."""
    return superquadric(1.0, 1.0, detail, detail + 4).scaled(radii).moved(tuple(np.asarray(centre, dtype=float)))


def cylinder(top: float = 1.0, sectors: int = 36) -> Geometry:
    """Radius one at the bottom, `top` at the top, height two; edges are a little rounded."""
    edge = 0.04
    profile = [(0.5, -1), (1 - edge, -1), (1, -1 + edge)]
    profile += [(top + (1 - top) * (1 - step), -1 + 2 * step) for step in (0.25, 0.5, 0.75)]
    profile += [(max(top, edge), 1 - edge), (max(top - edge, edge / 2), 1), (max(top / 2, edge / 4), 1)]
    return revolved(profile, sectors)


def revolved(profile: list[tuple[float, float]], sectors: int = 36) -> Geometry:
    """(radius, z) from bottom to top, turned about z."""
    angle = np.linspace(0, 2 * math.pi, sectors, endpoint=False)
    rings = np.array([[(r * math.cos(a), r * math.sin(a), z) for a in angle] for r, z in profile])
    return _closed(rings, np.array([0, 0, profile[0][1]]), np.array([0, 0, profile[-1][1]]))


def torus(thickness: float, knot: tuple[int, int] | None = None) -> Geometry:
    """A ring, or a knot (p, q) wound on one. Closed in itself."""
    steps = 48 if knot is None else 120
    t = np.linspace(0, 2 * math.pi, steps, endpoint=False)
    if knot is None:
        points = np.stack([np.cos(t), np.sin(t), np.zeros(steps)], -1)
    else:
        p, q = knot
        radius = 1 + 0.45 * np.cos(q * t)
        points = np.stack([radius * np.cos(p * t), radius * np.sin(p * t), 0.45 * np.sin(q * t)], -1)
    tangent = np.roll(points, -1, 0) - np.roll(points, 1, 0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    side = np.cross(tangent, [0, 0, 1.0])
    side /= np.linalg.norm(side, axis=1, keepdims=True).clip(1e-9)
    other = np.cross(side, tangent)
    angle = np.linspace(0, 2 * math.pi, 16, endpoint=False)
    rings = points[:, None] + thickness * (
        np.cos(angle)[None, :, None] * side[:, None] + np.sin(angle)[None, :, None] * other[:, None]
    )
    rings = np.concatenate([rings, rings[:1]])  # the seam's vertices are there twice: nothing has to be matched
    faces = _quads(steps + 1, 16, flip=True, wrap=True)
    return Geometry(rings.reshape(-1, 3), faces, [0] * len(faces))


def rough(geometry: Geometry, seed: int, amount: float = 0.25) -> Geometry:
    """Pushed in and out by a few waves in random directions: boulders, crowns of trees."""
    rng = np.random.default_rng(seed)
    direction = geometry.vertices / np.linalg.norm(geometry.vertices, axis=1, keepdims=True).clip(1e-9)
    push = np.zeros(len(direction))
    for octave in range(4):
        waves = rng.normal(size=(5, 3)) * 2.0 * 1.8**octave
        push += (np.sin(direction @ waves.T + rng.uniform(0, 6.28, 5)) / (5 * 1.6**octave)).sum(1)
    return geometry._replace(vertices=geometry.vertices * (1 + amount * push)[:, None])

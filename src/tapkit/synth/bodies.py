"""Shapes of textured bodies: GLB models, and some of our own for when there are none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tapkit.errors import StorageError, UsageError, require
from tapkit.synth.dice import Dice
from tapkit.synth.gaits import Gait, gait_of
from tapkit.synth.rigs import Rig, read_rig

SKIN = 256
MOST_FACES, KEPT_FACES = 40000, 2500
"""Models of more triangles are left out; of these, what is finer than the second number needs is made coarser."""
LEAST_SKIN = 64
"""Smaller textures are palettes of plain colours: such models take a picture instead."""
BUILT_IN = 12
SWAYS = 6
"""Gaits made up for models that have a skeleton and no animations."""


class Body(NamedTuple):
    """Triangles about the origin, at most 1 away from it."""

    corners: Tensor
    """float [F,3,3]."""
    normals: Tensor
    """float [F,3,3], of length 1, outwards."""
    uv: Tensor
    """float [F,3,2], 0..1 over the skin, corner origin, v downwards."""
    skin: Tensor | None
    """uint8 [SKIN,SKIN,3]; None: takes any picture."""
    closed: bool
    """Whether it encloses a volume, all triangles winding the same way: then its inside is never seen."""
    vertex: Tensor | None = None
    """int64 [F,3]: the vertices of its gaits that the corners are; None: it has no gaits."""
    gaits: tuple[Gait, ...] = ()
    """Ways in which it moves; each has its own place and scale, at most 1 away from the origin too."""

    def to(self, device: torch.device | str) -> Body:
        """This body on another device."""
        skin, vertex = (None if part is None else part.to(device) for part in (self.skin, self.vertex))
        gaits = tuple(gait.to(device) for gait in self.gaits)
        return Body(
            self.corners.to(device), self.normals.to(device), self.uv.to(device), skin, self.closed, vertex, gaits
        )


def built_in_bodies(count: int = BUILT_IN, seed: int = 0) -> list[Body]:
    """Bumpy balls, rings, boxes and bottles: closed surfaces of revolution and superquadrics with random forms."""
    dice = Dice(seed)
    return [_grid_body(_form(dice, index)) for index in range(count)]


def load_bodies(folder: str | Path, limit: int | None = None) -> list[Body]:
    """All GLB models of a folder with at most `MOST_FACES` triangles, in order of their names.

    Models with a skin have their animations as gaits, or made-up ones; at rest they are as the file shows them
    without animation.

    Raises:
        StorageError: no such folder, or no usable model in it.
        MissingExtra: trimesh is not installed.
    """
    trimesh = require("trimesh", "synth")
    where = Path(folder)
    if not where.is_dir():
        raise StorageError(f"{where} is not a folder of GLB models")
    found: list[Body] = []
    for file in sorted(where.rglob("*.glb")):
        try:
            scene = trimesh.load(file, force="scene")
            parts, gaits = _moving(scene, read_rig(file, SWAYS))
        except (ValueError, KeyError, IndexError, TypeError, OSError, MemoryError) as error:
            raise StorageError(f"{file} cannot be read as a GLB model ({error})") from error
        if parts and 12 <= sum(len(part.corners) for part in parts) <= MOST_FACES:
            found.append(_joined(parts, gaits))
        if limit is not None and len(found) == limit:
            break
    if not found:
        raise StorageError(f"{where} holds no GLB model with 12 to {MOST_FACES} triangles")
    return found


def _meshes(scene: Any) -> list[Any]:
    """The triangle meshes of a trimesh scene, placed as the scene says."""
    placed = scene.dump(concatenate=False)
    return [mesh for mesh in placed if hasattr(mesh, "faces") and len(mesh.faces)]


def _moving(scene: Any, rig: Rig | None) -> tuple[list[Body], tuple[Gait, ...]]:
    """The parts of a trimesh scene, and how its rig moves their vertices.

    trimesh knows materials but no skins, so the same meshes are looked up in the rig. Where one is not found (it is
    compressed, or a strip), the model is stiff.
    """
    meshes = _meshes(scene)
    left = list(rig.limbs) if rig else []
    own = []
    for mesh in meshes:
        raw = scene.geometry[mesh.metadata["name"]]
        corners = np.asarray(raw.vertices)[np.asarray(raw.faces)]
        near = 1e-5 * float(np.abs(corners).max(initial=0))
        for place, limb in enumerate(left):
            if limb.faces.shape == corners.shape[:2] and np.allclose(limb.places[limb.faces], corners, 0, near):
                own.append(left.pop(place))
                break
    if rig is None or len(own) < len(meshes):
        return [_part(mesh) for mesh in meshes], ()
    first = np.cumsum([0, *(len(limb.places) for limb in own)])
    parts = [
        _part(mesh, torch.from_numpy(limb.faces + start))
        for mesh, limb, start in zip(meshes, own, first[:-1], strict=True)
    ]
    moments = [np.concatenate(several, 1) for several in zip(*(limb.moments for limb in own), strict=True)]
    gaits = [gait_of(torch.from_numpy(each)) for each in moments]
    return parts, tuple(gait for gait in gaits if gait is not None)


def _part(mesh: Any, vertex: Tensor | None = None) -> Body:
    faces = np.asarray(mesh.faces)
    corners = torch.from_numpy(np.asarray(mesh.vertices, np.float32)[faces])
    normals = torch.from_numpy(np.array(mesh.vertex_normals, np.float32)[faces])
    # Where the skin has a seam vertices are doubled; joined again they tell whether the surface is closed.
    joined = type(mesh)(mesh.vertices, mesh.faces, process=True)
    closed = bool(joined.is_watertight and joined.is_winding_consistent)
    visual = mesh.visual
    uv = getattr(visual, "uv", None)
    material = getattr(visual, "material", None)
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    if uv is None or image is None or min(image.size) < LEAST_SKIN or len(uv) != len(mesh.vertices):
        return _outwards(Body(corners, normals, torch.empty(len(faces), 3, 0), None, closed, vertex))
    uv = torch.from_numpy(np.asarray(uv, np.float32)[faces])
    uv = torch.stack([uv[..., 0], 1 - uv[..., 1]], -1)
    uv = uv - uv.amin(1, keepdim=True).floor()
    skin = np.array(image.convert("RGB").resize((SKIN, SKIN)), np.uint8)
    return _outwards(Body(corners, normals, uv.clamp(0, 1), torch.from_numpy(skin), closed, vertex))


def _outwards(body: Body) -> Body:
    """Triangles re-ordered so that they wind around their normals."""
    a, b, c = body.corners.unbind(1)
    wrong = (torch.linalg.cross(b - a, c - a) * body.normals.sum(1)).sum(-1) < 0
    order = torch.where(wrong[:, None], torch.tensor([0, 2, 1]), torch.tensor([0, 1, 2]))[..., None]
    parts = [part.gather(1, order.expand(-1, -1, part.shape[2])) for part in (body.corners, body.normals, body.uv)]
    vertex = None if body.vertex is None else body.vertex.gather(1, order[..., 0])
    return Body(parts[0], parts[1], parts[2], body.skin, body.closed, vertex, body.gaits)


def _joined(parts: list[Body], gaits: tuple[Gait, ...] = ()) -> Body:
    """One body of all parts. It keeps its own skin if all parts share one; else it is wrapped anew."""
    corners = torch.cat([part.corners for part in parts])
    normals = torch.cat([part.normals for part in parts])
    flat = corners.flatten(0, 1)
    middle = (flat.amin(0) + flat.amax(0)) / 2
    corners = corners - middle
    corners = corners / corners.norm(dim=-1).amax().clamp_min(1e-9)
    skin = parts[0].skin
    colourful = skin is not None and float(skin.float().std((0, 1)).mean()) > 12
    closed = all(part.closed for part in parts)
    vertices = [part.vertex for part in parts if part.vertex is not None]
    vertex = torch.cat(vertices) if gaits and len(vertices) == len(parts) else None
    if len(parts) == 1 and colourful:
        return _coarser(Body(corners, normals, parts[0].uv, skin, closed, vertex, gaits))
    body = _coarser(Body(corners, normals, torch.empty(len(corners), 3, 0), None, closed, vertex, gaits))
    return body._replace(uv=_box_uv(body.corners))


def _coarser(body: Body) -> Body:
    """At most `KEPT_FACES` triangles: corners in the same cell of a grid become one, flat triangles go."""
    cells = 64
    while len(body.corners) > KEPT_FACES and cells > 4:
        body, cells = _clustered(body, cells), round(cells * 0.8)
    return body


def _clustered(body: Body, cells: int) -> Body:
    """Corners in the same of `cells`^3 cells moved to their mean. Skin places join too, except across a seam."""
    place = ((body.corners + 1) * (cells / 2)).floor().long()
    key = (place[..., 0] * (cells + 1) + place[..., 1]) * (cells + 1) + place[..., 2]
    cluster = torch.unique(key, return_inverse=True)[1]
    kept = (cluster != cluster.roll(1, 1)).all(1)
    flat = cluster.flatten()

    def mean(values: Tensor) -> Tensor:
        flattened = values.flatten(0, 1)
        total = values.new_zeros(int(flat.max()) + 1, values.shape[2]).index_add_(0, flat, flattened)
        average: Tensor = total / torch.bincount(flat)[:, None]
        return average[cluster]

    uv = mean(body.uv)
    uv = torch.where((uv - body.uv).abs().amax(2, keepdim=True) < 0.05, uv, body.uv) if uv.shape[2] else uv
    normals = torch.nn.functional.normalize(mean(body.normals), dim=-1)
    vertex, gaits = None, body.gaits
    if body.vertex is not None:
        # The same corners join in every moment: clusters become the vertices.
        gaits = tuple(gait.joined(body.vertex.flatten(), flat) for gait in gaits)
        vertex = cluster[kept]
    return _outwards(Body(mean(body.corners)[kept], normals[kept], uv[kept], body.skin, body.closed, vertex, gaits))


def _box_uv(corners: Tensor) -> Tensor:
    """Each triangle projected along the axis to which it is most nearly square -> [F,3,2]."""
    facing = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).abs().argmax(-1)
    others = torch.tensor([[1, 2], [0, 2], [0, 1]])[facing]
    return corners.gather(2, others[:, None, :].expand(-1, 3, -1)) * 0.5 + 0.5


def _form(dice: Dice, index: int, rows: int = 25, columns: int = 41) -> Tensor:
    """A surface over a grid of (latitude, longitude) -> [rows,columns,3]; the first and last column meet."""
    u = torch.linspace(0, 1, rows)[:, None].expand(rows, columns)
    v = torch.linspace(0, 2 * math.pi, columns)[None].expand(rows, columns)
    kind = index % 4
    if kind == 0:  # a ball with waves on it
        bump = 1 + 0.18 * torch.sin(v * round(dice.number(1, 5)) + dice.number(0, 6)) * torch.sin(math.pi * u).square()
        bump = bump + 0.15 * torch.sin(2 * math.pi * u * dice.number(1, 2.5))
        latitude = math.pi * (u - 0.5)
        ring, tall = bump * latitude.cos(), bump * latitude.sin()
        return torch.stack([ring * v.cos(), tall, ring * v.sin()], -1)
    if kind == 1:  # a ring
        thick = dice.number(0.25, 0.45)
        angle = 2 * math.pi * u
        ring = 1 + thick * angle.cos() * (1 + 0.2 * torch.sin(v * round(dice.number(2, 5))))
        return torch.stack([ring * v.cos(), thick * angle.sin(), ring * v.sin()], -1)
    if kind == 2:  # a rounded box
        power = dice.number(0.25, 0.6)
        latitude = math.pi * (u - 0.5)

        def squared(value: Tensor) -> Tensor:
            return value.sign() * value.abs().pow(power)

        sides = [dice.number(0.5, 1.0) for _ in range(3)]
        ring = squared(latitude.cos())
        return torch.stack(
            [
                sides[0] * ring * squared(v.cos()),
                sides[1] * squared(latitude.sin()),
                sides[2] * ring * squared(v.sin()),
            ],
            -1,
        )
    profile = 0.5 + 0.25 * torch.sin(u * dice.number(3, 8) + dice.number(0, 6))  # a bottle
    profile = profile * (1 - (2 * u - 1).abs().pow(12))
    return torch.stack([profile * v.cos(), 1.1 * (2 * u - 1), profile * v.sin()], -1)


def _grid_body(points: Tensor) -> Body:
    """Triangulate a surface over a grid, with smooth normals; the skin is wrapped around once."""
    rows, columns, _ = points.shape
    points = points / points.norm(dim=-1).amax()
    along = torch.gradient(points, dim=0)[0]
    # The first and the last column are the same line: differences across it wrap around.
    closed = torch.cat([points[:, -2:-1], points, points[:, 1:2]], 1)
    across = closed[:, 2:] - closed[:, :-2]
    normals = torch.linalg.cross(across, along)
    normals = normals / normals.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    volume = (normals * points).sum(-1).mean()
    normals = normals * (1 if volume > 0 else -1)
    y, x = torch.meshgrid(torch.linspace(0, 1, rows), torch.linspace(0, 1, columns), indexing="ij")
    grid = torch.arange(rows * columns).view(rows, columns)
    a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1], grid[1:, 1:]
    faces = torch.cat([torch.stack([a, b, c], -1).view(-1, 3), torch.stack([b, d, c], -1).view(-1, 3)])
    uv = torch.stack([x, y], -1).view(-1, 2)
    return _outwards(Body(points.view(-1, 3)[faces], normals.view(-1, 3)[faces], uv[faces], None, True))


def body_bank(bodies: Sequence[Body] | str | Path | None, device: torch.device) -> list[Body]:
    """Bodies given, read from a folder, or the built-in ones, on `device`."""
    if bodies is None:
        found: Sequence[Body] = built_in_bodies()
    elif isinstance(bodies, (str, Path)):
        found = load_bodies(bodies)
    else:
        found = bodies
    if not found:
        raise UsageError("the list of bodies is empty; None takes the built-in ones")
    return [body.to(device) for body in found]

"""A textured body that turns in perspective in front of a clip's camera: drawn, and followed exactly.

Points of its surface are a triangle and weights in it; triangles move rigidly, as a gait says (a body that walks, swims
or flies) and with travelling waves (one that breathes), are projected, and hide each other as the z-buffer says.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.synth.bodies import SKIN, Body
from tapkit.synth.config import SynthConfig
from tapkit.synth.dice import Dice
from tapkit.synth.gaits import Stride, random_stride, smooth_normals
from tapkit.synth.motion import Motion, Spline, random_spline
from tapkit.synth.photos import PhotoBank
from tapkit.synth.raster import NOTHING, barycentric, covered, rasterise, surface_weights

SUPERSAMPLE = 2
TOGETHER = 16
"""Moments rasterised together, to bound memory."""
BODY_WAVES = 2
WAVES_OF_ANIMATED = 0.3
"""Strength of the waves of animated bodies, against that of others."""
ROOM_FOR_GAITS = 1.3
"""Animated bodies are drawn so much larger: at each moment they fill a part of the ball in which they move."""
UPRIGHT, TILT = 0.5, 0.35
"""Share of animated bodies that stand upright at rest as the camera does, and by how much they lean, in radians."""
_PLACE, _ANGLES, _FAR = slice(0, 2), slice(2, 5), 5


class Solid(NamedTuple):
    """A body in one clip."""

    body: Body
    skin: Tensor
    """float [1,3,h,w] in 0..1."""
    path: Spline
    """[1,C,6]: place on the screen (screen units), three angles, log distance."""
    rest: Tensor
    """[6]."""
    spin: Tensor
    """[3] steady turning, radians per frame."""
    size: float
    """Radius on the screen at rest, screen units."""
    waves: Tensor
    """[BODY_WAVES,8]: frequency (x,y,z), phase, rate, strength (x,y,z)."""
    light: Tensor
    """[3] direction towards the light, of length 1."""
    gloss: tuple[float, float]
    """Strength and sharpness of highlights."""
    camera: Motion
    """Of this clip alone; its layers play no part."""
    above: int
    """The layer right above which the body is drawn."""
    frame: tuple[int, int]
    """(height, width) in pixels."""
    stride: Stride | None = None
    """How it walks; None: it is stiff."""


def random_solid(
    dice: Dice, config: SynthConfig, photos: PhotoBank, bodies: list[Body], motion: Motion, layers: int
) -> Solid:
    """Draw a body and its motion for one clip of `layers` layers; `motion` is that clip's."""
    body, stride = _choice(dice, config, bodies)
    spacing = dice.number(*config.spacing)
    pace = config.speed * dice.log_number(0.4, 1.8)
    drawn = random_spline(dice, (1,), config.frames, spacing, 6)
    place, turn, depth = dice.log_number(0.05, 0.7), dice.log_number(0.1, 1.2), dice.log_number(0.02, 0.2)
    # The distance stays well above the body's radius, however fast the clip.
    reach = drawn.control.new_tensor([place, 0.7 * place, turn, turn, turn, 0.0]) * pace
    reach[_FAR] = min(depth * pace, 0.15)
    rest = torch.cat([dice.uniform(-0.6, 0.6, 2), dice.uniform(-math.pi, math.pi, 3), dice.uniform(0.9, 1.6, 1)])
    if stride is not None and dice.happens(UPRIGHT):
        # Models stand along +y, which is down on the screen: turned about x by half a turn they stand upright.
        upright, lean = rest.new_tensor([math.pi, 0.0, 0.0]), rest.new_tensor([TILT, math.pi, TILT])
        rest[_ANGLES] = upright + dice.uniform(-1, 1, 3) * lean
    aim = dice.normal(3)
    frequency, along = dice.normal(BODY_WAVES, 3) * 2, dice.normal(BODY_WAVES, 3)
    deep = 0.25 * dice.happens(0.4) / frequency.norm(dim=-1, keepdim=True).clamp_min(1.0)
    deep = deep if stride is None else deep * WAVES_OF_ANIMATED
    waves = torch.cat(
        [
            frequency,
            dice.uniform(0, 2 * math.pi, BODY_WAVES, 1),
            dice.uniform(-0.5, 0.5, BODY_WAVES, 1) * pace,
            along / along.norm(dim=-1, keepdim=True) * deep * dice.uniform(0.2, 1.0, BODY_WAVES, 1),
        ],
        -1,
    )
    return Solid(
        body=body,
        skin=_skin(dice, config, photos, body),
        path=Spline(drawn.control.clamp(-3, 3) * reach, spacing),
        rest=rest,
        spin=dice.normal(3) * 0.05 * pace * dice.happens(0.5),
        size=dice.log_number(*config.body_size) * (1.0 if stride is None else ROOM_FOR_GAITS),
        waves=waves,
        light=aim / aim.norm(),
        gloss=(dice.happens(0.5) * dice.number(0.1, 0.7), dice.number(4, 30)),
        camera=motion,
        above=dice.below(layers),
        frame=config.size,
        stride=stride,
    )


def _choice(dice: Dice, config: SynthConfig, bodies: list[Body]) -> tuple[Body, Stride | None]:
    """One of the bodies, and how it walks if it does."""
    animated = [body for body in bodies if body.gaits] if config.animated else []
    # Nothing is drawn where there is no choice: the clips of a seed stay what they were.
    if animated and dice.happens(config.animated):
        body = animated[dice.below(len(animated))]
        return body, random_stride(dice, body.gaits, config.speed)
    others = [body for body in bodies if not body.gaits] if animated else bodies
    others = others or bodies
    return others[dice.below(len(others))], None


def _skin(dice: Dice, config: SynthConfig, photos: PhotoBank, body: Body) -> Tensor:
    """The body's own skin, or at times and for lack of one a picture; as coarse as it will be seen."""
    if body.skin is not None and dice.number(0, 1) < 0.7:
        skin = body.skin.permute(2, 0, 1)[None].float() / 255
    else:
        index = photos.draw(dice, 1, config.procedural)
        corner = (dice.uniform(0, 1, 1, 2) * 64).long()
        skin = photos.windows(index, torch.zeros_like(index), corner, (SKIN, SKIN))
    return F.avg_pool2d(skin, 2) if max(config.size) <= 192 else skin


def _deformed(solid: Solid, times: Tensor, face: Tensor | None = None) -> Tensor:
    """Corners of the triangles `face` int64 [n] (None: of all) at times [M], walked and waved -> [M,n,3,3]."""
    points = solid.body.corners if face is None else solid.body.corners[face]
    time = times.view(-1, 1, 1)
    if solid.stride is None or solid.body.vertex is None:
        moved = points.expand(len(times), *points.shape)
    else:
        vertex = solid.body.vertex if face is None else solid.body.vertex[face]
        moved = solid.stride.at(times)[:, vertex]
    for wave in solid.waves:
        swing = torch.sin(points @ wave[:3] + wave[3] + wave[4] * time)
        moved = moved + swing[..., None] * wave[5:]
    return moved


def _normals(solid: Solid, times: Tensor, picture: Tensor, face: Tensor) -> Tensor:
    """Normals at the corners of triangles `face` [n] at times[picture], before the body turns -> [n,3,3]."""
    if solid.stride is None or solid.body.vertex is None:
        return solid.body.normals[face]
    normals = smooth_normals(solid.stride.at(times), solid.body.vertex)
    return normals[picture[:, None], solid.body.vertex[face]]


def _turn(solid: Solid, times: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations [M,3,3] and the path [M,6] at times [M]."""
    path = solid.path.at(times[None])[0] + solid.rest
    angles = path[:, _ANGLES] + solid.spin * times[:, None]
    c, s = angles.cos(), angles.sin()
    zero, one = torch.zeros_like(c[:, 0]), torch.ones_like(c[:, 0])
    about_x = torch.stack([one, zero, zero, zero, c[:, 0], -s[:, 0], zero, s[:, 0], c[:, 0]], -1)
    about_y = torch.stack([c[:, 1], zero, s[:, 1], zero, one, zero, -s[:, 1], zero, c[:, 1]], -1)
    about_z = torch.stack([c[:, 2], -s[:, 2], zero, s[:, 2], c[:, 2], zero, zero, zero, one], -1)
    x, y, z = (matrix.view(-1, 3, 3) for matrix in (about_x, about_y, about_z))
    return z @ y @ x, path


def project(solid: Solid, points: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """Points at each time [M,...,3] (already deformed) on the screen -> pixels [M,...,2], 1/w [M,...]."""
    rotation, path = _turn(solid, times)
    shape = (len(times), *([1] * (points.dim() - 2)))
    turned = (points.flatten(1, -2) @ rotation.transpose(1, 2)).view_as(points)
    far = path[:, _FAR].exp()
    near = 1 / (turned[..., 2] + far.view(shape))
    # At rest distance the body's radius is `size`; nearer it is larger.
    scale = solid.size * solid.rest[_FAR].exp() * near
    flat = turned[..., :2] * scale[..., None] + path[:, _PLACE].view(*shape, 2)
    camera = solid.camera.camera_matrix(times[None])[0]
    seen = (flat.flatten(1, -2) @ camera[:, :2, :2].transpose(1, 2)).view_as(flat) + camera[:, :2, 2].view(*shape, 2)
    height, width = solid.frame
    return seen * (max(height, width) / 2) + seen.new_tensor([width / 2, height / 2]), near


class View(NamedTuple):
    """A solid at M moments: where its triangles are and which of them is seen where."""

    xy: Tensor
    """[M,F,3,2] pixels."""
    near: Tensor
    """[M,F,3]."""
    seen: Tensor
    """int16 or int32 [M, height*supersample, width*supersample], as `rasterise` returns it."""
    supersample: int

    def moments(self, chosen: slice) -> View:
        """Of some moments only."""
        return View(self.xy[chosen], self.near[chosen], self.seen[chosen], self.supersample)


def view(solid: Solid, times: Tensor, supersample: int = SUPERSAMPLE) -> View:
    """Project and rasterise at times [M]."""
    parts = []
    for some in torch.split(times, TOGETHER):
        xy, near = project(solid, _deformed(solid, some), some)
        seen = rasterise(xy, near, solid.frame, supersample, solid.body.closed)
        parts.append((xy, near, seen.to(torch.int16 if xy.shape[1] < 2**15 else torch.int32)))
    xy, near, seen = (torch.cat(part) for part in zip(*parts, strict=True))
    return View(xy, near, seen, supersample)


def draw_solid(solid: Solid, seen: View, times: Tensor) -> Tensor:
    """Colours and opacity of a view -> float [M,4,H,W] in 0..1; colours are not multiplied by opacity."""
    moments, height, width = seen.seen.shape
    picture, row, column = (seen.seen != NOTHING).nonzero(as_tuple=True)
    face = seen.seen[picture, row, column].long()
    centre = (torch.stack([column, row], -1) + 0.5) / seen.supersample
    weights = barycentric(seen.xy[picture, face], centre)
    weights = surface_weights(weights, seen.near[picture, face])[..., None]
    uv = (weights * solid.body.uv[face]).sum(1)
    skin = F.grid_sample(solid.skin, (uv * 2 - 1)[None, None], padding_mode="border", align_corners=False)[0, :, 0]
    rotation, _ = _turn(solid, times)
    normal = (weights * _normals(solid, times, picture, face)).sum(1)
    normal = F.normalize((rotation[picture] @ normal[..., None])[..., 0], dim=-1)
    lit = normal @ solid.light
    strength, sharpness = solid.gloss
    # The eye looks along +z: the highlight lies where the normal halves the way from light to eye.
    half = F.normalize(solid.light - solid.light.new_tensor([0.0, 0.0, 1.0]), dim=0)
    glare = strength * (normal @ half).clamp_min(0).pow(sharpness)
    colour = (skin * (0.75 + 0.4 * lit) + glare).clamp(0, 1)
    canvas = torch.zeros((4, moments * height * width), device=uv.device)
    canvas[:, (picture * height + row) * width + column] = torch.cat([colour, torch.ones_like(lit)[None]])
    pooled = F.avg_pool2d(canvas.view(4, moments, height, width).transpose(0, 1), seen.supersample)
    alpha = pooled[:, 3:]
    return torch.cat([pooled[:, :3] / alpha.clamp_min(1e-3), alpha], 1)


class SurfacePoints(NamedTuple):
    """n points of a body: triangle int64 [n] and weights on it float [n,3]."""

    face: Tensor
    weights: Tensor


def touched(solid: Solid, seen: View, xy: Tensor, frame: Tensor) -> tuple[Tensor, SurfacePoints]:
    """The surface points next to screen positions xy [n,2] in frames [n] -> hit bool [n], points (0 where not hit).

    The points are those at the centres of the sub-pixels, where the z-buffer is exact.
    """
    place = (xy * seen.supersample).floor().long()
    _, height, width = seen.seen.shape
    column, row = place[:, 0].clamp(0, width - 1), place[:, 1].clamp(0, height - 1)
    face = seen.seen[frame, row, column].long()
    there = face.clamp_min(0)
    centre = (torch.stack([column, row], -1) + 0.5) / seen.supersample
    weights = surface_weights(barycentric(seen.xy[frame, there], centre), seen.near[frame, there])
    return face != NOTHING, SurfacePoints(there, weights)


def follow(solid: Solid, seen: View, points: SurfacePoints, times: Tensor) -> tuple[Tensor, Tensor]:
    """Surface points at times [M] (those of the view) -> pixels [n,M,2], and bool [n,M]: not hidden by the body."""
    corners = _deformed(solid, times, points.face)
    xy, near = project(solid, (corners * points.weights[..., None]).sum(-2), times)
    hidden = covered(seen.xy, seen.near, seen.seen, seen.supersample, xy, near)
    return xy.transpose(0, 1), ~hidden.transpose(0, 1)


def covers(seen: View, xy: Tensor) -> Tensor:
    """Whether the body lies over screen positions xy [n,M,2], one for each moment of the view -> bool [n,M]."""
    return covered(seen.xy, seen.near, seen.seen, seen.supersample, xy.transpose(0, 1)).transpose(0, 1)

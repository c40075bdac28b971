"""Smooth random motion of a camera and of layers, for any moment between frames.

Everything that moves follows uniform cubic B-splines through random control points, so positions at sub-frame
times (motion blur, rolling shutter) are exact and twice differentiable. Screen units: (0,0) is the middle of the
frame and 1 is half of its longer side. Texture units: -1..1 spans a layer's texture. Layer 0 is the background.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from tapkit.synth.config import SynthConfig
from tapkit.synth.dice import Dice

WAVES = 3
SHAKE_SPACING = 1.3
_X, _Y, _TURN, _GROW, _TILT_X, _TILT_Y = range(6)


class Spline(NamedTuple):
    """control [...,C,P]: P quantities at C control points, `spacing` frames apart, the first one before frame 0."""

    control: Tensor
    spacing: float

    def at(self, times: Tensor) -> Tensor:
        """Values at `times` [B,M] (frames) of control [B,...,C,P] -> [B,...,M,P]."""
        count = self.control.shape[-2]
        place = times[..., None] / self.spacing + 2 - torch.arange(count, device=times.device)
        u = place.abs()
        near = 2 / 3 - u.square() + u.pow(3) / 2
        far = (2 - u).clamp_min(0).pow(3) / 6
        weights = torch.where(u < 1, near, far)
        weights = weights.reshape(weights.shape[0], *([1] * (self.control.dim() - 3)), *weights.shape[1:])
        return weights @ self.control


def random_spline(dice: Dice, shape: tuple[int, ...], frames: int, spacing: float, quantities: int) -> Spline:
    """A wandering spline of deviation about 1 that keeps returning to 0; covers frames -1..frames."""
    count = math.ceil((frames + 2) / spacing) + 5
    steps = dice.normal(*shape, count, quantities)
    keep = 0.6
    walk = [steps[..., 0, :]]
    for i in range(1, count):
        walk.append(keep * walk[-1] + math.sqrt(1 - keep * keep) * steps[..., i, :])
    return Spline(torch.stack(walk, -2), spacing)


class Layers(NamedTuple):
    """What each layer is, B clips of L layers (the background is layer 0)."""

    size: Tensor
    """[B,L] half of a layer's side in screen units."""
    soft: Tensor
    """[B,L] bool: a shadow or a glare; hides nothing."""
    parent: Tensor
    """[B,L] int64: the layer it hangs on; itself if none."""
    casts: Tensor
    """[B,L] bool: the soft layer is the shadow of the layer above it."""
    thin: Tensor
    """[B,L] bool: bars or branches."""


class Motion(NamedTuple):
    """Where camera and layers are at any time. See the module for units."""

    camera: Spline
    """[B,C,4]: x, y, turn, log zoom."""
    shake: Spline
    """[B,C,3]: x, y, turn."""
    paths: Spline
    """[B,L,C,6]: x, y, turn, log growth and two perspective tilts of each layer, still without its rest place."""
    rest: Tensor
    """[B,L,6]: what is added to the path."""
    stretch: Tensor
    """[B,L,2]: half width and half height of the texture in screen units."""
    nearness: Tensor
    """[B,L]: how much more than the background a layer follows the camera's sideways motion."""
    pivot: Tensor
    """[B,L,3]: joint on the parent (its texture units), size relative to the parent."""
    offset: Tensor
    """[B,2]: how far cast shadows lie off, screen units."""
    waves: Tensor
    """[B,L,WAVES,6]: bending: frequency (x,y), phase, rate per frame, strength (x,y)."""
    layers: Layers
    speed: Tensor
    """[B]: factor on the rate of bending."""

    def clips(self, index: Tensor) -> Motion:
        """Of the clips `index` [n] only."""

        def cut(part: Spline) -> Spline:
            return Spline(part.control[index], part.spacing)

        return Motion(
            camera=cut(self.camera),
            shake=cut(self.shake),
            paths=cut(self.paths),
            rest=self.rest[index],
            stretch=self.stretch[index],
            nearness=self.nearness[index],
            pivot=self.pivot[index],
            offset=self.offset[index],
            waves=self.waves[index],
            layers=Layers(*(value[index] for value in self.layers)),
            speed=self.speed[index],
        )

    def camera_matrix(self, times: Tensor) -> Tensor:
        """World to screen at `times` [B,M] -> [B,M,3,3]."""
        slow, fast = self.camera.at(times), self.shake.at(times)
        zoom, turn = slow[..., 3].exp(), slow[..., 2] + fast[..., 2]
        c, s = zoom * turn.cos(), zoom * turn.sin()
        x, y = -(slow[..., 0] + fast[..., 0]), -(slow[..., 1] + fast[..., 1])
        zero, one = torch.zeros_like(c), torch.ones_like(c)
        rows = [c, -s, c * x - s * y, s, c, s * x + c * y, zero, zero, one]
        return torch.stack(rows, -1).view(*c.shape, 3, 3)

    def matrices(self, times: Tensor) -> Tensor:
        """Texture to screen at `times` [B,M] -> homographies [B,L,M,3,3]; the last entry of each is 1."""
        camera = self.camera_matrix(times)
        path = self.paths.at(times) + self.rest[:, :, None]
        drift = self.camera.at(times)[:, None, :, :2] * self.nearness[:, :, None, None]
        c = (path[..., _TURN]).cos() * path[..., _GROW].exp()
        s = (path[..., _TURN]).sin() * path[..., _GROW].exp()
        width, height = self.stretch[:, :, None, 0], self.stretch[:, :, None, 1]
        x, y = path[..., _X] - drift[..., 0], path[..., _Y] - drift[..., 1]
        one = torch.ones_like(c)
        tilt_x, tilt_y = path[..., _TILT_X], path[..., _TILT_Y]
        own = torch.stack([c * width, -s * height, x, s * width, c * height, y, tilt_x, tilt_y, one], -1)
        # The tilt belongs to the texture's own axes and must leave its middle where it is: x and y gain by it.
        own = own.view(*c.shape, 3, 3)
        own = torch.cat([own[..., :2, :] + own[..., :2, 2:] * _tilts(own), own[..., 2:, :]], -2)
        world = self._hang(own, path[..., _TURN])
        screen = camera[:, None] @ world
        return screen / screen[..., 2:, 2:]

    def _hang(self, own: Tensor, turn: Tensor) -> Tensor:
        """Replace the matrices of limbs by parent x joint, and of cast shadows by the shifted caster's."""
        batch = torch.arange(own.shape[0], device=own.device)
        c, s = turn.cos(), turn.sin()
        joint_x, joint_y, share = (self.pivot[:, :, None, i] for i in range(3))
        zero, one = torch.zeros_like(c), torch.ones_like(c)
        # The limb turns about its own end, which lies at the joint.
        rows = [c * share, -s * share, joint_x + c * 0.7 * share, s * share, c * share, joint_y + s * 0.7 * share]
        joint = torch.stack([*rows, zero, zero, one], -1).view(*c.shape, 3, 3)
        placed = [own[:, 0]]
        for layer in range(1, own.shape[1]):
            parent = self.layers.parent[:, layer]
            on_parent = torch.stack(placed, 1)[batch, parent.clamp_max(layer - 1)] @ joint[:, layer]
            limb = (parent < layer)[:, None, None, None]
            placed.append(torch.where(limb, on_parent, own[:, layer]))
        for layer in range(1, own.shape[1] - 1):
            x, y = self.offset[:, 0, None, None], self.offset[:, 1, None, None]
            above = placed[layer + 1]
            shift = torch.stack([x * above[..., 2, :], y * above[..., 2, :], torch.zeros_like(above[..., 2, :])], -2)
            casts = self.layers.casts[:, layer, None, None, None]
            placed[layer] = torch.where(casts, above + shift, placed[layer])
        return torch.stack(placed, 1)

    def bend(self, v: Tensor, times: Tensor) -> Tensor:
        """Displacement d(v) of texture positions v [B,L,M,...,2] at `times` [B,M] -> as v."""
        shape = (*v.shape[:3], *([1] * (v.dim() - 4)))
        rate = self.speed[:, None, None] * times[:, None]
        waves = self.waves[:, :, None].expand(-1, -1, times.shape[1], -1, -1)
        return bent(v, waves.reshape(*shape, WAVES, 6), rate.expand(shape[:3]).reshape(shape))


def _tilts(own: Tensor) -> Tensor:
    """(tilt_x, tilt_y, 0) of matrices [...,3,3] -> [...,1,3]."""
    tilt = own[..., 2:, :].clone()
    tilt[..., 2] = 0
    return tilt


def bent(v: Tensor, waves: Tensor, time: Tensor) -> Tensor:
    """Sum of travelling sine waves at v [...,2]; waves [...,WAVES,6], time [...] -> [...,2]."""
    total = torch.zeros_like(v)
    for k in range(WAVES):
        fx, fy, phase, rate, ax, ay = waves[..., k, :].unbind(-1)
        wave = torch.sin(fx * v[..., 0] + fy * v[..., 1] + (phase + rate * time))
        total = total + torch.stack([ax * wave, ay * wave], -1)
    return total


def random_motion(dice: Dice, config: SynthConfig, layers: Layers) -> Motion:
    """Draw the motion of B clips for the given layers."""
    batch, count = layers.size.shape
    height, width = config.size
    half = torch.tensor([width, height], dtype=torch.float32, device=dice.device) / max(width, height)
    spacing = dice.number(*config.spacing)
    pace = config.speed * dice.log_uniform(0.4, 1.8, batch)
    slow = random_spline(dice, (batch,), config.frames, spacing, 4)
    reach = torch.stack(
        [
            dice.log_uniform(0.02, 0.7, batch),
            dice.log_uniform(0.01, 0.45, batch),
            dice.log_uniform(0.005, 0.15, batch),
            dice.log_uniform(0.01, 0.25, batch),
        ],
        -1,
    )
    camera = Spline(slow.control * (reach * pace[:, None])[:, None], spacing)
    jitter = random_spline(dice, (batch,), config.frames, SHAKE_SPACING, 3)
    shaken = dice.chance(config.shake, batch) * dice.log_uniform(0.004, 0.03, batch)
    shake = Spline(jitter.control * (shaken[:, None] * shaken.new_tensor([1.0, 1.0, 0.5]))[:, None], SHAKE_SPACING)
    return Motion(
        camera=camera,
        shake=shake,
        paths=_paths(dice, config, layers, spacing, pace),
        rest=_rest(dice, layers, half),
        stretch=layers.size[..., None] * (dice.normal(batch, count, 1) * layers.size.new_tensor([0.2, -0.2])).exp(),
        nearness=dice.uniform(-0.2, 1.0, batch, count) * (torch.arange(count, device=dice.device) > 0),
        pivot=torch.cat([dice.uniform(-0.6, 0.6, batch, count, 2), dice.uniform(0.4, 0.9, batch, count, 1)], -1),
        offset=dice.uniform(-0.2, 0.2, batch, 2),
        waves=_waves(dice, config, layers),
        layers=layers,
        speed=pace,
    )


def _paths(dice: Dice, config: SynthConfig, layers: Layers, spacing: float, pace: Tensor) -> Spline:
    """The wandering of each layer; the background wanders little, since the camera moves it already."""
    batch, count = layers.size.shape
    drawn = random_spline(dice, (batch, count), config.frames, spacing, 6)
    place = dice.log_uniform(0.06, 1.0, batch, count)
    reach = torch.stack(
        [
            place,
            place * dice.uniform(0.3, 1.0, batch, count),
            dice.log_uniform(0.04, 1.2, batch, count),
            dice.log_uniform(0.02, 0.3, batch, count),
            dice.log_uniform(0.02, 0.15, batch, count),
            dice.log_uniform(0.02, 0.15, batch, count),
        ],
        -1,
    )
    reach[:, 0] *= reach.new_tensor([0.1, 0.1, 0.1, 0.2, 0.3, 0.3])
    control = drawn.control * (reach * pace[:, None, None])[:, :, None]
    # A tilt of 0.28 at most keeps the whole texture in front of the camera.
    control[..., _TILT_X:] = 0.2 * torch.tanh(control[..., _TILT_X:] / 0.2)
    return Spline(control, spacing)


def _rest(dice: Dice, layers: Layers, half: Tensor) -> Tensor:
    """Place, turn, growth and tilts about which layers wander."""
    batch, count = layers.size.shape
    place = dice.uniform(-0.9, 0.9, batch, count, 2) * half
    turn = dice.uniform(-math.pi, math.pi, batch, count, 1)
    tilt = dice.uniform(-0.08, 0.08, batch, count, 2)
    rest = torch.cat([place, turn, torch.zeros_like(turn), tilt], -1)
    rest[:, 0, :2] = 0
    rest[:, 0, 2] = 0.1 * rest[:, 0, 2]
    return rest


def _waves(dice: Dice, config: SynthConfig, layers: Layers) -> Tensor:
    """Bending of each layer: `bending` bounds the sum of its gradients, so the map stays one to one."""
    batch, count = layers.size.shape
    shape = (batch, count, WAVES)
    turn, frequency = dice.uniform(0, 2 * math.pi, *shape), dice.uniform(1.0, 4.5, *shape)
    # A wave is at least four cells of the warp mesh long on the screen.
    longest = math.pi / 4 * layers.size * max(config.size) / config.pitch
    frequency = torch.minimum(frequency, longest[..., None].clamp_min(0.8))
    aim = dice.uniform(0, 2 * math.pi, *shape)
    share = dice.uniform(0.2, 1.0, *shape)
    gradient = share / share.sum(-1, keepdim=True) * config.bending * dice.uniform(0, 1, batch, count, 1).square()
    gradient = torch.where(dice.chance(0.3, batch, count, 1), 0 * gradient, gradient)
    gradient[:, 0] *= 0.4
    strength = gradient / frequency
    parts = [
        frequency * turn.cos(),
        frequency * turn.sin(),
        dice.uniform(0, 2 * math.pi, *shape),
        dice.uniform(-0.35, 0.35, *shape),
        strength * aim.cos(),
        strength * aim.sin(),
    ]
    waves = torch.stack(parts, -1)
    for layer in range(1, count - 1):  # a cast shadow bends with its caster
        casts = layers.casts[:, layer, None, None]
        waves[:, layer] = torch.where(casts, waves[:, layer + 1], waves[:, layer])
    return waves

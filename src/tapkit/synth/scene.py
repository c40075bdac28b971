"""Everything that defines the clips of a batch, and the camera that films it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tapkit.synth.bodies import Body
from tapkit.synth.config import SynthConfig
from tapkit.synth.dice import Dice
from tapkit.synth.layers import background, pictures, random_layers
from tapkit.synth.look import Look, apply_look, random_look
from tapkit.synth.motion import Motion, random_motion
from tapkit.synth.photos import PhotoBank
from tapkit.synth.render import Overlay, composite
from tapkit.synth.shapes import ShapeBank
from tapkit.synth.solids import Solid, View, draw_solid, random_solid, view
from tapkit.synth.warp import Mesh, make_mesh

AT_ONCE, AT_ONCE_CPU = 1 << 24, 1 << 18
"""Pixels rendered together; on a CPU few, so that they stay in its cache and layers are clipped to where they are."""


class Placed(NamedTuple):
    """A body in one of the clips."""

    clip: int
    solid: Solid
    view: View
    """At mid-exposure of every frame."""

    @property
    def rank(self) -> float:
        """Its place among the layers."""
        return self.solid.above + 0.5


class Scene(NamedTuple):
    """B clips before they are filmed."""

    config: SynthConfig
    back: Tensor
    """float [B,3,h,w]."""
    pictures: Tensor
    """float [B,L-1,4,R,R]."""
    motion: Motion
    lag: Tensor
    """[B] frames by which the last row is later than the first."""
    exposure: Tensor
    """[B] share of a frame during which light is gathered; 0: an instant."""
    look: Look
    mesh: Mesh
    """Warps at mid-exposure."""
    solids: list[Placed]
    """Bodies in perspective; no two of a clip have the same rank."""


def make_scene(
    dice: Dice, config: SynthConfig, photos: PhotoBank, shapes: ShapeBank, bodies: list[Body], count: int
) -> Scene:
    """Draw `count` clips."""
    layers, outline = random_layers(dice, config, shapes, count)
    motion = random_motion(dice, config, layers)
    has_solid = [dice.happens(config.solids) for _ in range(count)]
    flat = torch.tensor([not found for found in has_solid], device=dice.device)
    # Bodies are projected at one moment; clips with one have a global shutter.
    lag = (dice.chance(config.rolling, count) & flat) * dice.uniform(-0.9, 0.9, count)
    exposure = dice.chance(config.blurred, count) * dice.uniform(0.2, 1.0, count)
    times = torch.arange(config.frames, device=dice.device, dtype=torch.float32)
    solids = [
        Placed(clip, solid, view(solid, times))
        for clip in range(count)
        if has_solid[clip]
        for solid in _solids(dice, config, photos, bodies, motion, clip, layers.size.shape[1])
    ]
    return Scene(
        config=config,
        back=background(dice, config, photos, count),
        pictures=pictures(dice, config, photos, shapes, layers, outline),
        motion=motion,
        lag=lag,
        exposure=exposure,
        look=random_look(dice, config, count),
        mesh=make_mesh(motion, config.size, times, config.pitch, lag),
        solids=solids,
    )


def _solids(
    dice: Dice, config: SynthConfig, photos: PhotoBank, bodies: list[Body], motion: Motion, clip: int, layers: int
) -> list[Solid]:
    """The bodies of a clip of `layers` layers, each above another one of them."""
    fewest, most = config.bodies
    # Nothing is drawn where there is no choice: the clips of a seed stay what they were.
    count = fewest if fewest == most else fewest + dice.below(most - fewest + 1)
    own = motion.clips(torch.tensor([clip], device=dice.device))
    found: list[Solid] = []
    for _ in range(min(count, layers)):
        solid = random_solid(dice, config, photos, bodies, own, layers)
        taken = {each.above for each in found}
        while solid.above in taken:
            solid = solid._replace(above=(solid.above + 1) % layers)
        found.append(solid)
    return found


def film(scene: Scene, noise: torch.Generator) -> Tensor:
    """Render all frames -> uint8 [B,T,3,H,W]; clips with motion blur apart from those without.

    Beyond the video itself only `config.pixels_at_once` pixels are held as floats.
    """
    config = scene.config
    height, width = config.size
    room = config.pixels_at_once or (AT_ONCE_CPU if scene.lag.device.type == "cpu" else AT_ONCE)
    video = torch.empty((len(scene.lag), config.frames, 3, height, width), dtype=torch.uint8, device=scene.lag.device)
    for blurred in (False, True):
        chosen = ((scene.exposure > 0) == blurred).nonzero()[:, 0]
        per_frame = height * width * (config.blur_samples if blurred else 1)
        together = max(1, room // (per_frame * config.frames))
        step = max(1, room // (per_frame * together))
        for index in torch.split(chosen, together):
            if len(index):
                _film_some(scene, index, blurred, step, noise, video)
    return video


def _film_some(scene: Scene, index: Tensor, blurred: bool, step: int, noise: torch.Generator, video: Tensor) -> None:
    """Render the clips `index` into `video`, `step` frames at a time."""
    config = scene.config
    moments = moments_of(scene, index) if blurred else scene.lag.new_zeros(len(index), 1)
    back, layers = scene.back[index], scene.pictures[index]
    look = Look(*(value[index] for value in scene.look))
    for first in range(0, config.frames, step):
        frames = slice(first, min(first + step, config.frames))
        mesh = exposed(scene, index, frames, moments) if blurred else scene.mesh.part(index, frames)
        drawn = composite(back, layers, mesh, _overlays(scene, index, frames, moments))
        video[index, frames] = apply_look(drawn, look, first, noise)


def moments_of(scene: Scene, index: Tensor) -> Tensor:
    """Moments of the exposure of the clips `index`, relative to its middle -> [n,K]."""
    ticks = torch.linspace(-0.5, 0.5, scene.config.blur_samples, device=index.device)
    return scene.exposure[index, None] * ticks


def exposed(scene: Scene, index: Tensor, frames: slice, moments: Tensor) -> Mesh:
    """The warps of the clips `index` in some frames at several moments of the exposure [n,K]."""
    config = scene.config
    times = torch.arange(frames.start, frames.stop, device=index.device, dtype=torch.float32)
    return make_mesh(scene.motion.clips(index), config.size, times, config.pitch, scene.lag[index], moments)


def _overlays(scene: Scene, index: Tensor, frames: slice, moments: Tensor) -> list[Overlay]:
    """The solids of the clips `index` in some frames, drawn at all moments."""
    if not scene.solids:
        return []
    found = []
    places = {clip: place for place, clip in enumerate(index.tolist())}
    for clip, solid, whole in scene.solids:
        if clip not in places:
            continue
        place = places[clip]
        times = torch.arange(frames.start, frames.stop, device=index.device, dtype=torch.float32)
        if moments.shape[1] == 1:
            seen = whole.moments(frames)
        else:
            times = (times[:, None] + moments[place]).flatten()
            # The moments are averaged: that smooths edges already.
            seen = view(solid, times, supersample=1)
        found.append(Overlay(place, solid.above, draw_solid(solid, seen, times)))
    return found

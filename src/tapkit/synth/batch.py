"""Batches of made clips with exact tracks: what a trainer asks for."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tapkit.errors import UsageError
from tapkit.synth.config import SynthConfig
from tapkit.synth.dice import Dice
from tapkit.synth.layers import background, pictures, random_layers
from tapkit.synth.look import Look, apply_look, random_look
from tapkit.synth.motion import Motion, random_motion
from tapkit.synth.photos import PhotoBank
from tapkit.synth.render import composite, opacity
from tapkit.synth.shapes import ShapeBank
from tapkit.synth.warp import Mesh, Places, make_mesh

CANDIDATES = 4
UNSOLVED = 0.01
"""Pixels: tracks whose position is not found to this in every frame in which they are in the frame are dropped."""


class Batch(NamedTuple):
    """B clips of T frames with N tracks."""

    video: Tensor
    """uint8 [B,T,3,H,W]."""
    xy: Tensor
    """float32 [B,N,T,2], pixels of the clip, corner origin; true also where hidden or out of the frame."""
    visible: Tensor
    """bool [B,N,T], in the frame and not hidden. Every track is visible in one frame at least."""


class _Scene(NamedTuple):
    """All that defines the clips of a batch."""

    back: Tensor
    pictures: Tensor
    motion: Motion
    lag: Tensor
    exposure: Tensor
    look: Look
    mesh: Mesh


class ClipMaker:
    """Makes batches of clips on one device. The same seed gives the same clips, on every device."""

    def __init__(self, config: SynthConfig, photos: PhotoBank | None = None, device: str | torch.device = "cpu") -> None:
        """`photos` None: procedural textures alone. Banks are moved to `device` once."""
        self.config = config
        self.device = torch.device(device)
        self.photos = (photos or PhotoBank.procedural()).to(self.device)
        self.shapes = ShapeBank(config.shapes, device=self.device)

    @torch.no_grad()
    def batch(self, count: int, generator: torch.Generator | int) -> Batch:
        """Make `count` clips.

        Args:
            count: B.
            generator: a CPU generator, which is advanced, or a seed.

        Raises:
            UsageError: no clip asked for.
        """
        if count < 1:
            raise UsageError(f"a batch has one clip at least, got {count}")
        dice = Dice(generator, self.device)
        scene = self._scene(dice, count)
        xy, visible = self._tracks(dice, scene)
        return Batch(self._film(dice, scene), xy, visible)

    def _scene(self, dice: Dice, count: int) -> _Scene:
        config = self.config
        layers, outline = random_layers(dice, config, self.shapes, count)
        motion = random_motion(dice, config, layers)
        lag = dice.chance(config.rolling, count) * dice.uniform(-0.9, 0.9, count)
        exposure = dice.chance(config.blurred, count) * dice.uniform(0.2, 1.0, count)
        return _Scene(
            back=background(dice, config, self.photos, count),
            pictures=pictures(dice, config, self.photos, self.shapes, layers, outline),
            motion=motion,
            lag=lag,
            exposure=exposure,
            look=random_look(dice, config, count),
            mesh=make_mesh(motion, config.size, config.frames, config.pitch, lag),
        )

    def _film(self, dice: Dice, scene: _Scene) -> Tensor:
        """Render all frames -> uint8 [B,T,3,H,W]; clips with motion blur apart from those without."""
        config = self.config
        height, width = config.size
        count = len(scene.lag)
        noise = dice.on_device()
        video = torch.empty((count, config.frames, 3, height, width), dtype=torch.uint8, device=self.device)
        for blurred in (False, True):
            index = ((scene.exposure > 0) == blurred).nonzero()[:, 0]
            if len(index) == 0:
                continue
            mesh = self._exposed(scene, index) if blurred else Mesh(scene.mesh.texture[index], config.size)
            back, layers = scene.back[index], scene.pictures[index]
            look = Look(*(value[index] for value in scene.look))
            moments = mesh.texture.shape[3]
            step = max(1, config.pixels_at_once // (len(index) * moments * height * width))
            for first in range(0, config.frames, step):
                drawn = composite(back, layers, mesh, slice(first, first + step))
                video[index, first : first + step] = apply_look(drawn, look, first, noise)
        return video

    def _exposed(self, scene: _Scene, index: Tensor) -> Mesh:
        """The warps of some clips at several moments of the exposure."""
        config = self.config
        ticks = torch.linspace(-0.5, 0.5, config.blur_samples, device=self.device)
        moments = scene.exposure[index, None] * ticks
        return make_mesh(
            scene.motion.clips(index), config.size, config.frames, config.pitch, scene.lag[index], moments
        )

    def _tracks(self, dice: Dice, scene: _Scene) -> tuple[Tensor, Tensor]:
        """Choose points that are seen at least once, and follow them."""
        config = self.config
        texture, layer = _seen_points(dice, scene, config)
        batch, wanted = layer.shape
        frame = torch.arange(config.frames, device=self.device).repeat(wanted).expand(batch, -1)
        places = Places(scene.motion, scene.mesh, layer.repeat_interleave(config.frames, 1), frame)
        xy, moved = places.screen(texture.repeat_interleave(config.frames, 1))
        xy = xy.unflatten(1, (wanted, config.frames))
        inside = _inside(xy, config.size)
        unsolved = ((moved.view_as(inside) > UNSOLVED) & inside).any(-1)
        # Stable: solved candidates first, in their random order.
        best = unsolved.to(torch.int8).argsort(dim=1, stable=True)[:, : config.points]
        xy = xy.gather(1, best[..., None, None].expand(-1, -1, config.frames, 2))
        layer = layer.gather(1, best)
        frame = torch.arange(config.frames, device=self.device).repeat(best.shape[1]).expand(batch, -1)
        above = _opacities(scene, xy.flatten(1, 2), frame)
        owner = layer.repeat_interleave(config.frames, 1)[:, None]
        order = torch.arange(1, above.shape[1] + 1, device=self.device)[:, None]
        hidden = ((above > 0.5) & (order > owner)).any(1)
        visible = _inside(xy, config.size) & ~hidden.unflatten(1, (-1, config.frames))
        return xy, visible


def _inside(xy: Tensor, size: tuple[int, int]) -> Tensor:
    return (xy >= 0).all(-1) & (xy[..., 0] < size[1]) & (xy[..., 1] < size[0])


def _opacities(scene: _Scene, xy: Tensor, frame: Tensor) -> Tensor:
    """Opacity of the layers 1 to L-1 at screen positions [B,n,2] in frames [B,n] -> [B,L-1,n]."""
    batch, count = scene.pictures.shape[:2]
    number = xy.shape[1]
    layer = torch.arange(1, count + 1, device=xy.device).repeat_interleave(number).expand(batch, -1)
    places = Places(scene.motion, scene.mesh, layer, frame.repeat(1, count))
    texture = places.texture(xy.repeat(1, count, 1)).unflatten(1, (count, number))
    return opacity(scene.pictures, texture)


def _seen_points(dice: Dice, scene: _Scene, config: SynthConfig) -> tuple[Tensor, Tensor]:
    """Random points of what is seen in random frames -> texture positions [B,n,2], layers int64 [B,n].

    n is somewhat more than `config.points`. Layers of which little is seen are preferred, so that small and thin
    things get their share.
    """
    batch = len(scene.lag)
    number = CANDIDATES * config.points
    height, width = config.size
    frame = dice.integers(0, config.frames, batch, number)
    xy = dice.uniform(0, 1, batch, number, 2) * torch.tensor([width, height], device=dice.device)
    above = _opacities(scene, xy, frame)
    order = torch.arange(1, above.shape[1] + 1, device=dice.device)[:, None]
    layer = ((above > 0.5) * order).amax(1) if above.shape[1] else torch.zeros_like(frame)
    own = above.gather(1, (layer - 1).clamp_min(0)[:, None])[:, 0] if above.shape[1] else torch.zeros_like(xy[..., 0])
    clear = (layer == 0) | (own > 0.95)
    seen = torch.zeros(batch, above.shape[1] + 1, device=dice.device).scatter_add_(1, layer, clear.float())
    weight = seen.gather(1, layer).clamp_min(1).pow(-0.6) * clear
    # Weighted choice without replacement: largest log weight + Gumbel noise.
    gumbel = -(-dice.uniform(1e-6, 1, batch, number).log()).log()
    keep = min(number, config.points + config.points // 8 + 1)
    best = (weight.clamp_min(1e-9).log() + gumbel).topk(keep, 1).indices
    layer, frame = layer.gather(1, best), frame.gather(1, best)
    xy = xy.gather(1, best[..., None].expand(-1, -1, 2))
    return Places(scene.motion, scene.mesh, layer, frame).texture(xy), layer

"""The layers of synthetic clips: which there are, what they are cut out of, and their pictures with transparency."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.synth.config import SynthConfig
from tapkit.synth.dice import Dice
from tapkit.synth.motion import Layers
from tapkit.synth.photos import PhotoBank
from tapkit.synth.shapes import SIDE, ShapeBank

SOFT_SHARE, CAST_SHARE, LIMB_SHARE = 0.16, 0.6, 0.22


def texture_size(size: tuple[int, int]) -> tuple[int, tuple[int, int]]:
    """Sides of a layer's texture and (height, width) of the background's, for a frame of `size`."""
    longest = max(size)
    side = min(max(64, longest), 384)
    return side, (round(1.5 * longest / 2) * 2, round(2.25 * longest / 2) * 2)


def random_layers(dice: Dice, config: SynthConfig, shapes: ShapeBank, batch: int) -> tuple[Layers, Tensor]:
    """Draw what the layers of `batch` clips are -> Layers, and outlines int64 [B,L] (unused for layer 0)."""
    fewest, most = config.layers
    count = 1 + fewest + dice.below(most - fewest + 1)
    outline = shapes.draw(dice, batch * count).reshape(batch, count)
    soft = dice.chance(SOFT_SHARE, batch, count)
    soft[:, 0] = False
    casts = dice.chance(CAST_SHARE, batch, count) & soft
    casts[:, :-1] &= ~soft[:, 1:]
    casts[:, -1] = False
    outline[:, :-1] = torch.where(casts[:, :-1], outline[:, 1:], outline[:, :-1])
    thin = shapes.thin[outline]
    size = torch.where(thin, dice.log_uniform(0.6, 1.5, batch, count), dice.log_uniform(0.2, 0.9, batch, count))
    _, (height, _) = texture_size(config.size)
    size[:, 0] = height / max(config.size) * dice.uniform(0.9, 1.4, batch)
    parent = torch.arange(count, device=dice.device).repeat(batch, 1)
    limb = dice.chance(LIMB_SHARE, batch, count)
    share = dice.uniform(0.4, 0.9, batch, count)
    last_solid = torch.zeros(batch, dtype=torch.int64, device=dice.device)
    for layer in range(1, count):
        hangs = limb[:, layer] & ~soft[:, layer] & (last_solid > 0) & ~thin[:, layer]
        parent[:, layer] = torch.where(hangs, last_solid, parent[:, layer])
        on_parent = size.gather(1, last_solid[:, None])[:, 0] * share[:, layer]
        size[:, layer] = torch.where(hangs, on_parent, size[:, layer])
        last_solid = torch.where(soft[:, layer] | thin[:, layer], last_solid, layer)
    for layer in range(1, count - 1):
        size[:, layer] = torch.where(casts[:, layer], size[:, layer + 1], size[:, layer])
    return Layers(size, soft, parent, casts, thin), outline


def background(dice: Dice, config: SynthConfig, photos: PhotoBank, batch: int) -> Tensor:
    """Pictures behind everything -> float [B,3,h,w] in 0..1."""
    _, size = texture_size(config.size)
    index = photos.draw(dice, batch, config.procedural / 2)
    # A halved picture only where it still fills most of the window; the window lies over the picture as far as it can.
    level = dice.integers(0, 2 if size[0] <= 0.8 * photos.size[0] else 1, batch)
    room = torch.tensor(photos.size, device=dice.device) >> level[:, None]
    corner = dice.uniform(0, 1, batch, 2) * (room - torch.tensor(size, device=dice.device))
    return _coloured(dice, photos.windows(index, level, corner.round().long(), size))


def pictures(
    dice: Dice, config: SynthConfig, photos: PhotoBank, shapes: ShapeBank, layers: Layers, outline: Tensor
) -> Tensor:
    """Colours and opacity of the layers 1 to L-1 -> float [B,L-1,4,R,R] in 0..1.

    The detail of a picture is chosen for the size at which it will be seen: about one texel a pixel, so that small
    layers do not flicker.
    """
    batch, count = layers.size.shape
    side, _ = texture_size(config.size)
    if count == 1:
        return torch.empty((batch, 0, 4, side, side), device=dice.device)
    number = batch * (count - 1)
    seen = (layers.size[:, 1:] * max(config.size)).reshape(-1)
    colours = _textures(dice, config, photos, seen, side)
    soft = layers.soft[:, 1:].reshape(-1)
    shade = torch.where(dice.chance(0.65, number), 0.03, 0.97)
    shade = torch.where(layers.casts[:, 1:].reshape(-1), 0.02, shade)
    colours = torch.where(soft[:, None, None, None], shade[:, None, None, None], colours)
    distance = shapes.distances(outline[:, 1:].reshape(-1))
    if side != SIDE:
        distance = F.interpolate(distance, size=(side, side), mode="bilinear", align_corners=False)
    blur = torch.where(soft, dice.log_uniform(2.0, 14.0, number), 1.0)
    depth = torch.where(soft, dice.uniform(0.15, 0.45, number), 1.0)
    alpha = (0.5 + distance * (seen / SIDE / blur)[:, None, None, None]).clamp_(0, 1)
    alpha = torch.where(soft[:, None, None, None], alpha * alpha * (3 - 2 * alpha), alpha)
    drawn = torch.cat([colours, alpha * depth[:, None, None, None]], 1)
    return drawn.view(batch, count - 1, 4, side, side)


def _textures(dice: Dice, config: SynthConfig, photos: PhotoBank, seen: Tensor, side: int) -> Tensor:
    """Pictures for layers `seen` [n] pixels wide -> float [n,3,side,side]."""
    number = len(seen)
    index = photos.draw(dice, number, config.procedural)
    level = dice.integers(0, 3 if side <= 160 else 2, number)
    wanted = (seen * dice.log_uniform(0.6, 1.3, number)).clamp(16, side)
    room = torch.tensor(photos.size, device=dice.device) >> level[:, None]
    corner = (dice.uniform(0, 1, number, 2) * (room - wanted[:, None]).clamp_min(1)).long()
    window = photos.windows(index, level, corner, (side, side))
    share = (wanted / side)[:, None]
    mirrored = torch.where(dice.chance(0.5, number, 1), -1.0, 1.0)
    zero = torch.zeros_like(share)
    # The wanted top-left part of the window fills the texture.
    matrix = torch.stack([torch.cat([share * mirrored, zero, share - 1], 1), torch.cat([zero, share, share - 1], 1)], 1)
    grid = F.affine_grid(matrix, [number, 3, side, side], align_corners=False)
    return _coloured(dice, F.grid_sample(window, grid, padding_mode="border", align_corners=False))


def _coloured(dice: Dice, colours: Tensor) -> Tensor:
    """Other contrast, brightness and tint; at times other hues, or nearly no contrast at all."""
    number = len(colours)
    shape = (number, 1, 1, 1)
    order = torch.stack([torch.randperm(3, generator=dice.generator) for _ in range(number)]).to(colours.device)
    order = torch.where(dice.chance(0.2, number, 1), order, torch.arange(3, device=colours.device))
    colours = colours.gather(1, order[:, :, None, None].expand_as(colours))
    middle = colours.mean((2, 3), keepdim=True)
    contrast = torch.where(dice.chance(0.15, *shape), dice.uniform(0.15, 0.5, *shape), dice.uniform(0.7, 1.3, *shape))
    gain = dice.uniform(0.7, 1.25, *shape) * dice.uniform(0.88, 1.12, number, 3, 1, 1)
    return ((colours - middle) * (contrast * gain) + middle * gain).clamp_(0, 1)

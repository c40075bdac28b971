"""What happens between the scene and the file: light, exposure, defocus, noise, compression.

None of it moves anything: tracks stay exact.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.synth.config import SynthConfig
from tapkit.synth.dice import Dice
from tapkit.synth.motion import random_spline

LIGHT_CELLS = 5
BLOCK = 8


class Look(NamedTuple):
    """Settings of B clips of T frames."""

    light: Tensor
    """[B,T,cells,cells] brightness over the frame, 1 is neutral."""
    exposure: Tensor
    """[B,T,3] factor on each colour."""
    gamma: Tensor
    """[B]."""
    defocus: Tensor
    """[B,T] share of the blurred picture, 0..1."""
    blur: Tensor
    """[B] width of the blur, in pixels."""
    noise: Tensor
    """[B] deviation of the noise at mid-grey, in 0..1."""
    coarseness: Tensor
    """[B] step of the compression in grey levels; 0: none."""


def random_look(dice: Dice, config: SynthConfig, batch: int) -> Look:
    """Draw the look of `batch` clips."""
    frames, strength = config.frames, config.effects
    times = torch.arange(frames, device=dice.device, dtype=torch.float32).expand(batch, -1)
    spacing = dice.number(*config.spacing)
    cells = LIGHT_CELLS * LIGHT_CELLS
    smooth = random_spline(dice, (batch,), frames, 2 * spacing, cells + 3).at(times)
    light = smooth[..., :cells] * (strength * dice.log_uniform(0.01, 0.25, batch))[:, None, None]
    drift = smooth[..., cells:].mean(-1, keepdim=True) + 0.3 * smooth[..., cells:]
    exposure = drift * (strength * dice.log_uniform(0.005, 0.1, batch))[:, None, None]
    moment = dice.integers(1, max(2, frames), batch)
    jump = strength * dice.uniform(-0.6, 0.6, batch) * dice.chance(0.12, batch)
    exposure = exposure + (jump[:, None] * (times >= moment[:, None]))[..., None]
    tint = strength * 0.08 * dice.normal(batch, 1, 3)
    focus = random_spline(dice, (batch,), frames, spacing, 1).at(times)[..., 0]
    defocus = (0.5 + focus).clamp(0, 1) * dice.chance(min(1.0, 0.15 * strength), batch)[:, None]
    return Look(
        light=light.exp().view(batch, frames, LIGHT_CELLS, LIGHT_CELLS),
        exposure=(exposure + tint).exp(),
        gamma=(strength * 0.2 * dice.normal(batch)).exp(),
        defocus=defocus,
        blur=dice.uniform(0.7, 2.2, batch) * max(config.size) / 128,
        noise=strength * dice.log_uniform(0.003, 0.04, batch) * dice.chance(0.6, batch),
        coarseness=strength * dice.log_uniform(4.0, 40.0, batch) * dice.chance(0.35, batch),
    )


def apply_look(frames: Tensor, look: Look, first: int, noise: torch.Generator) -> Tensor:
    """Film frames [B,3,F,H,W] in 0..1, which begin at frame `first` -> uint8 [B,F,3,H,W]."""
    count = frames.shape[2]
    chosen = slice(first, first + count)
    light = F.interpolate(
        look.light[:, chosen], size=frames.shape[3:], mode="bicubic" if LIGHT_CELLS > 2 else "bilinear"
    ).clamp_min_(0)
    frames = frames * light[:, None]
    frames = frames.mul_(look.exposure[:, chosen].transpose(1, 2)[..., None, None]).clamp_(1e-4, 1)
    bent = (look.gamma - 1).abs() > 0.05
    if bent.any():
        frames[bent] = frames[bent].pow(look.gamma[bent][:, None, None, None, None])
    frames = frames.transpose(1, 2)
    defocused = (look.defocus[:, chosen] > 0).any(1)
    for clip in defocused.nonzero()[:, 0].tolist():
        soft = gaussian(frames[clip], float(look.blur[clip]))
        frames[clip] = torch.lerp(frames[clip], soft, look.defocus[clip, chosen][:, None, None, None])
    frames = frames * 255
    if bool((look.noise > 0).any()):
        _add_noise(frames, look.noise, noise)
    squeezed = look.coarseness > 0
    if squeezed.any():
        frames[squeezed] = compressed(frames[squeezed], look.coarseness[squeezed])
    return frames.add_(0.5).clamp_(0, 255).to(torch.uint8)


def _add_noise(frames: Tensor, deviation: Tensor, generator: torch.Generator) -> None:
    """Grey noise that grows with the root of brightness, and a little of it in each colour, in place."""
    batch, count, _, height, width = frames.shape
    shape = (batch, count, 1, height, width)
    grey = torch.randn(shape, generator=generator, device=frames.device)
    shift = torch.randn(shape, generator=generator, device=frames.device)
    mix = grey.new_tensor([1.0, 0.0, -1.0])[:, None, None] * 0.4
    scale = (deviation * 255)[:, None, None, None, None]
    bright = (frames.mean(2, keepdim=True) * (2 / 255) + 0.1).sqrt_()
    frames.addcmul_(bright * scale, grey).addcmul_(bright * scale * shift, mix)


def gaussian(frames: Tensor, deviation: float) -> Tensor:
    """Gaussian blur of frames [F,C,H,W], as two matrix products; the share beyond a border goes to what is inside."""

    def band(length: int) -> Tensor:
        ticks = torch.arange(length, device=frames.device, dtype=frames.dtype)
        weights = torch.exp(-0.5 * ((ticks[:, None] - ticks) / deviation).square())
        return weights / weights.sum(1, keepdim=True)

    return band(frames.shape[2]) @ frames @ band(frames.shape[3]).T


def compressed(frames: Tensor, step: Tensor) -> Tensor:
    """JPEG-like loss: 8x8 cosine transforms of brightness and of halved colour, rounded to coarse steps.

    Args:
        frames: float [B,F,3,H,W] in 0..255.
        step: [B], rounding step of the lowest frequency; it grows fourfold towards the highest.
    """
    red, green, blue = frames.unbind(2)
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    colour = torch.stack([(blue - grey) * 0.564, (red - grey) * 0.713], 2)
    height, width = grey.shape[-2:]
    small = F.interpolate(colour.flatten(0, 1), scale_factor=0.5, mode="area", recompute_scale_factor=True)
    grey = _rounded(grey[:, :, None], step)[:, :, 0]
    small = _rounded(small.view(*colour.shape[:3], *small.shape[2:]), step * 1.5)
    colour = F.interpolate(small.flatten(0, 1), size=(height, width), mode="bilinear").view_as(colour)
    red, blue = grey + colour[:, :, 1] / 0.713, grey + colour[:, :, 0] / 0.564
    green = (grey - 0.299 * red - 0.114 * blue) / 0.587
    return torch.stack([red, green, blue], 2)


def _cosines(device: torch.device) -> Tensor:
    """The orthonormal DCT-II matrix [8,8]."""
    k = torch.arange(BLOCK, device=device, dtype=torch.float32)
    matrix = torch.cos(math.pi / BLOCK * k[:, None] * (k[None] + 0.5)) * math.sqrt(2 / BLOCK)
    matrix[0] /= math.sqrt(2)
    return matrix


def _rounded(planes: Tensor, step: Tensor) -> Tensor:
    """planes [B,F,C,H,W] through the rounded transform with steps [B]."""
    batch, count, channels, height, width = planes.shape
    down, right = -height % BLOCK, -width % BLOCK
    flat = planes.flatten(0, 2)[:, None]
    padded = F.pad(flat, (0, right, 0, down), mode="replicate")[:, 0] if down or right else flat[:, 0]
    rows, columns = padded.shape[1] // BLOCK, padded.shape[2] // BLOCK
    blocks = padded.reshape(-1, rows, BLOCK, columns, BLOCK).transpose(2, 3)
    matrix = _cosines(planes.device)
    order = torch.arange(BLOCK, device=planes.device)
    steps = (1 + 3 * (order[:, None] + order) / (2 * BLOCK - 2)) * step[:, None, None]
    steps = steps.repeat_interleave(count * channels, 0)[:, None, None]
    rough = ((matrix @ blocks @ matrix.T) / steps).round() * steps
    back = (matrix.T @ rough @ matrix).transpose(2, 3).flatten(3, 4).flatten(1, 2)
    return back[:, :height, :width].reshape(batch, count, channels, height, width)

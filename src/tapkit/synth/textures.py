"""Procedural textures: noise of many octaves, stripes, checks, dots, bricks and tiles, in random colours.

They stand in where there are no photographs, and add to them what photographs lack: patterns that repeat.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.coords import Size
from tapkit.synth.dice import Dice


def noise(dice: Dice, size: Size, coarsest: int = 4, fall: float = 0.6) -> Tensor:
    """Sum of octaves of smooth noise -> float [H,W], scaled to 0..1.

    Args:
        coarsest: cells along the shorter side in the first octave; doubled in each further one.
        fall: strength of an octave relative to the one before.
    """
    height, width = size
    total = torch.zeros(size, device=dice.device)
    cells, strength = coarsest, 1.0
    while cells <= min(size) // 2:
        rows, columns = math.ceil(cells * height / min(size)), math.ceil(cells * width / min(size))
        octave = F.interpolate(dice.normal(1, 1, rows, columns), size=size, mode="bicubic", align_corners=False)
        total = total + strength * octave[0, 0]
        cells, strength = cells * 2, strength * fall
    low, high = total.aminmax()
    return (total - low) / (high - low).clamp_min(1e-6)


def _plane(dice: Dice, size: Size, period: float) -> tuple[Tensor, Tensor]:
    """Turned coordinates in periods, [H,W] each; rows and columns are warped a little so that no two are the same."""
    height, width = size
    y = torch.arange(height, device=dice.device, dtype=torch.float32)[:, None] + 0.5
    x = torch.arange(width, device=dice.device, dtype=torch.float32)[None, :] + 0.5
    turn = dice.number(0.0, math.pi)
    bend = dice.number(0.0, 0.25) * period * torch.sin(y * dice.number(0.01, 0.05) + x * dice.number(0.01, 0.05))
    u = (math.cos(turn) * x + math.sin(turn) * y + bend) / period
    v = (math.cos(turn) * y - math.sin(turn) * x) / period
    return u, v


def _edge(distance: Tensor, period: float) -> Tensor:
    """0..1 over about 1.5 pixels around distance 0 (given in periods): no jagged edges."""
    return (distance * period / 1.5 + 0.5).clamp(0, 1)


def _stripes(dice: Dice, size: Size, period: float) -> Tensor:
    u, _ = _plane(dice, size, period)
    width = dice.number(0.2, 0.4)
    return _edge(width - (u - u.round()).abs(), period)


def _checks(dice: Dice, size: Size, period: float) -> Tensor:
    u, v = _plane(dice, size, period)
    du, dv = (u - u.round()).abs() - 0.25, (v - v.round()).abs() - 0.25
    a, b = _edge(du, period), _edge(dv, period)
    return a + b - 2 * a * b


def _dots(dice: Dice, size: Size, period: float) -> Tensor:
    u, v = _plane(dice, size, period)
    radius = dice.number(0.15, 0.4)
    return _edge(radius - torch.hypot(u - u.round(), v - v.round()), period)


def _bricks(dice: Dice, size: Size, period: float) -> Tensor:
    u, v = _plane(dice, size, period)
    u = u / dice.number(1.5, 3.0) + 0.5 * (v.floor() % 2)
    joint = dice.number(0.03, 0.1)
    gap = torch.minimum((u - u.round()).abs() * 2, (v - v.round()).abs())
    shade = torch.sin(u.round() * 12.99 + v.floor() * 78.23) * 0.25 + 0.65
    return _edge(gap - joint, period) * shade


def _tiles(dice: Dice, size: Size, period: float) -> Tensor:
    """A patch of noise, repeated: every tile looks the same."""
    u, v = _plane(dice, size, period)
    patch = noise(dice, (32, 32), coarsest=2, fall=0.8)
    grid = torch.stack([(u % 1) * 2 - 1, (v % 1) * 2 - 1], -1)[None]
    return F.grid_sample(patch[None, None], grid, padding_mode="reflection", align_corners=False)[0, 0]


def _grain(dice: Dice, size: Size, period: float) -> Tensor:
    return noise(dice, size, coarsest=max(2, round(min(size) / period / 2)), fall=dice.number(0.5, 0.95))


def _marble(dice: Dice, size: Size, period: float) -> Tensor:
    u, v = _plane(dice, size, period)
    return 0.5 + 0.5 * torch.sin(2 * math.pi * (u + dice.number(1, 4) * noise(dice, size) + 0.3 * v))


_PATTERNS: tuple[Callable[[Dice, Size, float], Tensor], ...] = (
    _grain,
    _stripes,
    _grain,
    _checks,
    _marble,
    _dots,
    _grain,
    _bricks,
    _tiles,
)


def procedural(count: int, size: Size, dice: Dice) -> Tensor:
    """`count` textures -> uint8 [count,H,W,3]. Patterns take turns; colours, periods and wear are random."""
    textures = torch.empty((count, *size, 3), dtype=torch.uint8, device=dice.device)
    for index in range(count):
        pattern = _PATTERNS[index % len(_PATTERNS)]
        mix = pattern(dice, size, dice.number(8.0, min(size) / 3))
        first, second, third = dice.uniform(0, 1, 3, 3)
        wear = noise(dice, size, coarsest=3, fall=0.8)[..., None]
        image = torch.lerp(first, second, mix[..., None])
        image = torch.lerp(image, third, wear * dice.number(0.1, 0.6))
        image = image * (1 + dice.number(0.05, 0.35) * (noise(dice, size, coarsest=16, fall=0.9)[..., None] - 0.5))
        textures[index] = (image.clamp(0, 1) * 255 + 0.5).to(torch.uint8)
    return textures

"""Sinusoidal encodings of positions and displacements, as the published trackers use them.

They are always computed in float32 or better: frequencies of up to 969 radians per cell amplify rounding a
thousandfold.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sincos_table(positions: Tensor, channels: int) -> Tensor:
    """Transformer position codes [P,channels] of positions [P]: all sines, then all cosines (Vaswani et al. 2017).

    Frequency k of the channels / 2 is 10000^(-k / (channels / 2)). Computed in float64, returned in float32.
    """
    half = channels // 2
    frequency = 10000.0 ** (-torch.arange(half, dtype=torch.float64, device=positions.device) / half)
    angle = positions.double()[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], 1).float()


def linear_sincos(x: Tensor, channels: int = 64, top: float = 1000.0) -> Tensor:
    """Codes of x [...] with linearly spaced frequencies -> [...,channels]: sine and cosine alternate.

    Frequency k is 2k top / channels radians per unit (PIPs' supplement; CoTracker took it over).
    """
    frequency = torch.arange(0, channels, 2, dtype=torch.float32, device=x.device) * (top / channels)
    angle = x.float()[..., None] * frequency
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(-2)


def octave_sines(x: Tensor, octaves: int) -> Tensor:
    """x [...,C] with its sines at frequencies 2^0 .. 2^(octaves-1), then the same shifted by a quarter period.

    -> [...,C + 2 C octaves]; octaves are the slow index, components the fast one (no factor pi in the sine).
    """
    angle = (x.float()[..., None, :] * 2.0 ** torch.arange(octaves, device=x.device)[:, None]).flatten(-2)
    return torch.cat([x.float(), angle.sin(), (angle + math.pi / 2).sin()], -1)

"""Random numbers of synthetic data: drawn on the CPU, so that a seed gives the same clips on every device."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Dice:
    """Draws from one CPU generator and hands the numbers to `device`."""

    def __init__(self, generator: torch.Generator | int, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.generator = generator if isinstance(generator, torch.Generator) else torch.Generator()
        if not isinstance(generator, torch.Generator):
            self.generator.manual_seed(generator)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """float32 in [low, high)."""
        return (torch.rand(shape, generator=self.generator) * (high - low) + low).to(self.device)

    def log_uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """float32 in [low, high), equally often in each octave."""
        return (torch.rand(shape, generator=self.generator) * math.log(high / low)).exp().mul(low).to(self.device)

    def normal(self, *shape: int) -> Tensor:
        """float32, mean 0, deviation 1."""
        return torch.randn(shape, generator=self.generator).to(self.device)

    def chance(self, share: float, *shape: int) -> Tensor:
        """bool, true with probability `share`."""
        return (torch.rand(shape, generator=self.generator) < share).to(self.device)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """int64 in [low, high)."""
        return torch.randint(low, high, shape, generator=self.generator).to(self.device)

    def number(self, low: float, high: float) -> float:
        """One number in [low, high)."""
        return float(torch.rand((), generator=self.generator)) * (high - low) + low

    def log_number(self, low: float, high: float) -> float:
        """One number in [low, high), equally often in each octave."""
        return low * math.exp(self.number(0.0, math.log(high / low)))

    def happens(self, share: float) -> bool:
        """True with probability `share`."""
        return self.number(0.0, 1.0) < share

    def below(self, count: int) -> int:
        """One of 0..count-1."""
        return int(torch.randint(0, count, (), generator=self.generator))

    def on_device(self) -> torch.Generator:
        """A generator on the device, seeded from this one: for noise of every pixel."""
        generator = torch.Generator(device=self.device)
        generator.manual_seed(int(torch.randint(0, 2**62, (), generator=self.generator)))
        return generator

"""Layers of a few outputs."""

from __future__ import annotations

from torch import Tensor, nn


class Narrow(nn.Linear):
    """A linear layer that stays float32 whatever the others are, x of any type.

    It has next to nothing to multiply: on a processor to ask oneDNN for it takes five times as long as to do it.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x [...,in] -> float32 [...,out]."""
        return super().forward(x.float()).float()

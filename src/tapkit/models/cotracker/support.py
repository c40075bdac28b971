"""Support points: points nobody asked for, tracked along because CoTracker tracks better together.

They are always stripped from the results. Positions here are pixels of the network's input, centres at integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tapkit.coords import Size
from tapkit.parsing import read_counts

LOCAL_EXTENT = 50
"""Side of the square around a query that the local grid covers, pixels of the network's input."""


def grid_points(count: int, size: Size, center: Tensor | None = None) -> Tensor:
    """The authors' grid of count x count points [count^2,2] (x, y), row by row, over an area of `size` (h, w).

    The margin is w / 64 on all sides. `center` [...,2] (x, y) moves the grid, and then gives [...,count^2,2]; by
    default it lies at (w / 2, h / 2).

    >>> grid_points(2, (384, 512)).tolist()
    [[8.0, 8.0], [504.0, 8.0], [8.0, 376.0], [504.0, 376.0]]
    """
    height, width = size
    device = None if center is None else center.device
    if count == 1:
        offsets = torch.zeros(1, 2, device=device)
    else:
        margin = width / 64
        x = torch.linspace(margin - width / 2, width / 2 - margin, count, device=device)
        y = torch.linspace(margin - height / 2, height / 2 - margin, count, device=device)
        offsets = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).flatten(0, 1)
    return (torch.tensor([width / 2, height / 2]) if center is None else center[..., None, :]) + offsets


@dataclass(frozen=True)
class Support:
    """Which support points go along.

    Written "none", "global:6" (a 6x6 grid over the frame), "local:8" (an 8x8 grid around every query),
    "uniform:100" (random in space and time, offline models only), or several of them joined by "+".
    """

    local: int = 0
    """Points a side of the grid around every query."""
    whole: int = 0
    """Points a side of the grid over the whole frame."""
    uniform: int = 0
    """Points anywhere in the clip."""

    @classmethod
    def parse(cls, text: str) -> Support:
        """From the written form. Raises `UsageError` for anything else."""
        letters = {"global": "G", "local": "G", "uniform": "N"}
        counts = read_counts(text, "support", letters, "local:8+global:5")
        return cls(counts.get("local", 0), counts.get("global", 0), counts.get("uniform", 0))

    def around(self, xy: Tensor) -> Tensor:
        """The local grids of queries at xy [n,2] -> [n,local^2,2]."""
        if not self.local:
            return xy.new_zeros(len(xy), 0, 2)
        return grid_points(self.local, (LOCAL_EXTENT, LOCAL_EXTENT), xy)

    def everywhere(self, size: Size) -> Tensor:
        """The global grid over a frame of `size` -> [whole^2,2]."""
        return grid_points(self.whole, size) if self.whole else torch.zeros(0, 2)

    def anytime(self, frames: int, size: Size) -> Tensor:
        """The uniform points of a clip, the same for equal clips -> [uniform,3] (t, x, y)."""
        generator = torch.Generator().manual_seed(0)
        height, width = size
        t = torch.randint(frames, (self.uniform, 1), generator=generator)
        xy = torch.rand(self.uniform, 2, generator=generator) * torch.tensor([width - 1.0, height - 1.0])
        return torch.cat([t.float(), xy], 1)

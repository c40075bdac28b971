"""Support points: points nobody asked for, tracked along because TAPTRs are trained on 800 points at a time.

They are always stripped from the results. Positions here are pixels of a frame of 256x256, pixel centres at integers,
as in the authors' evaluation; the frame is that large whatever its shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tapkit.parsing import read_counts

SIDE = 256
MARGIN = SIDE // 16
LATEST = 12
"""Shared support points start on one of so many first frames."""
REACH = 24.0
"""How far local grids go."""


@dataclass(frozen=True)
class Support:
    """Which support points go along.

    Written "none", "random:800" (random ones, so that there are 800 points with those asked for), "grid:6" (a 6x6 grid
    over the frame), "local:8" (an 8x8 grid around every query), or several of them joined by "+".
    """

    local: int = 0
    """Points a side of the grid around every query."""
    grid: int = 0
    """Points a side of the grid over the whole frame."""
    random: int = 0
    """Points there are to be in all."""

    @classmethod
    def parse(cls, text: str) -> Support:
        """From the written form. Raises `UsageError` for anything else."""
        letters = {"random": "N", "grid": "G", "local": "G"}
        return cls(**read_counts(text, "support", letters, "local:8+grid:6"))

    @property
    def own(self) -> int:
        """Points that belong to one query: itself and those around it. (The grid's middle one is left out.)"""
        return max(self.local**2, 1)

    def around(self) -> Tensor:
        """Offsets of a query's own points from it [own,2], its own first; x is the fast index."""
        if self.own == 1:
            return torch.zeros(1, 2)
        steps = torch.linspace(-REACH, REACH, self.local)
        offsets = torch.cartesian_prod(steps, steps).flip(-1)
        middle = len(offsets) // 2
        return torch.cat([torch.zeros(1, 2), offsets[:middle], offsets[middle + 1 :]])

    def shared(self, xy: Tensor) -> Tensor:
        """Support points of nobody in particular [M,3] (t, x, y), t counted from the first frame.

        xy [P,2]: where the points asked for (and their own) start.
        """
        draws = np.random.RandomState(0)
        parts = [random_points(xy, self.random, draws)] if self.random else []
        if self.grid:
            # The authors' frames are drawn anew in every run; here they are always the same.
            parts.append(torch.cat([_starts(self.grid**2, draws), grid_points(self.grid)], 1))
        return torch.cat(parts) if parts else torch.zeros(0, 3)


def grid_points(count: int) -> Tensor:
    """A grid of count x count points over the frame [count^2,2], row by row."""
    steps = torch.linspace(MARGIN, SIDE - 1 - MARGIN, count)
    return torch.cartesian_prod(steps, steps).flip(-1).view(-1, 2)


def random_points(xy: Tensor, total: int, draws: np.random.RandomState) -> Tensor:
    """As many random points as are missing to `total`: [total-P,3] (t, x, y).

    The released code looks for whole positions that are a pixel or more from all others, with the given ones at the
    head of its list; it stops when the list, not what was added to it, is as long as needed. So the given points
    come once more, in front. With a fresh `RandomState(0)` the draws are the authors'.
    """
    missing = total - len(xy)
    if missing <= 0:
        return torch.zeros(0, 3)
    count, found = len(xy), np.zeros((max(len(xy), missing), 2))
    found[:count] = xy.cpu().double().numpy()
    while count < missing:
        candidate = draws.randint(MARGIN, SIDE - MARGIN, 2)
        if not count or float(np.linalg.norm(found[:count] - candidate, axis=1).min()) >= 1:
            found[count] = candidate
            count += 1
    places = torch.from_numpy(found[-missing:]).float()
    return torch.cat([_starts(missing, draws), places], 1)


def _starts(count: int, draws: np.random.RandomState) -> Tensor:
    return torch.from_numpy(draws.randint(0, LATEST, count)).float()[:, None]

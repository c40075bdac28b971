"""Where a point is exactly: what its last look read of the query's patches, taken in by two layers of their own.

Looks (`look`) are learned while points are followed, where pixels nearly always lead to the right place: features learn
to be believed where pixels fail, not to correct them by a pixel. These layers are learned from pairs of frames that lie
any time apart, under other views and other light, so that they find the query again whatever happened in between, and
what they find does not slide.

The products are those of a look (local 4D correlation: Cho et al., LocoTrack, ECCV 2024, section 3.2), the place a
soft-argmax of them that the layers correct, and how far off that may be is learned with it, as the width of a Laplace
distribution (A. Kendall and Y. Gal, What Uncertainties Do We Need, NeurIPS 2017, section 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tapkit.models.strand.correlation import cells_around, correlate
from tapkit.models.strand.encoder import STRIDES, Maps, StrandConfig
from tapkit.models.strand.intake import Intake
from tapkit.models.strand.look import Reading
from tapkit.models.strand.narrow import Narrow
from tapkit.nn.packed import Linear

WIDTH = 384
"""Of the layer that takes in the products."""
HALF = 2.0
"""Pixels: a place that is known so well is believed by half."""
WIDEST = 4.0
"""The logarithm of a width is at most so much, and at least half of it below 0."""


class Refined(NamedTuple):
    """Where M points are."""

    xy: Tensor
    """[M,2] pixels."""
    spread: Tensor
    """[M] logarithm of how many pixels that is off, about."""


class Refine(nn.Module):
    """See the module."""

    offsets: Tensor

    def __init__(self, config: StrandConfig) -> None:
        super().__init__()
        self.radius = config.radius
        cells = (2 * config.radius + 1) ** 2
        self.enter = Intake(tuple((2 * patch + 1) ** 2 for patch in config.patches), cells, WIDTH)
        self.mix = Linear(WIDTH, config.hidden)
        self.cells, self.place = Linear(config.hidden, cells), Narrow(config.hidden, 3)
        self.sharpness = nn.Parameter(torch.full((), 2.5))
        for layer in (self.cells, self.place):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.register_buffer("offsets", cells_around(config.radius), persistent=False)

    def forward(self, own: Sequence[Tensor], xy: Tensor) -> Refined:
        """Of products [M,(2r+1)^2,P] of the query's patches with the cells around xy [M,2], on each map."""
        dtype = self.enter.weight.dtype
        taken = torch.cat([self.enter.in_order(part.to(dtype)) for part in own], 1)
        token = self.mix(self.enter(taken, "gelu"), "gelu")
        middle = own[0][..., own[0].shape[2] // 2].float()
        logits = middle * self.sharpness.float().exp() + self.cells(token).float()
        place = self.place(token)
        moved = logits.softmax(-1) @ self.offsets + place[:, :2]
        return Refined(xy + STRIDES[0] * moved, place[:, 2].clamp(-WIDEST / 2, WIDEST))

    def around(self, maps: Maps, query: tuple[Tensor, ...], owner: Tensor, xy: Tensor) -> Refined:
        """Look for the patches of queries [M,P,C], of each map, around xy [M,2] on frames owner [M]."""
        products = correlate(maps, query[: len(STRIDES)], owner, xy[:, None], self.radius)
        found: Refined = self(list(products.blended()), xy)
        return found

    def held(self, xy: Tensor, visible: Tensor, readings: list[Reading]) -> Tensor:
        """Answers [M,2] of a look, moved to where the query is the more the surer that is; hidden ones stay.

        `visible` [M] logits, `readings` of the look: what it has read serves again, so that nothing but the layers here
        is to be computed. The gradient goes to both: to the answer, and to where it is moved.
        """
        parts = [self(reading.own, reading.xy.detach()) for reading in readings]
        found = parts[0] if len(parts) == 1 else Refined(*(torch.cat(part) for part in zip(*parts, strict=True)))
        share = (visible.detach() > 0) / (1 + (found.spread.exp() / HALF).square())
        moved: Tensor = xy + share[:, None] * (found.xy - xy.detach())
        return moved

"""Where a point is exactly: its query's patches and the cells around an answer, read by two layers of their own.

Looks (`look`) are learned while points are followed, where pixels nearly always lead to the right place: features learn
to be believed where pixels fail, not to correct them by a pixel. These layers are learned from pairs of frames that lie
any time apart, under other views and other light, so that they find the query again whatever happened in between, and
what they find does not slide.

The products are those of a look (local 4D correlation: Cho et al., LocoTrack, ECCV 2024, section 3.2), the place a
soft-argmax of them that the layers correct, and how far off that may be is learned with it, as the width of a Laplace
distribution (A. Kendall and Y. Gal, What Uncertainties Do We Need, NeurIPS 2017, section 3).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tapkit.models.strand.encoder import STRIDES, Maps, StrandConfig
from tapkit.models.strand.look import correlate
from tapkit.models.strand.narrow import Narrow
from tapkit.models.strand.rows import LOOKS, rows_at_once
from tapkit.nn.packed import Linear

WIDTH = 384
"""Of the layer that takes in the products."""
HALF = 3.0
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
        self.enter = Linear(sum((2 * patch + 1) ** 2 for patch in config.patches) * cells, WIDTH)
        self.mix = Linear(WIDTH, config.hidden)
        self.cells, self.place = Linear(config.hidden, cells), Narrow(config.hidden, 3)
        self.sharpness = nn.Parameter(torch.full((), 2.5))
        for layer in (self.cells, self.place):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        steps = torch.arange(-config.radius, config.radius + 1, dtype=torch.float32)
        self.register_buffer("offsets", torch.cartesian_prod(steps, steps), persistent=False)

    def forward(self, maps: Maps, query: tuple[Tensor, ...], owner: Tensor, xy: Tensor) -> Refined:
        """Look for the patches of queries [M,P,C], of each map, around xy [M,2] on frames owner [M]."""
        found = []
        for rows in rows_at_once(len(xy), xy.device, LOOKS):
            patches = tuple(level[rows] for level in query[: len(STRIDES)])
            found.append(self._refined(maps, patches, owner[rows], xy[rows]))
        return found[0] if len(found) == 1 else Refined(*(torch.cat(part) for part in zip(*found, strict=True)))

    def _refined(self, maps: Maps, query: tuple[Tensor, ...], owner: Tensor, xy: Tensor) -> Refined:
        volumes = list(correlate(maps, query, owner, xy[:, None], self.radius).blended())
        dtype = self.enter.weight.dtype
        taken = torch.cat([volume.to(dtype).transpose(1, 2).flatten(1) for volume in volumes], 1)
        token = self.mix(self.enter(taken, "gelu"), "gelu")
        middle = volumes[0][..., volumes[0].shape[2] // 2]
        logits = middle * self.sharpness.float().exp() + self.cells(token).float()
        place = self.place(token)
        moved = logits.softmax(-1) @ self.offsets + place[:, :2]
        return Refined(xy + STRIDES[0] * moved, place[:, 2].clamp(-WIDEST / 2, WIDEST))

    def held(self, maps: Maps, query: tuple[Tensor, ...], owner: Tensor, xy: Tensor, visible: Tensor) -> Tensor:
        """Answers [M,2], moved to where the query is the more the surer that is; hidden ones stay.

        `visible` [M] logits. The gradient goes to both: to the answer, and to where it is moved.
        """
        found = self(maps, query, owner, xy.detach())
        share = (visible.detach() > 0) / (1 + (found.spread.exp() / HALF).square())
        moved: Tensor = xy + share[:, None] * (found.xy - xy.detach())
        return moved

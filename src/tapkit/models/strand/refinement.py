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
from tapkit.models.strand.look import Reading, cells_around, correlate, correlate_again
from tapkit.models.strand.narrow import Narrow
from tapkit.models.strand.rows import LOOKS, rows_at_once
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
        self.enter = Linear(sum((2 * patch + 1) ** 2 for patch in config.patches) * cells, WIDTH)
        self.mix = Linear(WIDTH, config.hidden)
        self.cells, self.place = Linear(config.hidden, cells), Narrow(config.hidden, 3)
        self.sharpness = nn.Parameter(torch.full((), 2.5))
        for layer in (self.cells, self.place):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.register_buffer("offsets", cells_around(config.radius), persistent=False)

    def forward(
        self,
        maps: Maps,
        query: tuple[Tensor, ...],
        owner: Tensor,
        xy: Tensor,
        before: list[Reading] | None = None,
    ) -> Refined:
        """Look for the patches of queries [M,P,C], of each map, around xy [M,2] on frames owner [M].

        `before` are the readings of a look of the same points nearby, whose templates began with these patches; they
        are used up.
        """
        found = []
        for part, rows in enumerate(rows_at_once(len(xy), xy.device, LOOKS)):
            patches = tuple(level[rows] for level in query[: len(STRIDES)])
            where = (maps, patches, owner[rows], xy[rows, None], self.radius)
            if before is None:
                products = correlate(*where)
            else:
                read = before[part].products
                values = zip(read.values, patches, strict=True)
                same = read._replace(values=tuple(value[..., : patch.shape[1]] for value, patch in values))
                products = correlate_again(same, *where)
            found.append(self._refined(list(products.blended()), xy[rows]))
        return found[0] if len(found) == 1 else Refined(*(torch.cat(part) for part in zip(*found, strict=True)))

    def _refined(self, volumes: list[Tensor], xy: Tensor) -> Refined:
        """Of products [M,(2r+1)^2,P] with the cells around xy [M,2] of each map."""
        dtype = self.enter.weight.dtype
        taken = torch.cat([volume.to(dtype).transpose(1, 2).flatten(1) for volume in volumes], 1)
        token = self.mix(self.enter(taken, "gelu"), "gelu")
        middle = volumes[0][..., volumes[0].shape[2] // 2]
        logits = middle * self.sharpness.float().exp() + self.cells(token).float()
        place = self.place(token)
        moved = logits.softmax(-1) @ self.offsets + place[:, :2]
        return Refined(xy + STRIDES[0] * moved, place[:, 2].clamp(-WIDEST / 2, WIDEST))

    def held(
        self,
        maps: Maps,
        query: tuple[Tensor, ...],
        owner: Tensor,
        xy: Tensor,
        visible: Tensor,
        before: list[Reading] | None = None,
    ) -> Tensor:
        """Answers [M,2], moved to where the query is the more the surer that is; hidden ones stay.

        `visible` [M] logits, `before` as in `forward`: on a processor most of their products are those that are wanted
        here. The gradient goes to both: to the answer, and to where it is moved.
        """
        if torch.is_grad_enabled() or xy.device.type != "cpu":
            before = None
        found = self(maps, query, owner, xy.detach(), before)
        share = (visible.detach() > 0) / (1 + (found.spread.exp() / HALF).square())
        moved: Tensor = xy + share[:, None] * (found.xy - xy.detach())
        return moved

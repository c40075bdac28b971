"""What speaks for a point itself being where it is looked for, and not something that lies over it or looks like it.

The recurrent state follows whatever the look sees: where a hand moves over a point, pixels, memory and state go with
the hand, and each says that all is well. These numbers ask the query: do its features, cell by cell, and its pixels
fit here; does another place of the frame fit better; how did the point get here. A correction of both answers is read
from them (verification of a returning target: Kalal et al., Tracking-Learning-Detection, PAMI 2012, section 5). It
begins as none, so that weights from before this part can go on from where they are.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tapkit.models.base import Size
from tapkit.models.strand.frame_motion import unit_of
from tapkit.models.strand.matching import Matching
from tapkit.models.strand.narrow import Narrow
from tapkit.nn.packed import Linear

COUNT = 19
"""How many numbers."""
WIDTH = 64
JUMP = 24.0
"""Pixels of a frame of 256x256 (of that many pixels, whatever its shape): nothing goes further from one frame to the
next without being looked at once more before it is called visible."""
UNVERIFIED = -2.0
"""Logit of P(visible) at most after such a jump."""


class Course(NamedTuple):
    """How M points got where they are."""

    step: Tensor
    """[M] pixels from the place on the frame before."""
    away: Tensor
    """[M] pixels from where they were expected."""
    elsewhere: Tensor
    """[M] 1 where matching led here, 0 where pixels or momentum did."""
    seen: Tensor
    """[M] P(visible) on the frame before."""


def agreement(templates: tuple[Tensor, ...], seen: tuple[Tensor, ...]) -> Tensor:
    """Products of patches [M,K,C] with those seen here: of the middle cells, and their mean, of each map [M,6]."""
    parts = []
    for kept, here in zip(templates[:3], seen[:3], strict=True):
        products = (kept * here).sum(-1)
        parts += [products[:, products.shape[1] // 2], products.mean(-1)]
    return torch.stack(parts, -1)


def coarse_agreement(agreed: Tensor) -> Tensor:
    """Of `agreement` [M,6], the mean of the middle cells of the two coarser maps [M]."""
    return (agreed[:, 2] + agreed[:, 4]) / 2


def rival(matching: Matching, xy: Tensor) -> Tensor:
    """By how much the best cell of the frame beats the best of those around xy [M,2]: [M], 0 where that is the best."""
    return matching.best - matching.near(xy)


def gathered(query: Tensor, memory: Tensor, better: Tensor, similarity: Tensor, fits: Tensor, course: Course) -> Tensor:
    """All numbers [M,COUNT]; `agreement` with query and memory [M,6], `rival` [M], the pixels' similarity with those of
    the frame before [M,2] and the query's [M]."""
    rest = [
        torch.tanh(better / 4),
        fits,
        torch.log1p(course.step) / 4,
        torch.log1p(course.away) / 4,
        course.elsewhere * (1 - course.seen),
    ]
    return torch.cat([query, memory, similarity, torch.stack(rest, -1)], -1)


class Verify(nn.Module):
    """The correction of the logits of visibility and confidence: from the numbers [M,COUNT] and the state: [M,2]."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.enter = Linear(COUNT + hidden, WIDTH)
        self.leave = Narrow(WIDTH, 2)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, numbers: Tensor, hidden: Tensor) -> Tensor:
        """See the class."""
        seen = torch.cat([numbers, hidden], -1).to(self.enter.weight.dtype)
        more: Tensor = self.leave(self.enter(seen, "gelu"))
        return more


def unless_jumped(visible: Tensor, step: Tensor, size: Size) -> Tensor:
    """The logit of P(visible) [M], lowered where a point went further than `JUMP` from the frame before.

    step [M] pixels, size (h, w) of the frame. If it is still there on the next frame, it may be visible.
    """
    far = step > JUMP * unit_of(size)
    return torch.where(far, visible.clamp(max=UNVERIFIED), visible)

"""DOT's refiner: a RAFT at stride 4 that refines a flow and, beside it, who is visible (Le Moing et al., CVPR 2024,
arXiv:2312.00786, section 3.2; the rest is `tapkit.flow.raft.network`).

Visibility is held as a logit for each cell. The motion encoder sees it as a third channel beside the flow, followed by
two channels of zeros; a head of its own moves it, and a mask of its own enlarges it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.flow.raft.correlation import Correlation
from tapkit.flow.raft.network import LEVELS, Head, Raft, RaftConfig, cell_indices
from tapkit.nn.convex import convex_upsample

REFINER = RaftConfig(
    (64, 96, 128),
    False,
    256,
    128,
    128,
    4,
    (256, 192),
    (128, 64),
    123,
    ((1, 5), (5, 1)),
    256,
    True,
    False,
    context_instance=True,
    stride=4,
    state=5,
)
EPSILON = 1e-5
"""How far from 0 and 1 the coarse visibilities are taken."""


class Refinement(NamedTuple):
    """One iteration for P pairs: what went in and what came out."""

    correlation: Tensor
    """[P,lookups,h,w] at the targets as the iteration found them."""
    hidden: Tensor
    """[P,hidden,h,w] after the update."""
    flow_before: Tensor
    """[P,2,h,w] cells."""
    logit_before: Tensor
    """[P,1,h,w] of P(visible)."""
    flow: Tensor
    """[P,2,h,w] after the increment, cells."""
    logit: Tensor
    """[P,1,h,w] after the increment."""


class Refiner(Raft):
    """The network."""

    def __init__(self) -> None:
        super().__init__(REFINER)
        self.alpha = Head(REFINER.hidden, REFINER.head, 1, 3)
        self.alpha_mask = Head(REFINER.hidden, 256, 9 * REFINER.stride**2, 1)

    @property
    def dtype(self) -> torch.dtype:
        """In which the layers work; flow, visibility and correlations are float32 always."""
        bias = self.head.out.bias
        assert bias is not None
        return bias.dtype

    def refine(
        self, first: Tensor, second: Tensor, context: Tensor, flow: Tensor, visible: Tensor, iterations: int
    ) -> Iterator[Refinement]:
        """Refine coarse motion of P pairs.

        Args:
            first, second: matching maps [P,C,h,w].
            context: the context encoder's map [P,C',h,w] of the first frames.
            flow: coarse flow [P,2,h,w], cells.
            visible: coarse visibility in the second frames [P,1,h,w], 0 or 1.
            iterations: how many.
        """
        dtype = self.dtype
        correlation = Correlation(first, second, self.config.radius, LEVELS)
        hidden, rest = self.begin(context)
        fixed = [gru.get_submodule("fixed")(rest) for gru in self.gru]
        cells = cell_indices((flow.shape[-2], flow.shape[-1]), flow.device)
        # In float32 the two bounds are not symmetric (1 - 1e-5 is rounded), and the published weights know them so.
        logit = torch.logit(visible.float(), eps=EPSILON)
        nothing = torch.zeros_like(flow)
        for _ in range(iterations):
            looked_up = correlation.at(cells + flow)
            state = torch.cat([flow, logit, nothing], 1).contiguous(memory_format=torch.channels_last)
            motion = self.motion(looked_up.to(dtype), state.to(dtype))
            for gru, own in zip(self.gru, fixed, strict=True):
                hidden = gru(hidden, motion, own)
            before, known = flow, logit
            flow, logit = flow + self.head(hidden).float(), logit + self.alpha(hidden).float()
            yield Refinement(looked_up, hidden, before, known, flow, logit)

    def enlarge_both(self, step: Refinement) -> tuple[Tensor, Tensor]:
        """The flow [P,2,4h,4w] in pixels and P(visible) [P,4h,4w] of an iteration."""
        stride = self.config.stride
        flow = convex_upsample(stride * step.flow, self.mask_logits(step.hidden).float(), stride)
        logit = convex_upsample(step.logit, self.alpha_mask_logits(step.hidden).float(), stride)
        return flow, logit[:, 0].sigmoid()

    def alpha_mask_logits(self, hidden: Tensor) -> Tensor:
        """Logits [P,144,h,w] of the weights that enlarge the visibility."""
        logits: Tensor = self.alpha_mask(hidden)
        return logits.mul_(0.25)

    def prepared(self, frames: Tensor, size: tuple[int, int]) -> Tensor:
        """Frames [B,3,h,w] uint8 at `size` (bilinear, no antialiasing, as the authors resize), in [-1,1]."""
        x = frames.float()
        if x.shape[-2:] != size:
            x = F.interpolate(x, size, mode="bilinear", align_corners=False)
        return x.mul_(2 / 255).sub_(1).to(self.dtype)

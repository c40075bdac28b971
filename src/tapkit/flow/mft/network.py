"""MFT's network: RAFT, with two heads that say after the last iteration what is hidden and how sure the flow is
(Neoral, Serych and Matas, "MFT: Long-Term Tracking of Every Pixel", WACV 2024, arXiv:2305.12998)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tapkit.flow.raft.network import LARGE, STRIDE, Raft, Step, conv
from tapkit.nn.convex import convex_upsample

INNER = 128
"""Channels within each head."""
SEEN = LARGE.hidden + LARGE.context + LARGE.lookups + 2 + 2 + LARGE.motion + 2
"""Channels of what the heads are given."""


class Said(NamedTuple):
    """What the heads say of every cell of P pairs."""

    occlusion: Tensor
    """float32 [P,2,h,w]: logits of visible and hidden."""
    uncertainty: Tensor
    """float32 [P,1,h,w]: log of the flow's variance in px^2."""


class MftNetwork(Raft):
    """RAFT (large) and the two heads, whose first convolutions are one."""

    def __init__(self) -> None:
        super().__init__(LARGE)
        self.seen = conv(SEEN, 2 * INNER)
        self.occlusion = conv(INNER, 2)
        self.uncertainty = conv(INNER, 1)

    def head_input(self, step: Step, context: Tensor) -> Tensor:
        """What the heads see of the last step: [P,SEEN,h,w]; `context` is the context encoder's map of the first
        frames."""
        rest = self.begin(context)[1]
        parts = (step.hidden, rest, step.correlation, step.flow, step.delta, step.motion)
        seen = torch.cat([part.to(rest.dtype) for part in parts], 1)
        return seen.contiguous(memory_format=torch.channels_last)

    def heads(self, seen: Tensor) -> Said:
        """The heads, of `head_input`."""
        of_occlusion, of_uncertainty = self.seen(seen, activation="relu").split(INNER, 1)
        return Said(self.occlusion(of_occlusion).float(), self.uncertainty(of_uncertainty).float())

    def enlarged(self, step: Step, said: Said) -> tuple[Tensor, Tensor, Tensor]:
        """In pixels of the padded frames: flow [P,2,8h,8w], P(hidden) [P,8h,8w], and the flow's deviation
        [P,8h,8w] in px, all up-sampled with the same weights."""
        low = torch.cat([STRIDE * step.flow, said.occlusion, said.uncertainty], 1)
        maps = convex_upsample(low, self.mask_logits(step.hidden).float())
        hidden = maps[:, 2:4].softmax(1)[:, 1]
        return maps[:, :2], hidden, (0.5 * maps[:, 4]).exp()

"""MFT's network on pairs of frames: a flow, what is hidden, and how sure the flow is."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

from tapkit.flow.base import Flow, Size
from tapkit.flow.mft.network import MftNetwork
from tapkit.flow.raft.model import RaftFeatures, RaftModel
from tapkit.flow.raft.network import Step

_AT_ONCE = 1 << 31
"""Bytes that the pairs computed together may take on a GPU. A CPU takes one pair after the other: as fast, and flat."""


class MftPairs(RaftModel):
    """A `FlowModel` whose flows have an occlusion, and as uncertainty the standard deviation in px. Features are in
    the precision of the network."""

    network: MftNetwork

    @torch.no_grad()
    def encode(self, frames: Tensor) -> RaftFeatures:
        """See `FlowModel.encode`."""
        x = self.prepared(frames).to(next(self.network.context.parameters()).dtype)
        return RaftFeatures(self.network.matching(x), self.network.context(x))

    @torch.no_grad()
    def flow(self, first: RaftFeatures, second: RaftFeatures, size: Size) -> Flow:
        """See `FlowModel.flow`."""
        steps = self.network.iterate(first.matching, second.matching, first.context, self.settings.iterations)
        step: Step = deque(steps, maxlen=1)[0]
        said = self.network.heads(self.network.head_input(step, first.context))
        return Flow(*(self.cropped(maps, size) for maps in self.network.enlarged(step, said)))

    def maps(self, firsts: list[RaftFeatures], second: RaftFeatures, size: Size) -> list[Tensor]:
        """From each of these frames (leading axis 1) to the second: [1,4,h,w], flow x, y, P(hidden), deviation."""
        at_once = 1 if self.device.type == "cpu" else max(_AT_ONCE // self.pair_bytes(size), 1)
        found: list[Tensor] = []
        for begin in range(0, len(firsts), at_once):
            group = firsts[begin : begin + at_once]
            together = RaftFeatures(*(torch.cat(parts) for parts in zip(*group, strict=True)))
            seconds = RaftFeatures(*(part.expand(len(group), -1, -1, -1) for part in second))
            flow = self.flow(together, seconds, size)
            assert flow.occlusion is not None and flow.uncertainty is not None
            maps = torch.cat([flow.xy, flow.occlusion[:, None], flow.uncertainty[:, None]], 1)
            found += torch.split(maps, 1)
        return found

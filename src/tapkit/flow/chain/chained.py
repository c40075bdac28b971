"""Points carried from frame to frame by the flow between neighbours: the baseline that the field starts from.

Hidden is, as `occlusion` says,
  frame: what lies outside the frame;
  local: also what does not return by the flow back from this frame to the one before (threshold 3 px);
  cycle: also what does not return to its query by all the flows back, chained (threshold 48 px). That chain is kept as
         one field for each frame on which points begin, so that memory does not grow with time.
Distances count in pixels of a 256x256 frame. Outside the frame the border's motion holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tapkit.flow.base import FlowModel, Size
from tapkit.flow.chain.base import FlowTracker, FlowTrackerOptions, check_options, make_flow, used
from tapkit.flow.chain.card import CHAIN
from tapkit.flow.fields import at_points, chained, follow
from tapkit.models.base import Prediction

THRESHOLDS = {"frame": 1.0, "local": 3.0, "cycle": 48.0}


class ChainState(NamedTuple):
    """What is carried from frame to frame."""

    features: Any
    """Of the last frame, leading axis 1."""
    begun: Tensor
    """[] bool: whether there was a frame."""
    xy: Tensor
    """[N,2] float32, corner origin."""
    query: Tensor
    """[N,2] float32: where each point began."""
    owner: Tensor
    """[N] int64: which field of `home` leads each point back."""
    home: Tensor
    """[M,2,h,w] float32: from the last frame back to each frame on which points began ("cycle" only, else M = 0)."""


class FlowChain(FlowTracker):
    """A `CausalModel`; points do not influence each other."""

    card = CHAIN

    def start(self, size: Size) -> ChainState:
        """See `CausalModel.start`."""
        device = self.device
        black = torch.zeros(1, 3, *size, dtype=torch.uint8, device=device)
        return ChainState(
            features=self.flow_model.encode(black),
            begun=torch.tensor(False),
            xy=torch.zeros(0, 2, device=device),
            query=torch.zeros(0, 2, device=device),
            owner=torch.zeros(0, dtype=torch.long, device=device),
            home=torch.zeros(0, 2, *size, device=device),
        )

    def select(self, state: ChainState, rows: Tensor) -> ChainState:
        """See `CausalModel.select`."""
        owner, home = state.owner[rows], state.home
        if len(home):
            entries, owner = used(owner)
            home = home[entries]
        return state._replace(xy=state.xy[rows], query=state.query[rows], owner=owner, home=home)

    def point_bytes(self, size: Size) -> int:
        """See `CausalModel.point_bytes`: positions, and what reading the fields at them takes."""
        return 256

    def step(self, state: ChainState, frame: Tensor, new_xy: Tensor) -> tuple[ChainState, Prediction]:
        """See `CausalModel.step`."""
        size = (frame.shape[-2], frame.shape[-1])
        features = self.flow_model.encode(frame[None])
        xy, home, miss = state.xy, state.home, torch.zeros_like(state.xy)
        if len(xy) and state.begun:
            if self.settings.occlusion == "frame":
                xy = follow(self.flow_model.flow(state.features, features, size).xy, xy[None])[0]
            else:
                there, back = self.both_ways(state.features, features, size)
                xy = follow(there.xy, state.xy[None])[0]
                home = chained(back.xy.expand(len(home), -1, -1, -1), home) if len(home) else home
                miss = self._miss(state, xy, back.xy, home)
        visible = self.visible(miss, xy, size)
        new_xy = new_xy.to(xy.device, torch.float32, copy=True)
        owner = state.owner
        if len(new_xy):
            owner = torch.cat([owner, owner.new_full((len(new_xy),), len(home))])
            if self.settings.occlusion == "cycle":
                home = torch.cat([home, home.new_zeros(1, 2, *size)])
            xy = torch.cat([xy, new_xy])
            visible = torch.cat([visible, visible.new_ones(len(new_xy))])
        query = torch.cat([state.query, new_xy])
        return ChainState(features, torch.tensor(True), xy, query, owner, home), Prediction(xy, visible, visible)

    def _miss(self, state: ChainState, xy: Tensor, back: Tensor, home: Tensor) -> Tensor:
        """By how much (x, y) each point [N,2] misses where it came from."""
        if self.settings.occlusion == "local":
            return follow(back, xy[None])[0] - state.xy
        miss = xy - state.query
        for entry in range(len(home)):
            rows = (state.owner == entry).nonzero()[:, 0]
            miss[rows] += at_points(home[entry : entry + 1], xy[None, rows])[0]
        return miss


def build(weights: Mapping[str, Tensor] | None = None, **options: Any) -> FlowChain:
    """Chained flow; options are the fields of `FlowTrackerOptions` (the flow model's weights are one of them)."""
    settings = FlowTrackerOptions.of(CHAIN.id, options)
    threshold = check_options(settings, THRESHOLDS)
    model: FlowModel = make_flow(settings)
    return FlowChain(settings, model, threshold)

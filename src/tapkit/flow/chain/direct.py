"""Points found on every frame by the flow straight from the frame on which they were queried.

Where the flow model can, the flow to each frame starts from that to the frame before (both leave the same frame, so
nothing has to be warped); the flow back starts from the last flow back, which is off by one frame's motion. Hidden is,
as `occlusion` says,
  frame: what lies outside the frame;
  cycle: also what does not return to its query by the flow back (threshold 48 px of a 256x256 frame).
Outside the frame the border's motion holds. The features of every frame on which points begin are kept while it has
points; memory does not grow with time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tapkit.flow.base import Size, StartsFromFlow
from tapkit.flow.chain.base import FlowTracker, FlowTrackerOptions, check_options, joined, make_flow, rows_of, used
from tapkit.flow.chain.card import DIRECT
from tapkit.flow.fields import at_points
from tapkit.models.base import Prediction

THRESHOLDS = {"frame": 1.0, "cycle": 48.0}


class DirectState(NamedTuple):
    """What is carried from frame to frame."""

    features: Any
    """Of the frames on which points began, leading axis M (one black frame more comes first, for the shape)."""
    guess: Tensor
    """[M+1,...]: what the flow to the next frame starts from."""
    back: Tensor
    """[M+1,...]: what the flow from the next frame back starts from ("cycle" only)."""
    query: Tensor
    """[N,2] float32: where each point began, corner origin."""
    owner: Tensor
    """[N] int64, 1..M: on which of those frames."""


class FlowDirect(FlowTracker):
    """A `CausalModel`; points do not influence each other."""

    card = DIRECT

    def start(self, size: Size) -> DirectState:
        """See `CausalModel.start`."""
        device = self.device
        black = self.flow_model.encode(torch.zeros(1, 3, *size, dtype=torch.uint8, device=device))
        guess = self._flow(black, black, size, None)[1]
        nothing = torch.zeros(0, 2, device=device)
        return DirectState(
            black,
            torch.zeros_like(guess),
            torch.zeros_like(guess),
            nothing,
            torch.zeros(0, dtype=torch.long, device=device),
        )

    def select(self, state: DirectState, rows: Tensor) -> DirectState:
        """See `CausalModel.select`."""
        first = state.owner.new_zeros(1)
        entries, owner = used(torch.cat([first, state.owner[rows]]))
        return DirectState(
            rows_of(state.features, entries), state.guess[entries], state.back[entries], state.query[rows], owner[1:]
        )

    def point_bytes(self, size: Size) -> int:
        """See `CausalModel.point_bytes`: positions, and what reading the fields at them takes."""
        return 256

    def _flow(self, first: Any, second: Any, size: Size, start: Tensor | None) -> tuple[Tensor, Tensor]:
        """The flow [1,2,h,w], and what the next one may start from ([1,0] where the model has no such thing)."""
        if isinstance(self.flow_model, StartsFromFlow):
            found, guess = self.flow_model.flow_from(first, second, size, start)
            return found.xy, guess
        flow = self.flow_model.flow(first, second, size).xy
        return flow, flow.new_zeros(1, 0)

    def step(self, state: DirectState, frame: Tensor, new_xy: Tensor) -> tuple[DirectState, Prediction]:
        """See `CausalModel.step`."""
        size = (frame.shape[-2], frame.shape[-1])
        features = self.flow_model.encode(frame[None])
        xy, miss = state.query.clone(), torch.zeros_like(state.query)
        guess, home = state.guess.clone(), state.back.clone()
        for entry in range(1, len(guess)):
            rows = (state.owner == entry).nonzero()[:, 0]
            first = rows_of(state.features, torch.tensor([entry], device=xy.device))
            there, guess[entry : entry + 1] = self._flow(first, features, size, guess[entry : entry + 1])
            xy[rows] += at_points(there, state.query[None, rows])[0]
            if self.settings.occlusion == "cycle":
                back, home[entry : entry + 1] = self._flow(features, first, size, home[entry : entry + 1])
                miss[rows] = xy[rows] + at_points(back, xy[None, rows])[0] - state.query[rows]
        visible = self.visible(miss, xy, size)
        new_xy = new_xy.to(xy.device, torch.float32, copy=True)
        if len(new_xy):
            xy = torch.cat([xy, new_xy])
            visible = torch.cat([visible, visible.new_ones(len(new_xy))])
            owner = torch.cat([state.owner, state.owner.new_full((len(new_xy),), len(guess))])
            guess, home = (torch.cat([part, torch.zeros_like(part[:1])]) for part in (guess, home))
            state = DirectState(joined(state.features, features), guess, home, torch.cat([state.query, new_xy]), owner)
        return state._replace(guess=guess, back=home), Prediction(xy, visible, visible)


def build(weights: Mapping[str, Tensor] | None = None, **options: Any) -> FlowDirect:
    """Direct flow; options are the fields of `FlowTrackerOptions` (the flow model's weights are one of them)."""
    settings = FlowTrackerOptions.of(DIRECT.id, {"occlusion": "cycle", **options})
    threshold = check_options(settings, THRESHOLDS)
    return FlowDirect(settings, make_flow(settings), threshold)

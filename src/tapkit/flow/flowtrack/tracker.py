"""FlowTrack: flow between neighbouring frames is chained as long as it is confident; where it is not, the point is
found by its appearance, guided by the chain, and while it cannot be found it moves with what moved with it.

After the description in Cho et al., "FlowTrack: Revisiting Optical Flow for Long-Range Dense Tracking", CVPR 2024,
whose error compensation is a network that was not published. Here it is a local search for the query's patch and for
the patch that was last seen, by normalised correlation: no weights, and one frame at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tapkit import coords
from tapkit.constants import constant_like
from tapkit.errors import UsageError
from tapkit.flow.base import FlowModel, Size
from tapkit.flow.by_flow import ByFlow
from tapkit.flow.fields import follow
from tapkit.flow.flowtrack import guide
from tapkit.flow.flowtrack.card import FLOWTRACK
from tapkit.flow.flowtrack.guide import Companions
from tapkit.flow.flowtrack.patches import best_places, normalised, sampled
from tapkit.flow.known import build_flow
from tapkit.models.base import Prediction
from tapkit.models.options import Options, require_least
from tapkit.types import ModelCard

UNIT = 256
DRIFT = 2
"""Pixels by which one frame's correction may move a point."""


@dataclass(frozen=True)
class FlowTrackOptions(Options):
    """Settings of `flowtrack`; lengths are pixels of the frames as tracked."""

    flow: str = "dis"
    """The flow model's id."""
    flow_weights: str | None = None
    """Its checkpoint file; None: the official one, if it needs any."""
    flow_options: Mapping[str, Any] = field(default_factory=dict)
    """Its options, such as {"iterations": 20}."""
    alpha: float = 0.01
    """Flow is confident where |f + b|^2 < alpha (|f|^2 + |b|^2) + beta, b being the flow back: UnFlow's constants."""
    beta: float = 0.5
    """See alpha."""
    loose: float = 2.0
    """Or where the way back misses by less than this, in pixels of a 256x256 frame."""
    patch: int = 15
    """Side of the patches that are compared."""
    search: float = 0.03
    """How far around the guide a point is looked for, as a part of the frame's longer side."""
    found: float = 0.9
    """Correlation at which it is found."""
    corrected: float = 0.5
    """Correlation with the query's patch from which the chain's drift is corrected by it."""
    max_side: int | None = 960
    """Longer frames are tracked at this length of their longer side; None: at their own."""

    def check(self) -> None:
        """See `Options.check`."""
        require_least(self, alpha=0, beta=0, patch=3, search=0)
        if self.patch % 2 == 0:
            raise UsageError(f"patch must be odd, got {self.patch}")
        if self.max_side is not None and self.max_side < 8:
            raise UsageError(f"max_side must be at least 8 pixels, got {self.max_side!r}")
        for name in ("found", "corrected"):
            if not -1 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is a correlation from -1 to 1, got {getattr(self, name):g}")


class FlowTrackState(NamedTuple):
    """What is carried from frame to frame."""

    features: Any
    """Of the last frame, leading axis 1."""
    begun: Tensor
    """[] bool: whether there was a frame."""
    xy: Tensor
    """[N,2] float32, corner origin; of lost points where they are thought to be."""
    tracked: Tensor
    """[N] bool: seen on the last frame; else lost."""
    query: Tensor
    """[N,3,p,p] float16: the query's patch, normalised."""
    seen: Tensor
    """[N,3,p,p] float16: the patch when it was last seen."""
    companions: Companions
    """Around each point when it was last seen, and from there on."""


class Look(NamedTuple):
    """What a search by appearance found for n points."""

    xy: Tensor
    """[n,2]: the best place."""
    query: Tensor
    """[n]: correlation with the query's patch there,"""
    best: Tensor
    """[n]: and with the better one of both patches."""


class FlowTrack(ByFlow):
    """A `CausalModel`; points do not influence each other."""

    card: ModelCard = FLOWTRACK

    def __init__(self, options: FlowTrackOptions, model: FlowModel) -> None:
        super().__init__(model, options.max_side)
        self.settings = options
        self.options: Mapping[str, Any] = {**options.to_json(), "flow_options": dict(model.options)}

    def point_bytes(self, size: Size) -> int:
        """See `CausalModel.point_bytes`: two patches and the companions."""
        return 12 * self.settings.patch**2 * 3 + 2048

    def start(self, size: Size) -> FlowTrackState:
        """See `CausalModel.start`."""
        device, side = self.device, self.settings.patch
        black = torch.zeros(1, 3, *size, dtype=torch.uint8, device=device)
        nowhere = torch.zeros(0, 2, device=device)
        return FlowTrackState(
            features=self.flow_model.encode(black),
            begun=torch.tensor(False),
            xy=nowhere,
            tracked=torch.zeros(0, dtype=torch.bool, device=device),
            query=torch.zeros(0, 3, side, side, dtype=torch.float16, device=device),
            seen=torch.zeros(0, 3, side, side, dtype=torch.float16, device=device),
            companions=guide.placed(nowhere, size),
        )

    def select(self, state: FlowTrackState, rows: Tensor) -> FlowTrackState:
        """See `CausalModel.select`."""
        return state._replace(
            xy=state.xy[rows],
            tracked=state.tracked[rows],
            query=state.query[rows],
            seen=state.seen[rows],
            companions=Companions(*(part[rows] for part in state.companions)),
        )

    def step(self, state: FlowTrackState, frame: Tensor, new_xy: Tensor) -> tuple[FlowTrackState, Prediction]:
        """See `CausalModel.step`."""
        size = (frame.shape[-2], frame.shape[-1])
        picture = frame.to(self.device).float()
        features = self.flow_model.encode(frame[None])
        visible = state.xy.new_ones(len(state.xy))
        if len(state.xy) and state.begun:
            there = self.flow_model.flow(state.features, features, size).xy
            back = self.flow_model.flow(features, state.features, size).xy
            state, visible = self._advance(state, picture, there, back)
        state = state._replace(features=features, begun=torch.tensor(True))
        if len(new_xy):
            state = self._join(state, picture, new_xy.to(self.device, torch.float32, copy=True))
            visible = torch.cat([visible, visible.new_ones(len(new_xy))])
        return state, Prediction(state.xy, visible, visible.clone())

    def _join(self, state: FlowTrackState, picture: Tensor, xy: Tensor) -> FlowTrackState:
        """The state with points that begin on the frame just stepped."""
        size = (picture.shape[-2], picture.shape[-1])
        patch = self._patches(picture, xy)
        new = guide.placed(xy, size)
        return state._replace(
            xy=torch.cat([state.xy, xy]),
            tracked=torch.cat([state.tracked, state.tracked.new_ones(len(xy))]),
            query=torch.cat([state.query, patch]),
            seen=torch.cat([state.seen, patch]),
            companions=Companions(*(torch.cat(parts) for parts in zip(state.companions, new, strict=True))),
        )

    def _patches(self, picture: Tensor, xy: Tensor) -> Tensor:
        patch: Tensor = (
            normalised(sampled(picture, xy, self.settings.patch))
            if len(xy)
            else xy.new_zeros(0, 3, self.settings.patch, self.settings.patch)
        )
        return patch.half()

    def _advance(
        self, state: FlowTrackState, picture: Tensor, there: Tensor, back: Tensor
    ) -> tuple[FlowTrackState, Tensor]:
        """The points of the last frame on this one, and P(visible) [N]."""
        settings, size = self.settings, (picture.shape[-2], picture.shape[-1])
        xy, sure = guide.confident(there, back, state.xy, settings.alpha, settings.beta)
        miss = follow(back, xy[None])[0] - state.xy
        near = (miss * constant_like([UNIT / size[1], UNIT / size[0]], miss)).norm(dim=1) < settings.loose
        chained = state.tracked & (sure | near) & coords.inside(xy, size)
        xy, score = self._corrected(state, picture, xy, chained)
        lost = (~chained).nonzero()[:, 0]
        companions, guided = self._guided(state, there, back, size, lost)
        xy, score, tracked = self._found(state, picture, xy, guided, lost, score, chained)
        placed = guide.alike(guide.placed(xy, size), xy - state.xy, back)
        companions = Companions(
            *(torch.where(tracked.view(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(placed, companions, strict=True))
        )
        seen = state.seen.clone()
        seen[tracked] = self._patches(picture, xy[tracked])
        state = state._replace(xy=xy, tracked=tracked, seen=seen, companions=companions)
        visible = torch.where(tracked, 0.55 + 0.45 * score.clamp(0, 1), 0.45 * score.clamp(0, 1))
        return state, visible

    def _look(self, state: FlowTrackState, picture: Tensor, xy: Tensor, rows: Tensor, reach: int) -> Look:
        """Search around `xy` [n,2] for the points `rows` [n] by both patches."""
        query, by_query = best_places(picture, xy, state.query[rows].float(), reach)
        seen, by_seen = best_places(picture, xy, state.seen[rows].float(), reach)
        closer = (by_query >= by_seen)[:, None]
        return Look(torch.where(closer, query, seen), by_query, torch.maximum(by_query, by_seen))

    def _corrected(self, state: FlowTrackState, picture: Tensor, xy: Tensor, chained: Tensor) -> tuple[Tensor, Tensor]:
        """Positions [N,2], the drift of the chained points corrected where the query's patch is to be recognised, and
        what speaks for them [N]."""
        rows = chained.nonzero()[:, 0]
        place, by_query = best_places(picture, xy[rows], state.query[rows].float(), DRIFT)
        better = by_query > self.settings.corrected
        xy, score = xy.clone(), xy.new_zeros(len(xy))
        xy[rows] = torch.where(better[:, None], place, xy[rows])
        score[rows] = by_query
        return xy, score

    def _guided(
        self, state: FlowTrackState, there: Tensor, back: Tensor, size: Size, rows: Tensor
    ) -> tuple[Companions, Tensor]:
        """All companions, those of the points `rows` advanced; and where these points are thought to be [n,2]."""
        alpha, beta = self.settings.alpha, self.settings.beta
        mine = Companions(*(part[rows] for part in state.companions))
        moved, motion, known = guide.advanced(mine, there, back, size, alpha, beta)
        # Where all are gone, whatever is around moves it.
        around = guide.placed(state.xy[rows], size)
        fresh, other, _ = guide.advanced(around, there, back, size, alpha, beta)
        motion = torch.where(known[:, None], motion, other)
        guided = state.xy[rows] + motion
        border = constant_like([size[1], size[0]], guided)
        guided = torch.minimum(guided.clamp(min=0), border)
        weight, places = (torch.where(known.view(-1, *[1] * (a.ndim - 1)), a, b)
                          for a, b in ((moved.weight, fresh.weight), (moved.xy, fresh.xy)))  # fmt: skip
        whole = Companions(state.companions.xy.clone(), state.companions.weight.clone())
        whole.xy[rows], whole.weight[rows] = places, weight
        return whole, guided

    def _found(
        self,
        state: FlowTrackState,
        picture: Tensor,
        xy: Tensor,
        guided: Tensor,
        rows: Tensor,
        score: Tensor,
        chained: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Search for the points `rows` around where the chain leads, if it has not been given up, and around the
        guide. Returns positions, what speaks for them, and which points are seen, of all N."""
        size = (picture.shape[-2], picture.shape[-1])
        reach = max(round(self.settings.search * max(size)), 1)
        at_guide = self._look(state, picture, guided, rows, reach)
        at_chain = self._look(state, picture, xy[rows], rows, reach)
        by_chain = state.tracked[rows] & (at_chain.best > at_guide.best)
        best = torch.where(by_chain, at_chain.best, at_guide.best)
        place = torch.where(by_chain[:, None], at_chain.xy, at_guide.xy)
        found = (best > self.settings.found) & coords.inside(place, size)
        xy, score, tracked = xy.clone(), score.clone(), chained.clone()
        xy[rows] = torch.where(found[:, None], place, guided)
        score[rows], tracked[rows] = best, found
        return xy, score, tracked


def build(weights: Mapping[str, Tensor] | None = None, **options: Any) -> FlowTrack:
    """FlowTrack; options are the fields of `FlowTrackOptions` (the flow model's weights are one of them)."""
    if weights is not None:
        raise UsageError("flowtrack takes no weights; those of its flow model are the option flow_weights")
    settings = FlowTrackOptions.of(FLOWTRACK.id, options)
    return FlowTrack(settings, build_flow(settings.flow, settings.flow_weights, **settings.flow_options))

"""What trackers made of two-frame flow share: the flow model, the size it works at, and turning a distance into
P(visible)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from tapkit import coords
from tapkit.constants import constant_like
from tapkit.errors import UsageError
from tapkit.flow.base import Flow, FlowModel, Size
from tapkit.flow.by_flow import ByFlow
from tapkit.flow.known import build_flow
from tapkit.models.options import Options
from tapkit.types import ModelCard

UNIT = 256
"""Distances are counted in pixels of a frame of this many a side, as the literature does."""


@dataclass(frozen=True)
class FlowTrackerOptions(Options):
    """Settings of `flow-chain` and `flow-direct`."""

    flow: str = "dis"
    """The flow model's id."""
    flow_weights: str | None = None
    """Its checkpoint file; None: the official one, if it needs any."""
    flow_options: Mapping[str, Any] = field(default_factory=dict)
    """Its options, such as {"iterations": 20}."""
    occlusion: Literal["frame", "local", "cycle"] = "local"
    """What makes a point hidden; see the tracker."""
    threshold: float | None = None
    """The distance at which P(visible) is one half, pixels of a 256x256 frame; None: the published one."""
    max_side: int | None = 960
    """Longer frames are tracked at this length of their longer side; None: at their own."""


def check_options(options: FlowTrackerOptions, thresholds: Mapping[str, float]) -> float:
    """The threshold in force. Raises `UsageError` for an option out of range; `thresholds` has the kinds of test."""
    if options.occlusion not in thresholds:
        raise UsageError(f"occlusion must be one of {', '.join(thresholds)}, got {options.occlusion!r}")
    if options.threshold is not None and not options.threshold > 0:
        raise UsageError(f"threshold must be more than 0 pixels, got {options.threshold!r}")
    if options.max_side is not None and options.max_side < 8:
        raise UsageError(f"max_side must be at least 8 pixels, got {options.max_side!r}")
    return thresholds[options.occlusion] if options.threshold is None else float(options.threshold)


class FlowTracker(ByFlow):
    """The part of a `CausalModel` that does not depend on which flows are computed."""

    card: ModelCard

    def __init__(self, options: FlowTrackerOptions, model: FlowModel, threshold: float) -> None:
        super().__init__(model, options.max_side)
        self.settings = options
        self.threshold = threshold
        self.options: Mapping[str, Any] = {
            **options.to_json(), "threshold": threshold, "flow_options": dict(model.options)
        }  # fmt: skip

    def both_ways(self, first: Any, second: Any, size: Size) -> tuple[Flow, Flow]:
        """Flows there and back between the features of one frame each."""
        there = self.flow_model.flow(first, second, size)
        return there, self.flow_model.flow(second, first, size)

    def visible(self, distance: Tensor, xy: Tensor, size: Size) -> Tensor:
        """P(visible) [N] of points that miss by `distance` [N,2] (x, y): one half at the threshold, 0 off the frame."""
        unit = distance * constant_like([UNIT / size[1], UNIT / size[0]], distance)
        share = unit.square().sum(-1) / self.threshold**2
        return coords.inside(xy, size).float() / (1 + share)


def make_flow(options: FlowTrackerOptions) -> FlowModel:
    """The flow model that the options name."""
    return build_flow(options.flow, options.flow_weights, **options.flow_options)


def rows_of(features: Any, rows: Tensor) -> Any:
    """The features of these frames (a NamedTuple of tensors with a leading axis)."""
    return type(features)(*(part[rows] for part in features))


def joined(first: Any, second: Any) -> Any:
    """The features of both."""
    return type(first)(*(torch.cat([a, b]) for a, b in zip(first, second, strict=True)))


def used(owner: Tensor) -> tuple[Tensor, Tensor]:
    """Which entries points still refer to (int64 [K], rising), and the points' numbers among them [N]."""
    entries, numbers = torch.unique(owner, return_inverse=True)
    return entries, numbers

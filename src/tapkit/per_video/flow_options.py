"""What may be chosen of a fit that learns from the flow between all pairs of frames within reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tapkit.per_video.method import FitOptions
from tapkit.per_video.prepare.flow_features import check_features
from tapkit.per_video.prepare.masks import CYCLE


@dataclass(frozen=True)
class FlowOptions(FitOptions):
    """Which flow is computed, and what of it is believed. The defaults are the published ones."""

    max_side: int | None = None
    flow: str = "raft-large"
    """Id of the flow model that is learned from."""
    reach: int | None = None
    """Largest distance of two frames whose flow is computed; None: all pairs."""
    chained: bool = True
    """Whether flow is extended by chaining over neighbouring frames."""
    cycle: float = CYCLE
    """Pixels of the working size by which flow there and back may miss to be believed."""
    agree: float | None = None
    """Pixels by which flow between frames 3 and more apart may differ from that over the frames between to be believed;
    None: they are not compared, as published. For flow models that do not follow far."""
    texture: float | None = None
    """Correlation (up to 1) that the surroundings of both ends of a flow vector, 7 x 7 pixels, must have between frames
    3 and more apart for it to be believed; None: they are not compared, as published."""
    features: str = "none"
    """Backbone whose features the ends of a flow vector must share to be believed: "dino-vits16" as published, which is
    downloaded, or "none"."""
    features_weights: str | None = None
    """Its file; None: the published one."""

    def files(self) -> Sequence[str]:
        """See `FitOptions.files`."""
        return (*super().files(), "features_weights")

    def check(self) -> None:
        """Raise `UsageError` for values that cannot be."""
        check_features(self.features)

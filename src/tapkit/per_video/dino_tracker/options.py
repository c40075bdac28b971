"""What may be chosen of DINO-Tracker, and the presets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from tapkit.errors import UsageError
from tapkit.models.options import require_least
from tapkit.nn.dinov2 import PATCH
from tapkit.per_video.method import FitOptions
from tapkit.per_video.prepare.tokens import backbone


@dataclass(frozen=True)
class DinoTrackerOptions(FitOptions):
    """Settings of the fit."""

    steps: int = 10_000
    """Steps of the whole schedule, which is stretched or shortened to them."""
    max_side: int | None = 854
    """Length in pixels of the longer side at which the video is worked on (both sides are then brought to multiples of
    14); None: its own."""
    flow: str = "raft-large"
    """Id of the flow model that is learned from (`tapkit models` lists them)."""
    backbone: str = "dinov2-vitl14"
    """Whose features are refined: dinov2-vitl14 as published, dinov2-vits14, dinov2-vitb14, dinov2-vitg14, or
    "untrained": random weights, for trying out the mechanics only."""
    backbone_weights: str | None = None
    """Its file; None: the published one."""
    frames: int = 4
    """Frames in a step from which points go, and as many to which they go."""
    pairs: int = 512
    """Pairs of points in a step."""
    reach: int | None = None
    """Frames apart up to which flow is computed, besides that of neighbours: trajectories are checked by it. None: all
    pairs."""
    every: int = 1
    """Trajectories begin on each pixel whose row and column are multiples of that."""
    masks: str | None = None
    """A folder of pictures, one for each frame, that say what is foreground; None: the backbone's tokens tell."""
    buddies: bool = True
    """Whether best buddies of the frozen features, where flow says nothing, are learned from, too."""

    def files(self) -> Sequence[str]:
        """See `FitOptions.files`."""
        return (*super().files(), "backbone_weights", "masks")

    def check(self) -> None:
        """Raise `UsageError` for values that cannot be."""
        require_least(self, steps=1, frames=1, pairs=8, every=1)
        if self.reach is not None:
            require_least(self, reach=1)
        if (patch := backbone(self.backbone).config.patch) != PATCH:
            raise UsageError(f"{self.backbone} reads patches of {patch} pixels; dino-tracker's backbones read {PATCH}")


PRESETS: Mapping[str, DinoTrackerOptions] = MappingProxyType(
    {
        "paper": DinoTrackerOptions(),
        "fast": DinoTrackerOptions(steps=2_000, max_side=574, backbone="dinov2-vitb14", reach=16, every=2),
        "cpu": DinoTrackerOptions(
            steps=1_500, max_side=182, flow="dis", backbone="dinov2-vits14", frames=2, pairs=256, reach=8, every=2
        ),
    }
)
"""By name."""

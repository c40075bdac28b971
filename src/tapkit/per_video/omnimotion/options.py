"""What may be chosen of a fit of OmniMotion, and its presets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tapkit.errors import UsageError
from tapkit.models.options import require_least
from tapkit.per_video.flow_options import FlowOptions
from tapkit.per_video.omnimotion.network import NetworkConfig


@dataclass(frozen=True)
class OmniMotionOptions(FlowOptions):
    """The defaults are the published ones."""

    steps: int = 100_000
    pairs: int = 8
    """Pairs of frames in a batch."""
    points: int = 256
    """Points of each pair."""
    samples: int = 32
    """Samples along each ray."""
    code: int = 128
    """Channels of a frame's code."""
    time_hidden: int = 256
    """Width of the network that makes it."""
    coupling_hidden: int = 256
    """Width of the couplings of the bijection, and of their encodings."""
    color_hidden: int = 512
    """Width of the canonical field."""
    affine: bool = True
    """Whether frames are turned and stretched before the couplings."""
    affine_hidden: int = 256
    """Width of the network that says how."""
    time_detail: float = 256.0
    """Frequencies that the codes' network begins with: the lower, the more do neighbouring frames share."""
    detail: float = 256.0
    """Frequencies that the canonical field begins with: the lower, the smoother."""
    colors: float = 1.0
    """What the schedule's weight of the terms of colour is multiplied by. A narrow field never learns fine texture, and
    what it cannot learn pulls at everything else."""
    layers: float = 0.0
    """Share of the steps that the fit begins with at a guessed depth (see `omnimotion.layers`); 0 as published."""
    rate_time: float = 1e-3
    """Learning rate of the codes' network."""
    rate_bijection: float = 1e-4
    """Learning rate of the bijection."""
    rate_color: float = 3e-4
    """Learning rate of the canonical field."""
    readout: Literal["heaviest", "sum"] = "heaviest"
    """What a point follows: the sample of its ray that shows most, or the mean of all by how much they show."""
    mask_near: bool = False
    """Whether the nearest fifth of the samples is transparent during the first 4 % of the schedule."""

    def check(self) -> None:
        """Raise `UsageError` for values that cannot be."""
        least = dict.fromkeys(("steps", "pairs", "code", "time_hidden", "coupling_hidden", "color_hidden"), 1)
        super().check()
        require_least(self, **least, affine_hidden=1, points=4, samples=2, layers=0, colors=0)
        if self.layers > 1:
            raise UsageError(f"layers is a share of the steps, 0 to 1, got {self.layers:g}")

    @property
    def network(self) -> NetworkConfig:
        """Sizes of the networks."""
        return NetworkConfig(
            self.code, self.time_hidden, self.coupling_hidden, self.coupling_hidden, self.color_hidden, self.affine,
            self.affine_hidden, time_detail=self.time_detail, detail=self.detail,
        )  # fmt: skip


PAPER = OmniMotionOptions(features="dino-vits16")
"""The published schedule: 8 to 13 hours on a GPU for some 80 frames at 480p, by its authors."""
FAST = OmniMotionOptions(steps=20_000, max_side=256, flow="raft-small", reach=32, samples=16, color_hidden=256)
"""Smaller in everything, for about 10 minutes on a GPU."""
CPU = OmniMotionOptions(
    steps=800, max_side=160, flow_side=480, flow="dis", reach=24, cycle=1.0, texture=0.7,
    pairs=8, points=48, samples=8, code=32, time_hidden=64, coupling_hidden=64, color_hidden=64, affine=False,
    time_detail=32, detail=16, colors=0.1, layers=0.25, rate_time=1e-3, rate_bijection=3e-3, rate_color=3e-3,
)  # fmt: skip
"""For a processor: about 2.5 minutes of one core for 32 frames. `cycle` is the published 3 px of 480p at this size;
`texture` does what the published features are for; fields that begin smooth, higher rates and `layers` are for a
schedule of a hundredth of the steps."""
PRESETS = {"paper": PAPER, "fast": FAST, "cpu": CPU}

"""What may be chosen of a fit of CaDeX++, and its presets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tapkit.models.options import require_least
from tapkit.per_video.flow_options import FlowOptions

GUESSED = ("motion", "plane")
"""Initial depths that need no file."""


@dataclass(frozen=True)
class CadexOptions(FlowOptions):
    """The defaults are the published ones, as far as they need nothing that is not here."""

    steps: int = 22_000
    reach: int = 16
    """Largest distance of two frames whose flow is computed."""
    chained: bool = False
    """Whether flow is extended by chaining over neighbouring frames; the authors leave that open."""
    interval: int = 12
    """Largest distance of two frames that are learned from together."""
    pairs: int = 96
    """Pairs of frames in a batch."""
    points: int = 1024
    """Points of each pair."""
    rate: float = 3e-3
    """Learning rate of the bijection."""
    rate_depth: float = 5e-3
    """Learning rate of the depth maps."""
    depth: str = "motion"
    """Initial depth: "motion" (what moves against the rest of the picture is in front, or behind if it is what gets
    hidden), "plane" (lower in the picture is nearer), or a .npy file [N,h,w], or a folder of N of them [h,w], such as a
    monocular depth network gives them (larger is farther)."""
    matches: bool = True
    """Whether matches of DINOv2 between frames far apart are learned from too; they need its weights."""
    backbone_weights: str | None = None
    """The file of DINOv2's ViT-S/14; None: the published one, wherever weights are looked for."""
    occluded_by: float = 0.02
    """Depth by which something must lie in front of a point to hide it."""
    as_published: bool = True
    """With the original's reading of depth maps beyond their last cells, which pulls borders nearer."""

    def files(self) -> Sequence[str]:
        """See `FitOptions.files`."""
        return (*super().files(), "backbone_weights", *(() if self.depth in GUESSED else ("depth",)))

    def check(self) -> None:
        """Raise `UsageError` for values that cannot be."""
        super().check()
        require_least(self, steps=1, reach=1, interval=1, pairs=1, points=4)


PAPER = CadexOptions(features="dino-vits16")
"""The published schedule: under an hour on a GPU for 100 frames at 480p, by its authors."""
FAST = CadexOptions(
    steps=8000, max_side=320, flow="raft-small", pairs=48, points=512, matches=False, as_published=False
)
"""Smaller in everything, for about 10 minutes on a GPU."""
CPU = CadexOptions(
    steps=1500, max_side=160, flow_side=480, flow="dis", agree=2.0, pairs=16, points=256, matches=False,
    as_published=False
)  # fmt: skip
"""For a processor: about 2.5 minutes of one core for 32 frames."""
PRESETS = {"paper": PAPER, "fast": FAST, "cpu": CPU}

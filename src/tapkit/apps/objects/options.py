"""How objects are associated: the rules, and the settings that all of them share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tapkit.errors import UsageError

RuleName = Literal["net", "nettrack", "iou"]


@dataclass(frozen=True)
class Rule:
    """By what a track and a detection belong together."""

    name: RuleName
    minimum: tuple[float, float, float]
    """Least similarity in the first pass (confirmed and lost tracks, sure detections), the second (tracks left over,
    unsure detections) and the third (new tracks, sure detections left over)."""
    points: int
    """Points in each object; 0: none are tracked."""
    grid: bool = False
    """Whether points stand on a regular grid and are laid anew every `renew` frames; else those that left their object
    are replaced, at places drawn at random."""
    renew: int = 7
    merge: float | None = None
    """Overlap from which on a tracked and a lost box are one object; None: never."""


RULES: dict[str, Rule] = {
    # LBM (NeurIPS 2025, App. A.2), with visibility as the weight of each point.
    "net": Rule("net", (0.1, 0.1, 0.1), 16),
    # NetTrack (CVPR 2024): thresholds 0.95, 0.7 and 0.7 on 1 - similarity, a grid of 3 x 3 points.
    "nettrack": Rule("nettrack", (0.05, 0.3, 0.3), 9, grid=True, merge=0.85),
    # The same passes on the overlap of boxes alone: what both are compared with.
    "iou": Rule("iou", (0.2, 0.5, 0.3), 0, merge=0.85),
}


@dataclass(frozen=True)
class ObjectOptions:
    """Settings of `PointMOT`; the defaults are the published ones but for `overlap`."""

    rule: RuleName = "net"
    """"net": which share of an object's visible points lies in the new box, and how well the box that they carried fits
    it. "nettrack": that share and the overlap with the last box, points on a grid, visibility unused. "iou": that
    overlap alone."""
    points: int | None = None
    """Points in each object; None: of the rule (16, 9, 0). Gains end at 16 (LBM, Fig. 6)."""
    high: float = 0.5
    """Score from which on a detection is sure. Unsure ones only continue tracks."""
    low: float = 0.01
    """Detections below this score are left out."""
    start: float = 0.5
    """Score from which on a detection that belongs to no track starts one."""
    confirm: int = 2
    """Matches after which a track counts; on the first frame with detections one is enough."""
    max_lost: int = 30
    """Frames for which a track without a detection is kept."""
    timeout: int = 2
    """Frames in a row that a point may be outside its object before it is replaced."""
    other_class: float = 0.5
    """Factor on the similarity of a track and a detection of different classes ("net")."""
    overlap: float = 0.75
    """Weight of the overlap of the box carried by the points with the detection, beside the share of points inside
    ("net"). 0: that share alone, as LBM has it; but points of what is covered lie in the box of what covers it."""
    fuse_below: float = 4
    """With fewer visible points than this the overlap has a weight of a half at least ("net")."""
    normalise: bool = False
    """Whether similarities are replaced by the mean of their softmax over rows and over columns, as LBM does."""
    seed: int = 0
    """Of the places of points."""

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise UsageError(f"the rule must be one of {', '.join(RULES)}, got {self.rule!r}")
        if self.points is not None and (self.points < 2 or self.rule == "iou"):
            raise UsageError(f"rule {self.rule} takes 2 points an object or more (iou: none), got {self.points}")
        if self.rule == "nettrack" and self.points is not None and int(self.points**0.5) ** 2 != self.points:
            raise UsageError(f"rule nettrack has a square grid of points (4, 9, 16, ...), got {self.points}")
        for name in ("high", "low", "start", "other_class", "overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} must lie in 0..1, got {getattr(self, name)}")
        for name, least in (("confirm", 1), ("max_lost", 0), ("timeout", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be {least} or more, got {getattr(self, name)}")
        if self.low > self.high:
            raise UsageError(f"low must not exceed high, got {self.low} and {self.high}")

    @property
    def of_rule(self) -> Rule:
        """The rule itself."""
        return RULES[self.rule]

    @property
    def count(self) -> int:
        """Points in each object."""
        return self.of_rule.points if self.points is None else self.points

"""Settings of strand's training beside those that every model has: losses and noise on what the network sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tapkit.errors import UsageError
from tapkit.train.config import from_fields, renamed


@dataclass(frozen=True)
class LossWeights:
    """Factors of the parts of the loss; each part is a mean over the points that it concerns."""

    position: float = 1.0
    """Huber of the last position, in cells of the fine map."""
    candidate_position: float = 0.5
    """The same of each candidate after its refinement."""
    occluded: float = 0.1
    """What an occluded point counts in these, beside 1 for a visible one."""
    matching: float = 0.5
    """Cross-entropy of global matching over the cells of the frame."""
    local_matching: float = 0.3
    """Cross-entropy of the last refinement over the cells of the fine map around it."""
    candidate_score: float = 0.3
    """Which candidates are right."""
    visibility: float = 0.5
    confidence: float = 0.3
    refinement: float = 1.0
    """In matching: how far off a query is that is looked for from nearby, and how well that is known."""


@dataclass(frozen=True)
class StrandSettings:
    """`TrainConfig.settings` of strand."""

    confidence_radius: float = 8.0
    """Confidence is P(error < radius), in pixels of a 256x256 frame."""
    template_decay: float = 0.93
    """Share of itself that the query's template keeps from frame to frame at least (`TemplateDecay`)."""
    feature_noise: float = 0.2
    """Largest length of the noise on feature vectors, which have length 1."""
    drift_noise: float = 0.4
    """Share of points whose frame-to-frame motion is made to drift (`DriftNoise`)."""
    hard_negatives: float = 0.25
    """Share of matches that are replaced by the best wrong place of the frame."""
    loss_weights: LossWeights = field(default_factory=LossWeights)
    freeze_visibility: bool = False
    """Visibility and confidence are not learned: they have no loss, and the layers that give them stand still. So do
    the memory's rate and the momentum, which come from the same layer."""
    encoder: Literal["residual", "lite0"] = "residual"
    """See `StrandConfig.encoder`."""
    evidence: bool = False
    """See `StrandConfig.evidence`. With it points are held to the query's pixels in training too."""
    known: tuple[int, int] = (0, 0)
    """See `StrandConfig.known`. Like the backbone these are not learned, unless that is."""
    refine: bool = False
    """See `StrandConfig.refine`. Learned in matching, and with all else in tracking."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "known", tuple(self.known))  # a run's file has a list
        for name in ("template_decay", "drift_noise", "hard_negatives"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is a share from 0 to 1, got {getattr(self, name)}")
        if self.confidence_radius <= 0 or self.feature_noise < 0:
            raise UsageError("confidence_radius must be positive, and feature_noise cannot be negative")


OLD_NAMES = {
    "radius": "confidence_radius",
    "fade": "template_decay",
    "haze": "feature_noise",
    "stray": "drift_noise",
    "mislead": "hard_negatives",
    "weights": "loss_weights",
}
OLD_LOSS_NAMES = {
    "refined": "candidate_position",
    "hidden": "occluded",
    "around": "local_matching",
    "score": "candidate_score",
    "visible": "visibility",
}


def read_settings(values: Mapping[str, Any]) -> StrandSettings:
    """From plain values, under their present names or those of older versions. Raises `StorageError`."""
    named = renamed(values, OLD_NAMES)
    if "loss_weights" in named:
        named["loss_weights"] = from_fields(LossWeights, renamed(named["loss_weights"], OLD_LOSS_NAMES))
    return from_fields(StrandSettings, named)

"""The teachers: how each is run, and what of its answers is believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tapkit.engine.tracker import Tracker
from tapkit.train.pseudo.options import LabelOptions
from tapkit.types import Tracks


@dataclass(frozen=True)
class TeacherRule:
    """How a tracker teaches, where that differs from how it is evaluated."""

    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the tracker."""
    visible_above: float | None = None
    """Visibility alone must be above this; None: the author's own rule, from the card."""
    occluded: bool = False
    """Whether its positions of hidden points are taken as labels too."""


_COTRACKER = TeacherRule({"iterations": 4, "support": "global:5"}, 0.9, occluded=True)
RULES = {
    "cotracker2": _COTRACKER,
    "cotracker3-online": _COTRACKER,
    "cotracker3-offline": TeacherRule({"iterations": 4, "support": "uniform:100"}, 0.9, occluded=True),
}
"""CoTracker3's committee (paper, section 4.2 and appendix). TAPIR, the fourth of it, is thresholded as its card says,
(1 - p_occluded)(1 - p_uncertain) > 0.5, and says nothing of hidden points: so are all other trackers."""


def rule(teacher: str) -> TeacherRule:
    """The rule of a tracker."""
    return RULES.get(teacher, TeacherRule())


def seen(tracks: Tracks, teacher: str) -> np.ndarray:
    """Where a teacher's visibility is believed, bool [N,T]."""
    above = rule(teacher).visible_above
    return tracks.visible_at() if above is None else (tracks.visible > above) & tracks.valid


class Committee:
    """The teachers of some options, each loaded when it is first asked for and then kept."""

    def __init__(self, options: LabelOptions) -> None:
        self.options = options
        self._loaded: dict[str, Tracker] = {}

    def __getitem__(self, teacher: str) -> Tracker:
        """Raises `WeightsError` for weights that are missing or damaged, `UsageError` for options it does not have."""
        if teacher not in self._loaded:
            from tapkit.api import load

            chosen = {**rule(teacher).options, **self.options.settings.get(teacher, {})}
            weights = self.options.weights.get(teacher)
            self._loaded[teacher] = load(teacher, weights, self.options.device, **chosen)
        return self._loaded[teacher]

    def load(self) -> None:
        """Load all of them: what is wrong with one is wrong for every video."""
        for teacher in self.options.teachers:
            self[teacher]

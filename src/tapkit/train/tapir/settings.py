"""Settings of the training of TAPIR and LocoTrack beside those that every model has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tapkit.errors import UsageError
from tapkit.train.config import from_fields
from tapkit.train.queries import QuerySampling


@dataclass(frozen=True)
class MatchingSettings:
    """`TrainConfig.settings` of trackers that match globally and then refine."""

    queries: QuerySampling = field(default_factory=lambda: QuerySampling(any_frame=1.0))
    points_at_once: int = 32
    """Points that are tracked, and sent backward, together: they do not influence each other."""

    def __post_init__(self) -> None:
        if self.points_at_once < 1:
            raise UsageError(f"points_at_once must be at least 1, got {self.points_at_once}")
        if self.queries.support:
            raise UsageError("support points are for trackers whose points influence each other")


def read_settings(values: Mapping[str, Any]) -> MatchingSettings:
    """From plain values, as JSON has them. Raises `StorageError`."""
    plain = dict(values)
    if "queries" in plain:
        plain["queries"] = from_fields(QuerySampling, plain["queries"])
    return from_fields(MatchingSettings, plain)

"""Settings of the training of PIPs++ beside those that every model has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tapkit.errors import UsageError
from tapkit.train.config import from_fields


@dataclass(frozen=True)
class Pips2Settings:
    """`TrainConfig.settings` of PIPs++."""

    iterations: int = 6
    gamma: float = 0.8
    """An iteration weighs so much less than the next."""
    disturbed: bool = True
    """Whether tracks begin from the truth mixed with random positions, or where the query is; else always there."""
    points_at_once: int = 32
    """Points that are tracked, and sent backward, together: they do not influence each other."""

    def __post_init__(self) -> None:
        if min(self.iterations, self.points_at_once) < 1 or not 0 < self.gamma <= 1:
            raise UsageError(
                "training of PIPs++ needs an iteration, points_at_once of at least 1, and a gamma above 0, at most 1; "
                f"got {self.iterations}, {self.points_at_once} and {self.gamma}"
            )


def read_settings(values: Mapping[str, Any]) -> Pips2Settings:
    """From plain values, as JSON has them. Raises `StorageError`."""
    return from_fields(Pips2Settings, values)

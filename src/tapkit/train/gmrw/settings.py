"""Settings of GMRW's training beside those that every model has: crops, smoothness, the window of the walk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tapkit.errors import UsageError
from tapkit.flow.gmrw.network import MULTIPLE
from tapkit.train.config import from_fields


@dataclass(frozen=True)
class GmrwSettings:
    """`TrainConfig.settings` of GMRW."""

    crop: int = 512
    """Side of the crops that the network sees, a multiple of 8; the frames they are cut from are `Stage.size` wide."""
    area: tuple[float, float] = (0.3, 1.0)
    """Least and largest share of the frame that a crop shows."""
    aspect: tuple[float, float] = (0.7, 1.3)
    """Least and largest width of that part divided by its height."""
    smoothness: float = 200.0
    """Weight of the smoothness of the flow, once it has grown; 0: none."""
    smoothness_from: int = 5000
    """Step from which it grows, linearly."""
    smoothness_full: int = 15_000
    """Step at which it has grown."""
    window_threshold: float | None = None
    """The walk goes only to cells nearer than that to the best one; None: to all."""

    def __post_init__(self) -> None:
        if self.crop < MULTIPLE or self.crop % MULTIPLE:
            raise UsageError(f"a crop's side must be a multiple of {MULTIPLE}, got {self.crop}")
        for name, (least, largest) in (("area", self.area), ("aspect", self.aspect)):
            if not 0 < least <= largest:
                raise UsageError(f"{name} must be a least and a largest positive number, got {least} and {largest}")
        if self.area[1] > 1:
            raise UsageError(f"a crop's area is a share of the frame, at most 1, got {self.area[1]}")
        if self.smoothness < 0 or self.smoothness_full < self.smoothness_from:
            raise UsageError("smoothness cannot be negative, nor have grown before it begins to grow")
        if self.window_threshold is not None and not self.window_threshold > 0:
            raise UsageError(f"window_threshold must be positive, got {self.window_threshold}")

    def smoothness_at(self, step: int) -> float:
        """The weight at a step."""
        if step >= self.smoothness_full:
            return self.smoothness
        length = self.smoothness_full - self.smoothness_from
        return self.smoothness * max(step - self.smoothness_from, 0) / length


def read_settings(values: Mapping[str, Any]) -> GmrwSettings:
    """From plain values, as JSON has them. Raises `StorageError`."""
    pairs = {name: tuple(value) if name in ("area", "aspect") else value for name, value in values.items()}
    return from_fields(GmrwSettings, pairs)

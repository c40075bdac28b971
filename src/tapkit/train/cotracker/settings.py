"""Settings of a CoTracker's training beside those that every model has: loss, queries, windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tapkit.errors import UsageError
from tapkit.models.cotracker.network3 import CoTracker3Config
from tapkit.train.config import as_tuples, from_fields
from tapkit.train.queries import QuerySampling


@dataclass(frozen=True)
class CoTrackerSettings:
    """`TrainConfig.settings` of the CoTrackers."""

    loss: Literal["cotracker2", "cotracker3"] = "cotracker3"
    """Which paper's (`train/cotracker/losses.py`)."""
    iterations: int = 4
    """Updates of every window."""
    gamma: float = 0.8
    """An iteration weighs so much less than the next."""
    queries: QuerySampling = field(default_factory=QuerySampling)
    before_query: bool = False
    """Whether positions count before the query's frame (the offline model answers for all frames)."""
    judge: bool = True
    """Whether visibility and confidence are learned; else their head is frozen (pseudo-labels say little of them)."""
    occluded: bool = True
    """Whether positions of occluded points count (those of a teacher may not be worth it)."""
    carry_gradients: bool = False
    """Whether logits carry gradients from window to window, as in the released code: the memory of all windows."""
    window: int | None = None
    """Frames of a window of CoTracker2 (8 or 16); None: 8. CoTracker3 online has 16."""
    sizes: CoTracker3Config = field(default_factory=CoTracker3Config)
    """Of a CoTracker3's network."""

    def __post_init__(self) -> None:
        if self.loss not in ("cotracker2", "cotracker3"):
            raise UsageError(f"the loss is that of cotracker2 or of cotracker3, not {self.loss!r}")
        if self.iterations < 1 or not 0 < self.gamma <= 1:
            raise UsageError(
                f"training needs an iteration and a gamma above 0, at most 1; got {self.iterations} and {self.gamma}"
            )


def read_settings(values: Mapping[str, Any]) -> CoTrackerSettings:
    """From plain values, as JSON has them. Raises `StorageError`."""
    plain = dict(values)
    if "queries" in plain:
        plain["queries"] = from_fields(QuerySampling, plain["queries"])
    if "sizes" in plain:
        plain["sizes"] = from_fields(CoTracker3Config, as_tuples(plain["sizes"]))
    return from_fields(CoTrackerSettings, plain)

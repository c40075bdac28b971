"""Protocol: everything besides model and data that a benchmark figure depends on, and the string that says so."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from tapkit.coords import Size
from tapkit.datasets.base import Clip
from tapkit.errors import UsageError
from tapkit.metrics.tapvid import QUERY_MODES, QueryMode, QueryRows, sample_queries
from tapkit.parsing import parse_resolution
from tapkit.types import ModelCard

Points = Literal["auto", "joint", "single"]
METRIC_SIZE: Size = (256, 256)
"""Errors are measured in pixels of a frame of this (height, width), whatever the tracker was given."""


@dataclass(frozen=True)
class Protocol:
    """How a benchmark is run."""

    query_mode: QueryMode = "first"
    """Which queries are asked (tapkit.metrics.tapvid.sample_queries)."""
    stride: int = 5
    """Frames between queries in mode strided."""
    resolution: str = "256x256"
    """What the tracker is handed: "HxW" or "256x256" = frames resized by the official Lanczos; "native" = the
    video as it is; "model" = resized by Lanczos to the card's own input size (native where it has none)."""
    points: Points = "auto"
    """joint: all queries of a clip in one call; single: one call for each; auto: single for trackers whose points
    influence each other (`card.joint`), as the benchmark's authors ask, joint (with the same result) for others."""

    def __post_init__(self) -> None:
        if self.query_mode not in QUERY_MODES:
            raise UsageError(f"query mode must be one of {', '.join(QUERY_MODES)}, got {self.query_mode!r}")
        if self.stride < 1:
            raise UsageError(f"the stride between query frames must be at least 1, got {self.stride}")
        if self.points not in ("auto", "joint", "single"):
            raise UsageError(f"points must be auto, joint or single, got {self.points!r}")
        if self.resolution not in ("native", "model"):
            parse_resolution(self.resolution)

    def handed_size(self, card: ModelCard) -> Size | None:
        """(height, width) that frames are resized to before the tracker sees them; None: not at all."""
        if self.resolution == "native":
            return None
        if self.resolution == "model":
            return card.input_size
        return parse_resolution(self.resolution)

    def one_by_one(self, card: ModelCard) -> bool:
        """Whether each query gets a call of its own."""
        return self.points == "single" or (self.points == "auto" and card.joint)

    @property
    def direction(self) -> Literal["forward", "both"]:
        """Frames before a query only count in mode strided; there, causal trackers also run backwards."""
        return "forward" if self.query_mode == "first" else "both"

    def queries(self, clip: Clip) -> QueryRows:
        """What is asked of a clip: what the set itself says, or what the mode samples."""
        if clip.queries is not None:
            return QueryRows(*(np.asarray(part) for part in clip.queries))
        usable = clip.visible if clip.counted is None else clip.visible & clip.counted
        return sample_queries(usable, self.query_mode, self.stride)

    def describe(self, card: ModelCard, options: dict[str, Any] | None = None, threshold: str = "") -> str:
        """The protocol string that stands beside every number.

        >>> Protocol().describe(ModelCard("a", "A", "", "", "", "", True, "m:f"))
        'query first; frames 256x256 (Lanczos); points joint; metric at 256x256'
        """
        mode = self.query_mode if self.query_mode == "first" else f"strided ({self.stride}), forward and backward"
        size = self.handed_size(card)
        frames = "as they are" if size is None else f"{size[0]}x{size[1]} (Lanczos)"
        if self.resolution == "model":
            frames += ", the model's own size"
        parts = [f"query {mode}", f"frames {frames}", f"points {'one at a time' if self.one_by_one(card) else 'joint'}"]
        parts += [f"{key} {value}" for key, value in sorted((options or {}).items())]
        if threshold:
            parts.append(threshold)
        return "; ".join([*parts, f"metric at {METRIC_SIZE[0]}x{METRIC_SIZE[1]}"])

    def key(self, **more: Any) -> str:
        """Eight hexadecimal digits that change with anything a prediction depends on."""
        text = json.dumps({**asdict(self), **more}, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def with_(self, **changes: Any) -> Protocol:
        """A copy with some fields changed."""
        return replace(self, **changes)

"""How reference_cost.md called CoTracker2: 24 frames in windows of 8, 64 points, 6 iterations; no resizing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from calls.cotracker3_online import windows
from tapkit.models.cotracker.tracker2 import build

REFERENCE = "cotracker2"


def reference_call(parity: Any, **options: Any) -> Callable[[], Any]:
    """The sliding windows of a session, frame by frame."""
    return windows(build(parity.weights(REFERENCE), **{"input_size": None, "support": "none", **options}), parity)

"""How reference_cost.md called CoTracker3 offline: 24 frames, 64 points, 6 iterations; no resizing, no support."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from calls import frames, queries
from tapkit.models.cotracker.tracker3 import build_offline

REFERENCE = "cotracker3_offline"


def reference_call(parity: Any, **options: Any) -> Callable[[], Any]:
    """Encoding of the clip and one pass over it."""
    model = build_offline(parity.weights("cotracker3_offline"), **{"input_size": None, "support": "none", **options})
    clip = frames(parity)
    points = queries(parity) + torch.tensor([0.0, 0.5, 0.5])
    return lambda: model.track(model.encode(clip), (256, 256), points)

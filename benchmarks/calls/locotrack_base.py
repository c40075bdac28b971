"""How reference_cost.md called LocoTrack-B: 24 frames of 256x256, 64 points, four refinement steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from calls import HEIGHT, WIDTH, frames, queries
from tapkit.models.locotrack.tracker import build_locotrack_base

REFERENCE = "locotrack base"


def reference_call(parity: Any, **options: Any) -> Callable[[], Any]:
    """The network on the protocol's clip: features of all frames, then all points."""
    model = build_locotrack_base(parity.weights("locotrack_base"), **options)
    video, points = frames(parity), queries(parity)
    points[:, 1:] += 0.5  # pixel centres to corner origin
    return lambda: model.track(model.encode(video), (HEIGHT, WIDTH), points)

"""How reference_cost.md called CoTracker3 online: 24 frames in windows of 16, 64 points, 6 iterations; no resizing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from calls import frames, queries
from tapkit.engine.windows import WindowDriver
from tapkit.models.cotracker.tracker3 import build_online

REFERENCE = "cotracker3_online"


def reference_call(parity: Any, **options: Any) -> Callable[[], Any]:
    """The sliding windows of a session, frame by frame."""
    return windows(
        build_online(parity.weights(REFERENCE), **{"input_size": None, "support": "none", **options}), parity
    )


def windows(model: Any, parity: Any) -> Callable[[], Any]:
    """All frames through the window driver, all points known from the start."""
    clip = frames(parity)
    points = queries(parity) + torch.tensor([0.0, 0.5, 0.5])

    def call() -> None:
        driver = WindowDriver(model, (256, 256))
        driver.add(torch.arange(len(points)), points)
        for index, frame in enumerate(clip):
            driver.step(index, frame)
        driver.finish()

    return call

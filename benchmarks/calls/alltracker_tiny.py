"""The tiny AllTracker on a clip of 24 frames, 64 points on the first, 4 iterations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from calls import FRAMES, frames, queries
from tapkit.engine.groups import GroupDriver
from tapkit.models.alltracker.tracker import build_tiny

REFERENCE = None


def reference_call(parity: Any, **options: Any) -> Callable[[], Any]:
    """Encoding of all frames and two windows, in 256x256; read at 64 points."""
    model = build_tiny(parity.weights("alltracker_tiny"), **{"input_size": None, **options})
    clip, points = frames(parity), queries(parity)
    points[:, 0] = 0
    size = (clip.shape[-2], clip.shape[-1])

    def call() -> Any:
        driver = GroupDriver(model, size)
        driver.add(torch.arange(len(points)), points)
        return [driver.step(index, clip[index]) for index in range(FRAMES)] + [driver.finish()]

    return call

"""What GMRW does for each frame: 64 points, one frame encoded, one pair matched in both directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from calls import frames, queries
from tapkit.flow.gmrw.tracker import build

REFERENCE = None


def reference_call(parity: Any, **options: Any) -> Callable[[], Any]:
    """A step of a stream at 256x256; the frame before was encoded by the step before."""
    model = build(parity.weights("gmrw"), **options)
    clip, points = frames(parity, 2), queries(parity)
    points[:, 0] = 0
    before = model.encode(clip[:1])
    start = model.start((clip.shape[-2], clip.shape[-1]))

    def call() -> Any:
        maps = torch.cat([before.maps, model.encode(clip[1:]).maps])
        return model.step(start, before._replace(maps=maps), 0, points)

    return call

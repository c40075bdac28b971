"""How reference_cost.md called TAPIR: 256x256, the checkpoint's 4 iterations."""

from collections.abc import Callable
from typing import Any

import torch

from calls import frames, queries
from tapkit import coords
from tapkit.models.tapir.tracker import build_tapir

REFERENCE = "tapir"


def reference_call(parity: Any, **options: Any) -> Callable[[], object]:
    """Encode the clip and track all points."""
    model = build_tapir(parity.weights("tapir"), **options)
    video, points = frames(parity, 24), queries(parity)
    points = torch.cat([points[:, :1], coords.from_centers(points[:, 1:])], 1)
    return lambda: model.track(model.encode(video), (256, 256), points)

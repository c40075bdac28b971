"""How reference_cost.md called Online TAPIR: the whole clip in one call (causal mixer, all points from the start)."""

from collections.abc import Callable
from typing import Any

import torch

from calls import frames, queries
from tapkit import coords
from tapkit.models.tapir.causal import build_tapir_causal
from tapkit.models.tapir.tracker import TapirModel

REFERENCE = "tapir_causal"


def reference_call(parity: Any, **options: Any) -> Callable[[], object]:
    """Encode the clip and track all points."""
    causal = build_tapir_causal(parity.weights("tapir_causal"), **options)
    model = TapirModel(causal.network, causal.card, causal.chosen)
    video, points = frames(parity, 24), queries(parity)
    points = torch.cat([points[:, :1], coords.from_centers(points[:, 1:])], 1)
    return lambda: model.track(model.encode(video), (256, 256), points)

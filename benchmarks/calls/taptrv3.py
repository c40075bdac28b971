"""TAPTRv3 with 64 points that remember 24 frames: what one more frame of a stream costs.

512x512 with ResNet-50 by default; `--set backbone=resnet18`: 384x512. `--set plain=true` as for TAPTR
(`calls/taptr.py`); `--set remembered=200` for a longer past.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from calls import frames, queries
from calls._taptr_plain import plainly
from tapkit.models.taptr.tracker3 import build

REFERENCE = None


def reference_call(
    parity: Any, plain: bool = False, backbone: str = "resnet50", remembered: int = 24, **options: Any
) -> Callable[[], Any]:
    """One step of a stream that already holds the protocol's 64 points."""
    weights = parity.weights("taptrv3" if backbone == "resnet50" else "taptrv3_r18")
    model = build(weights, **{"support": "none", **options})
    if plain:
        plainly(model.network)
    video, asked = frames(parity, 2), queries(parity)[:, 1:] + 0.5
    state, _ = model.step(model.start((256, 256)), video[0], asked)
    state = state._replace(
        content=state.content.repeat(1, remembered, 1),
        weight=state.weight.repeat(1, remembered),
        now=state.now + remembered,
    )
    none = torch.zeros(0, 2)
    return lambda: model.step(state, video[1], none)

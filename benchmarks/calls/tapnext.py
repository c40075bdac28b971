"""TAPNext at 256x256 with 64 points, one streamed frame (the second of a clip; every later one costs the same).

The table of reference_cost.md has no row for it. `--set plain=true` measures plain torch modules instead (separate
linear layers and activations, weights not laid out for oneDNN): what a straightforward implementation costs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from calls import HEIGHT, WIDTH, frames, queries
from tapkit.models.tapnext.tracker import build_tapnext
from tapkit.nn.packed import unpack

REFERENCE = None


def reference_call(parity: Any, plain: bool = False, **options: Any) -> Callable[[], Any]:
    """One step of a stream that already holds the protocol's 64 points."""
    model = build_tapnext(parity.weights("tapnext"), **options)
    if plain:
        unpack(model.network)
    video, points = frames(parity, 2), queries(parity)[:, 1:] + 0.5
    state, _ = model.step(model.start((HEIGHT, WIDTH)), video[0], points)
    none = torch.zeros(0, 2)
    return lambda: model.step(state, video[1], none)

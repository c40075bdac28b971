"""How reference_cost.md called PIPs: ONE window of 8 frames, 64 points, 6 iterations (stride 4, as it is tested)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from calls import frames, queries
from tapkit.models.pips.tracker import build

REFERENCE = "pips"


def reference_call(parity: Any, **options: Any) -> Callable[[], Any]:
    """Encoding of 8 frames and one window for 64 points on the first."""
    network = build(parity.weights("pips"), **{"input_size": None, **options}).network
    clip, points = frames(parity, 8), queries(parity)[:, 1:] / network.config.stride
    index = torch.arange(8).expand(len(points), -1)
    return lambda: network.window(network.encode(clip), index, points)

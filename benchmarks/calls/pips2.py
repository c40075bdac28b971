"""How reference_cost.md called PIPs++: 24 frames in one window, 64 points, 16 iterations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from calls import FRAMES, frames, queries
from tapkit.models.pips.network2 import STRIDE
from tapkit.models.pips.tracker2 import build

REFERENCE = "pips2"


def reference_call(parity: Any, **options: Any) -> Callable[[], Any]:
    """Encoding of all frames and one window for 64 points on the first."""
    network = build(parity.weights("pips2"), **{"input_size": None, **options}).network
    clip, points = frames(parity), queries(parity)[:, None, 1:] / STRIDE
    guess = points.repeat(1, FRAMES, 1)
    index = torch.arange(FRAMES).expand(len(guess), -1)
    return lambda: network.window(network.encode(clip), index, guess)

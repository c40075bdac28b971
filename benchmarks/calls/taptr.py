"""TAPTR at 512x512 with 64 points: what four more frames of a stream cost (encoding them, and one window).

The table of reference_cost.md has no row for it. `--set plain=true` measures the formulas of the paper with stock
modules instead (`calls/_taptr_plain.py`); support=... adds support points, of which there are none here by default.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from calls import POINTS, frames, queries
from calls._taptr_plain import plainly
from tapkit.models.taptr.tracker import STRIDE, WINDOW, WindowTaptr, build

REFERENCE = None
SIDE = 512


def clip(parity: Any, count: int) -> Tensor:
    """Frames of the protocol's clip at 512x512: uint8 [count,3,512,512]."""
    enlarged = F.interpolate(frames(parity, count).float(), (SIDE, SIDE), mode="bilinear")
    return enlarged.round().to(torch.uint8)


def points(parity: Any) -> Tensor:
    """The protocol's 64 points, all asked on frame 0: [64,3], corner origin."""
    rows = queries(parity)
    rows[:, 0] = 0
    rows[:, 1:] = (rows[:, 1:] + 0.5) * (SIDE / 256)
    return rows


def windowed(model: WindowTaptr, parity: Any, plain: bool) -> Callable[[], Any]:
    """The call: encode four frames, track the window that they complete."""
    if plain:
        plainly(model.network)
    images, asked = clip(parity, WINDOW), points(parity)
    assert len(asked) == POINTS
    state = model.start((SIDE, SIDE))
    held = model.encode(images[:STRIDE])

    def call() -> Any:
        new = [model.encode(image[None]).tokens for image in images[STRIDE:]]
        tokens = type(held)(torch.cat([held.tokens, *new]))
        return model.step(state, tokens, 0, asked)

    return call


def reference_call(parity: Any, plain: bool = False, **options: Any) -> Callable[[], Any]:
    """Four frames of TAPTR."""
    return windowed(build(parity.weights("taptr"), **{"support": "none", **options}), parity, plain)

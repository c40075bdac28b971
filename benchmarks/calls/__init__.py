"""One module for each network whose cost is measured by `benchmarks/reference_protocol.py`.

`benchmarks/calls/NAME.py` (NAME: any Python identifier, usually the registry id with `_` for `-`) has

    REFERENCE = "pips"        # the row of parity/reference_cost.md to stand beside; None if there is none

    def reference_call(parity, **options) -> Callable[[], Any]:
        '''Build the model with seeded weights and return the call to time: the network alone, as the row says.'''

`parity` is a `tools/parity` Parity (seeded weights, manifests); `options` come from `--set key=value` and are those
of the model's factory (precision=bfloat16). Whatever the function builds is not timed and not counted as memory;
everything that the returned callable does is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

FRAMES, HEIGHT, WIDTH, POINTS = 24, 256, 256, 64
"""The clip and the points of reference_cost.md."""


def frames(parity: Any, count: int = FRAMES) -> Tensor:
    """The first `count` frames of the protocol's clip: uint8 [count,3,256,256], RGB."""
    clip = parity.seeded.video(FRAMES, HEIGHT, WIDTH, 0)[:count]
    return torch.from_numpy(clip).permute(0, 3, 1, 2).contiguous()


def queries(parity: Any) -> Tensor:
    """The protocol's 64 queries: float32 [64,3] rows (t, x, y), pixel centres at integers."""
    return torch.from_numpy(parity.seeded.queries(POINTS, FRAMES, HEIGHT, WIDTH, 0))

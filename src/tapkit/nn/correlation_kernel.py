"""`correlation_volume` as one Triton kernel: a window is read once, and nothing of it is ever stored.

A program takes one point on one frame. The whole pixels around the position [(2r+2)^2,C] times the query's window
[(2r+1)^2,C] are a product of matrices, and blending their four neighbours is another one, from the left: its rows hold
the four bilinear weights of a sample. So what PyTorch's path writes and reads between its steps (8 times the answer,
and the pixels) stays on the chip.

Imported only by `tapkit.nn.correlation`, where a GPU and Triton are (torch for CUDA brings it on Linux).
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_CHANNELS_AT_ONCE = 64


@triton.jit  # type: ignore[untyped-decorator]
def _volume(
    maps: Any, base: Any, fraction: Any, support: Any, out: Any, frames: Any, height: Any, width: Any,
    CHANNELS: tl.constexpr, RADIUS: tl.constexpr, CELLS: tl.constexpr, TAPS: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """CELLS and TAPS: (2r+2)^2 and (2r+1)^2, rounded up to powers of two."""
    side: tl.constexpr = 2 * RADIUS + 2
    samples: tl.constexpr = side - 1
    taps: tl.constexpr = samples * samples
    program = tl.program_id(0).to(tl.int64)
    point, frame = program // frames, program % frames

    cell = tl.arange(0, CELLS)
    across, down = cell // side, cell % side
    column = tl.load(base + 2 * program) + across - RADIUS
    row = tl.load(base + 2 * program + 1) + down - RADIUS
    column = tl.minimum(tl.maximum(column, 0), width - 1)
    row = tl.minimum(tl.maximum(row, 0), height - 1)
    pixel = (frame * height + row) * width + column
    tap = tl.arange(0, TAPS)

    products = tl.zeros((CELLS, TAPS), dtype=tl.float32)
    for begin in range(0, CHANNELS, BLOCK):
        channel = begin + tl.arange(0, BLOCK)
        own = channel[None, :] < CHANNELS
        near = tl.load(maps + pixel[:, None] * CHANNELS + channel[None, :], mask=own, other=0.0)
        inside = own & (tap[:, None] < taps)
        query = tl.load(support + (point * taps + tap[:, None]) * CHANNELS + channel[None, :], mask=inside, other=0.0)
        products += tl.dot(near.to(query.dtype), tl.trans(query), input_precision="ieee")

    fx, fy = tl.load(fraction + 2 * program), tl.load(fraction + 2 * program + 1)
    i, j = tap[:, None] // samples, tap[:, None] % samples
    along_x = tl.where(across[None, :] == i, 1 - fx, tl.where(across[None, :] == i + 1, fx, 0.0))
    along_y = tl.where(down[None, :] == j, 1 - fy, tl.where(down[None, :] == j + 1, fy, 0.0))
    weights = tl.where(cell[None, :] < side * side, along_x * along_y, 0.0)
    blended = tl.dot(weights, products, input_precision="ieee")
    place = out + (program * taps + tap[:, None]) * taps + tap[None, :]
    tl.store(place, blended, mask=(tap[:, None] < taps) & (tap[None, :] < taps))


def volume(maps: Tensor, base: Tensor, fraction: Tensor, support: Tensor, radius: int) -> Tensor:
    """See `correlation_volume`; the positions are split into whole pixels `base` int64 [N*S,2] and `fraction` float32
    [N*S,2]. Products are summed in float32 whatever the type; the answer has that of `support`."""
    count, frames = len(support), len(maps)
    taps = (2 * radius + 1) ** 2
    out = torch.empty(count, frames, taps * taps, device=maps.device, dtype=support.dtype)
    _volume[(count * frames,)](
        maps, base.contiguous(), fraction.contiguous(), support.contiguous(), out, frames, maps.shape[1], maps.shape[2],
        CHANNELS=maps.shape[3], RADIUS=radius, CELLS=triton.next_power_of_2((2 * radius + 2) ** 2),
        TAPS=max(triton.next_power_of_2(taps), 16),
        BLOCK=max(min(triton.next_power_of_2(maps.shape[3]), _CHANNELS_AT_ONCE), 16),
    )  # fmt: skip
    return out

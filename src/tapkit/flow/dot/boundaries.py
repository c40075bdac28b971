"""Where to put the points that are tracked: half of them where motion changes (arXiv:2312.00786, section 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.constants import constant_like

THRESHOLD = 0.025
"""Strength, of the strongest of the frame, from which on a pixel lies on a motion boundary."""
SPREAD = 4
"""Pixels by which boundaries are widened."""
_ACROSS = ((-0.5, -1.0, -0.5), (0.0, 0.0, 0.0), (0.5, 1.0, 0.5))
"""Differences along y; transposed, along x."""


def boundary_strength(flow: Tensor) -> Tensor:
    """How much the flow [P,2,h,w] (pixels) changes around each pixel: [P,h,w], 0 to 1 within each frame."""
    count, _, height, width = flow.shape
    unit = flow / constant_like([width - 1, height - 1], flow)[:, None, None]
    kernel = constant_like(_ACROSS, flow)
    kernels = torch.stack([kernel, kernel.T])[:, None]
    mode = "reflect" if min(height, width) > 1 else "replicate"
    padded = F.pad(unit.reshape(2 * count, 1, height, width), (1, 1, 1, 1), mode=mode)
    change = (F.conv2d(padded, kernels).square().sum(1) + 1e-12).sqrt().view(count, 2, height, width).mean(1)
    wide = F.max_pool2d(change[:, None], 2 * SPREAD, 1, SPREAD)[:, 0, -height:, -width:]
    wide = wide - wide.amin((1, 2), keepdim=True)
    return wide / wide.amax((1, 2), keepdim=True).clamp(min=torch.finfo(wide.dtype).tiny)


def share_among_frames(total: int, frames: Sequence[int]) -> list[int]:
    """How many of `total` points begin on each of these frames: as many on each, the remainder on the first."""
    each, rest = divmod(total, len(frames))
    return [each + (rest if place == 0 else 0) for place in range(len(frames))]


def draw(mask: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` pixels (x, y) [count,2], half of them (as far as there are so many) within the mask [h,w], none of these
    twice, the others anywhere. `generator` is on the CPU."""
    height, width = mask.shape
    inside = mask.cpu().nonzero()
    on = inside[torch.randperm(len(inside), generator=generator)[: count // 2]].flip(1)
    rest = count - len(on)
    x = torch.randint(width, (rest,), generator=generator)
    y = torch.randint(height, (rest,), generator=generator)
    return torch.cat([on, torch.stack([x, y], 1)])


def draw_batches(
    boundaries: Callable[[int], Tensor], frames: Sequence[int], batches: Sequence[int], seed: int
) -> list[Tensor]:
    """Points to track, batch by batch: each [n,3] float32 (frame, x, y), pixel centres at integers.

    Args:
        boundaries: the mask [h,w] of a frame's motion boundaries; asked once for each frame.
        frames: on which points begin.
        batches: how many points each batch has.
        seed: of the random numbers, so that the points are always the same.
    """
    generator = torch.Generator().manual_seed(seed)
    parts: list[list[Tensor]] = [[] for _ in batches]
    counts = [share_among_frames(total, frames) for total in batches]
    for place, frame in enumerate(frames):
        if not any(shares[place] for shares in counts):
            continue
        mask = boundaries(frame)
        for points, shares in zip(parts, counts, strict=True):
            xy = draw(mask, shares[place], generator).float()
            points.append(torch.cat([torch.full((len(xy), 1), float(frame)), xy], 1))
    return [torch.cat(points) for points in parts]

"""Chains of flows for single pixels, and the choice among them (paper, sections 3.1 and 3.2).

What is known of a pixel on a frame are four numbers, its result [K,4]: the flow (x, y) from the frame on which it
began, P(hidden), and the flow's standard deviation in px. A result depends on the same pixel's earlier ones only, so
that any set of pixels can be tracked without the others.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tapkit import coords
from tapkit.constants import constant, constant_like
from tapkit.coords import Size
from tapkit.nn.sampling import sample


def extended(result: Tensor, pixel: Tensor, maps: Tensor) -> Tensor:
    """Results [K,4] on an earlier frame, carried on by the flow from there.

    Args:
        result: on the earlier frame.
        pixel: [K,2] float32 (x, y) where each began, pixel centres at integers.
        maps: [1,4,h,w] flow, P(hidden) and deviation from the earlier frame to the present one; outside are zeros.
    """
    new = sample(maps, (pixel + result[:, :2])[None], "zeros")[0]
    deviation = torch.hypot(result[:, 3], new[:, 3])
    hidden = torch.maximum(result[:, 2], new[:, 2])
    return torch.cat([result[:, :2] + new[:, :2], hidden[:, None], deviation[:, None]], 1)


def preferred(best: Tensor, other: Tensor, threshold: float) -> Tensor:
    """The surer one of two results [K,4] of each pixel; what is hidden more than `threshold` is never sure, and of
    equals the first stays."""
    sure, rival = (torch.where(part[:, 2] > threshold, torch.inf, part[:, 3]) for part in (best, other))
    return torch.where((rival < sure)[:, None], other, best)


def hidden_outside(result: Tensor, pixel: Tensor, size: Size) -> Tensor:
    """Results [K,4] with P(hidden) = 1 for what has left the frame (x < 0, y < 0, x >= width or y >= height)."""
    end = pixel + result[:, :2]
    outside = (end < 0).any(1) | (end >= constant_like([size[1], size[0]], end)).any(1)
    marked = result.clone()
    marked[:, 2].masked_fill_(outside, 1.0)
    return marked


def around(xy: Tensor, size: Size) -> tuple[Tensor, Tensor, Tensor]:
    """The pixels whose bilinear blend gives what holds at points [N,2] (pixel centres at integers).

    Returns the pixels [K,2] float32, each once; which four of them are around each point [N,4]; and their shares
    [N,4], which add up to 1. Points outside the pixels' centres are answered by the border's.
    """
    height, width = size
    xy = torch.minimum(xy.clamp(min=0), constant_like([width - 1, height - 1], xy))
    base = xy.floor()
    fx, fy = (xy - base).unbind(1)
    shares = torch.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy], 1)
    first = base[:, 1].long() * width + base[:, 0].long()
    steps = constant([0, 1, width, width + 1], torch.long, xy.device)
    index = torch.where(shares > 0, first[:, None] + steps, first[:, None])
    found, corner = torch.unique(index, return_inverse=True)
    pixel = torch.stack([found % width, torch.div(found, width, rounding_mode="floor")], 1).to(xy.dtype)
    return pixel, corner, shares


def to_work(xy: Tensor, size: Size, work: Size, whole: bool) -> tuple[Tensor, Tensor]:
    """Queries [N,2] in pixels of the handed frames: where each stands in those of the frames tracked (corner origin),
    and the place at which the maps are read (pixel centres at integers).

    `whole`: cut to whole numbers, which are taken for pixel indices, as the authors' evaluation does.
    """
    asked = coords.resize(xy, size, work)
    if whole:
        asked = asked.floor()
        return asked, asked
    return asked, coords.to_centers(asked)

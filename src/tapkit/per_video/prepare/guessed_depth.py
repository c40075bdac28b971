"""A guess at depth from motion and from what gets hidden, where no network says it.

What moves against the rest of the picture is taken to be in front of it; if it is mostly that which gets hidden,
behind it. The rest is a plane, nearer at the bottom.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.coords import Size
from tapkit.per_video.prepare.flows import HIDDEN, PairFlows

FAR, SLOPE, STEP = 2.3, 0.3, 0.7
"""Depth at the top of the plane, how much nearer its bottom is, and how far what moves stands out of it."""
STEPS = (-3, -2, -1, 1, 2, 3)
"""Distances of the frames against which motion is looked at."""
ROUNDS = 8
"""Of the robust fit of the picture's own motion."""


def plane(frames: int, cells: Size) -> Tensor:
    """Maps [N,h,w] of nothing but the plane."""
    return (FAR - SLOPE * torch.linspace(0, 1, cells[0])[:, None].expand(frames, *cells)).contiguous()


def guessed_depth(flows: PairFlows, cells: Size) -> Tensor:
    """Depth maps float32 [N,h,w] with `cells`, between 1.3 and 3."""
    frames = len(flows)
    moving = [foreground(flows, index) for index in range(frames)]
    maps = torch.stack([share for share, _ in moving])
    hidden = torch.stack([lost for _, lost in moving])
    in_front = float((hidden * (maps < 0.5)).sum()) >= float((hidden * (maps >= 0.5)).sum())
    return plane(frames, cells) - (STEP if in_front else -STEP) * F.adaptive_avg_pool2d(maps[:, None], cells)[:, 0]


def foreground(flows: PairFlows, index: int) -> tuple[Tensor, Tensor]:
    """Of a frame: how much each pixel moves against the picture [h,w] 0..1, and in how many frames it gets hidden."""
    shares, hidden = [], []
    for step in STEPS:
        if index + step in flows.targets(index):
            flow = torch.from_numpy(np.asarray(flows.flow(index, index + step), np.float32)) / abs(step)
            mask = torch.from_numpy(np.array(flows.mask(index, index + step)))
            apart = (flow - dominant(flow)).norm(dim=-1)
            usual = apart.median().clamp(min=0.25)
            shares.append((apart / usual).square() / (9 + (apart / usual).square()))
            hidden.append((mask & HIDDEN) > 0)
    share = torch.stack(shares).median(0).values
    return F.avg_pool2d(share[None, None], 5, 1, 2, count_include_pad=False)[0, 0], torch.stack(hidden).float().sum(0)


def dominant(flow: Tensor) -> Tensor:
    """The affine motion that most of a flow field [h,w,2] follows, as a field."""
    height, width = flow.shape[:2]
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    basis = torch.stack([torch.ones_like(x), x, y], -1).reshape(-1, 3)
    values, weight = flow.reshape(-1, 2), torch.ones(height * width)
    fitted = values
    for _ in range(ROUNDS):
        normal = basis.T @ (basis * weight[:, None]) + 1e-6 * torch.eye(3)
        fitted = basis @ torch.linalg.solve(normal, basis.T @ (values * weight[:, None]))
        apart = (values - fitted).norm(dim=-1)
        weight = 1 / (1 + (apart / apart.median().clamp(min=0.1)).square()) ** 2
    return fitted.reshape(height, width, 2)

"""The tracker head: where in a frame the feature of a point is found.

Every frame is answered by itself. The cost map is the cosine of the point's feature with all tokens of the frame; its
largest value says about where, and a small convolutional network's answer within a disc around that says where exactly.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit.per_video.dino_tracker.grid import TokenGrid

RADIUS = 35.0
"""Pixels around the largest value that count."""
HIDDEN = 16
SMALLEST = 1e-8


class NormalizedConv2d(nn.Conv2d):
    """A convolution each of whose kernels, one for each pair of channels, is divided by its sum."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B,C,h,w] -> [B,D,h,w]."""
        total = self.weight.sum((2, 3), keepdim=True)
        least = torch.where(total < 0, -SMALLEST, SMALLEST)
        total = torch.where(total.abs() < SMALLEST, least, total)
        return F.conv2d(x, self.weight / total, self.bias, padding=self.padding)


class TrackerHead(nn.Module):
    """Features of points and of a frame's tokens -> positions."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn_refiner = nn.Sequential(
            NormalizedConv2d(1, HIDDEN, 3, padding=1), nn.ReLU(), NormalizedConv2d(HIDDEN, 1, 3, padding=1)
        )

    def refine(self, costs: Tensor) -> Tensor:
        """Cost maps [P,h,w], not negative -> heights [P,h,w] before their softmax."""
        out: Tensor = self.cnn_refiner(costs[:, None])[:, 0]
        return out

    def forward(self, cosines: Tensor, grid: TokenGrid) -> Tensor:
        """Cosines [P,h*w] of P points with all tokens of the frame -> positions [P,2] in pixels of the frame."""
        costs = F.relu(cosines).view(-1, *grid.shape)
        return read_out(costs, self.refine(costs), grid)


def unit(features: Tensor, dim: int = -1) -> Tensor:
    """Features of length 1."""
    return F.normalize(features, dim=dim, eps=SMALLEST)


def read_out(costs: Tensor, heights: Tensor, grid: TokenGrid) -> Tensor:
    """The mean position by softmax(heights) within `RADIUS` of the largest cost: both [P,h,w] -> [P,2].

    Where all within the disc has next to no weight, the mean of the disc.
    """
    centres = grid.centres(costs.device)
    peak = centres[costs.detach().flatten(1).argmax(1)]
    near = ((centres - peak[:, None]).square().sum(-1) <= RADIUS**2).to(heights.dtype)
    weights = heights.flatten(1).softmax(1) * near
    weights = torch.where(weights.sum(1, keepdim=True) < SMALLEST, near, weights)
    return (weights @ centres.to(weights.dtype)) / weights.sum(1, keepdim=True)

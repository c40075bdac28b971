"""CaDeX++'s losses over a batch of pairs of frames. Pixels are index coordinates; q, the weight of a point."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tapkit.coords import Size
from tapkit.per_video.cadexpp.geometry import gradients, gradients_at, nearest, project, unproject
from tapkit.per_video.cadexpp.network import CadexPP

DEPTH, CONSIST, GRADIENT = 100.0, 1.0, 1.0
"""Weights of the depth terms of pairs that flow gives."""
MATCH_DEPTH, MATCH_CONSIST, MATCH_GRADIENT = 100.0, 10.0, 100.0
"""And of matches far apart."""
NO_DEPTH = 0.01
"""Depths nearer to zero than this project nowhere."""
INLIERS_FROM = 2000
"""Step of the published schedule from which matches with an error of twice the median are left out."""


class Batch(NamedTuple):
    """P pairs of frames, K points in each."""

    first: Tensor
    """[P] int64: frames that the points lie in."""
    second: Tensor
    """[P] int64: frames they go to."""
    pixels: Tensor
    """[P,K,2] in the first frames."""
    targets: Tensor
    """[P,K,2] in the second frames."""
    weights: Tensor
    """[P,K]."""


def match_weight(step: float) -> float:
    """Of the matches' loss, at a step of the published schedule."""
    return 1.0 if step < 1000 else 0.1 if step < 2000 else 0.01 if step < 24_000 else 0.0


class Predicted(NamedTuple):
    """Where a batch is predicted."""

    pixels: Tensor
    """[P,K,2]."""
    depth: Tensor
    """[P,K]."""
    target_depth: Tensor
    """[P,K]: of the optimised maps at the targets."""
    initial_depth: Tensor
    """[P,K]: of the initial maps there."""


class Losses:
    """Computes both batches' losses.

    Args:
        network: what is fitted.
        initial: the depth maps [N,h,w] that it began with.
        size: of the frames.
        as_published: with the original's reading of depth beyond the last cells, see `geometry.gradients_at`.
    """

    def __init__(self, network: CadexPP, initial: Tensor, size: Size, as_published: bool = True) -> None:
        self.network, self.size, self.as_published = network, size, as_published
        self.initial = initial[:, None]
        self.initial_gradients = gradients(initial)

    def predict(self, batch: Batch) -> Predicted:
        """Map a batch's points to their second frames."""
        maps = self.network.depth_mem.depthmaps[:, None]
        depth = nearest(maps[batch.first], batch.pixels, self.size)[..., 0]
        there = self.network.map(unproject(batch.pixels, depth, self.size), batch.first, batch.second)
        return Predicted(
            project(there, self.size),
            there[..., 2],
            nearest(maps[batch.second], batch.targets, self.size)[..., 0],
            nearest(self.initial[batch.second], batch.targets, self.size)[..., 0],
        )

    def dense(self, batch: Batch, step: float) -> dict[str, Tensor]:
        """Of pairs that flow gives; `step` of the published schedule."""
        found = self.predict(batch)
        x, y = found.pixels.unbind(-1)
        away = found.depth.abs() >= NO_DEPTH
        inside = (x >= 0) & (x <= self.size[1] - 1) & (y >= 0) & (y <= self.size[0] - 1) & away
        ours, target, weights = found.pixels[inside], batch.targets[inside], batch.weights[inside]
        apart = (found.depth - found.target_depth).abs()
        share = torch.where(inside, 1.0, 0.1)
        terms = {
            "flow": _flow_loss(ours, target, weights),
            "flow_grad": _gradient_loss(ours, target, weights),
            "depth": _mean(apart[away]),
            "depth_grad": (self._bent(batch.first, batch.pixels) * share).mean()
            + (self._bent(batch.second, batch.targets) * share).mean(),
            "depth_consist": (found.depth - found.initial_depth).abs().mean(),
        }
        total = (
            terms["flow"] + min(0.1, step / 500_000) * terms["flow_grad"] + GRADIENT * terms["depth_grad"]
            + CONSIST * terms["depth_consist"] + DEPTH * terms["depth"]
        )  # fmt: skip
        return {"total": total, **terms}

    def match(self, batch: Batch, step: float) -> dict[str, Tensor]:
        """Of matches between frames far apart; weights do not count."""
        found = self.predict(batch)
        error = (found.pixels - batch.targets).abs()
        keep = torch.ones_like(error[..., 0], dtype=torch.bool)
        if step >= INLIERS_FROM:
            keep = (error < 2 * error.median()).all(-1)
        terms = {
            "flow": _mean(error[keep]),
            "depth": _mean((found.depth - found.target_depth).abs()[keep]),
            "depth_grad": self._bent(batch.second, batch.targets).mean() + self._bent(batch.first, batch.pixels).mean(),
            "depth_consist": (found.depth - found.initial_depth).abs().mean(),
        }
        total = (
            terms["flow"] + MATCH_DEPTH * terms["depth"] + MATCH_CONSIST * terms["depth_consist"]
            + MATCH_GRADIENT * terms["depth_grad"]
        )  # fmt: skip
        return {"total": total, **terms}

    def _bent(self, frames: Tensor, pixels: Tensor) -> Tensor:
        """By how much the depth maps' gradients differ from the initial ones at pixels [P,K,2]: [P,K]."""
        before = nearest(self.initial_gradients[frames], pixels, self.size)
        now = gradients_at(self.network.depth_mem.depthmaps[frames], pixels, self.size, not self.as_published)
        apart: Tensor = (before - now).norm(dim=-1)
        return apart


def _mean(values: Tensor) -> Tensor:
    """The mean; 0 where there is nothing."""
    return values.mean() if values.numel() else values.sum()


def _without_worst(error: Tensor) -> Tensor:
    """Mask of the errors [M] that count. The original means to keep all, by adding 1e-7 to the largest; in single
    precision that does nothing to numbers of 2 and more, so that it leaves out the largest of those."""
    return error < error.max() + 1e-7 if len(error) else torch.zeros_like(error, dtype=torch.bool)


def _flow_loss(ours: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """L1 of positions [M,2], weighted."""
    error = (ours - target).abs().mean(-1)
    return _mean((error * weights)[_without_worst(error)])


def _gradient_loss(ours: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """L1 of the differences of consecutive rows [M,2], weighted."""
    error = ((ours[1:] - ours[:-1]) - (target[1:] - target[:-1])).abs().mean(-1)
    keep, both = _without_worst(error), weights[1:] * weights[:-1]
    return (error * both)[keep].sum() / (both[keep].sum() + 1e-8)

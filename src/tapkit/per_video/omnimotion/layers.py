"""A beginning of a fit that the paper does not have, for schedules a hundredth as long: in layers.

From where it starts, OmniMotion has to learn at once which depths move together and at which depth something is seen,
and each is of no use without the other: for hundreds of steps all depths move as the background does, and then the
whole picture may go over to what stands before it and back. Here depth is guessed first (from motion and from what gets
hidden). The bijections learn to take a point at the guessed depth of its frame to where the flow says, at the guessed
depth there: one sample for a ray, so that a step takes more points. The density learns to be where that depth is. Then
the published losses take over.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tapkit.coords import Size
from tapkit.per_video.omnimotion.losses import Batch
from tapkit.per_video.omnimotion.network import OmniMotion
from tapkit.per_video.omnimotion.options import OmniMotionOptions
from tapkit.per_video.omnimotion.render import cast, depths, normalise, to_pixels
from tapkit.per_video.prepare.flows import PairFlows
from tapkit.per_video.prepare.guessed_depth import guessed_depth

NEAREST, FARTHEST = 0.4, 1.6
"""Depths in OmniMotion's volume of what is guessed to be nearest and farthest."""
ARRIVAL, DENSITY = 20.0, 3.0
"""Weights of the depth that a point arrives at, and of what shows elsewhere than at the guessed depth."""
CELLS = 4
"""Pixels of a cell of the maps of guessed depth, each way."""


class Layers:
    """Computes the losses of this beginning.

    Args:
        flows: what is learned from, and what depth is guessed from.
        size: of the frames.
        options: numbers of points and samples.
        device: where it is computed.
    """

    def __init__(self, flows: PairFlows, size: Size, options: OmniMotionOptions, device: torch.device) -> None:
        guess = guessed_depth(flows, (max(size[0] // CELLS, 1), max(size[1] // CELLS, 1)))
        low, high = guess.min(), guess.max()
        self.maps = (NEAREST + (FARTHEST - NEAREST) * (guess - low) / (high - low).clamp(min=1e-6)).to(device)
        """[N,h,w]."""
        self.size, self.samples = size, options.samples
        self.points = max(options.points * options.samples // 3, options.points)
        """Of a pair: a step costs about half of a later one."""
        self.rays = max(options.points // 2, 1)
        """And how many of them the density is learned from."""

    def losses(self, network: OmniMotion, batch: Batch, dice: torch.Generator) -> dict[str, Tensor]:
        """Terms of a batch of `points` a pair by name, "total" among them."""
        first, second = network.codes(batch.first), network.codes(batch.second)
        here, there = self._depth(batch.first, batch.pixels), self._depth(batch.second, batch.targets)
        local = torch.cat([normalise(batch.pixels, self.size), here[..., None]], -1)
        arrived = network.to_local(network.to_canonical(local, first), second)
        apart = (to_pixels(arrived, self.size) - batch.targets).abs().mean(-1)
        terms = {
            "flow": (apart * batch.weights).mean(),
            "layer_depth": (arrived[..., 2] - there).abs().mean(),
            "layer_density": self._elsewhere(network, batch, here, dice),
        }
        total = terms["flow"] + ARRIVAL * terms["layer_depth"] + DENSITY * terms["layer_density"]
        return {"total": total, **terms}

    def _elsewhere(self, network: OmniMotion, batch: Batch, depth: Tensor, dice: torch.Generator) -> Tensor:
        """How far from the guessed depth [P,K] is what some rays show, on average; what shows nothing is 1 away."""
        pixels, depth = batch.pixels[:, : self.rays], depth[:, : self.rays]
        jitter = torch.rand(*depth.shape, self.samples, generator=dice).to(depth)
        z = depths(self.samples, pixels, jitter)
        weights = cast(network, pixels, network.codes(batch.first), self.size, z).weights
        shown: Tensor = (weights * (z - depth[..., None]).abs()).sum(-1) + 1 - weights.sum(-1)
        return shown.mean()

    def _depth(self, frames: Tensor, pixels: Tensor) -> Tensor:
        """Guessed depths [P,K] at pixels [P,K,2] of frames [P]."""
        places = normalise(pixels, self.size).clamp(-1, 1)[:, :, None]
        found = torch.nn.functional.grid_sample(self.maps[frames][:, None], places, mode="nearest", align_corners=True)
        return found[:, 0, :, 0]

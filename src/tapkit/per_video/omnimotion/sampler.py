"""Batches of OmniMotion: pairs by how much of their flow is believed, points where there was least of it so far, and,
once there are some, where predictions are off."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.per_video.omnimotion.losses import Batch
from tapkit.per_video.omnimotion.options import OmniMotionOptions
from tapkit.per_video.prepare.batches import Points, believed, choose, colours, cycled, generator, points_of
from tapkit.per_video.prepare.flows import PairFlows
from tapkit.per_video.prepare.store import Prepared

PUBLISHED = 100_000
"""Steps of the published schedule, in which all moments of it are given."""
FIRST_INTERVAL, INTERVAL_EVERY = 20, 2000
"""Largest distance of a pair at first, and after how many steps it grows by a frame."""
ERRORS_EVERY = 20_000
"""Steps after which the errors of predictions are mapped."""
NEIGHBOURS = 0.5
"""Probability that the second frame is the one after, and the same for the one before; all are brought to sum 1."""
BLUR = (0.06, 0.24, 0.4)
"""A Gaussian of 5 pixels, sigma 1.1, half of it."""


class Sampler:
    """Draws the batch of a step.

    Args:
        prepared, flows: what is drawn from.
        options: numbers of pairs and points.
        seed: of everything drawn.
    """

    def __init__(self, prepared: Prepared, flows: PairFlows, options: OmniMotionOptions, seed: int) -> None:
        self.prepared, self.flows, self.options, self.seed = prepared, flows, options, seed
        self.of_pairs, of_pixels = flows.counts()
        self.rare = 1 / np.sqrt(of_pixels.reshape(len(prepared), -1) + 1.0)
        self.errors: np.ndarray | None = None
        """[N,h,w] float32: how far predictions of neighbours are off; None: not known yet."""

    def draw(self, index: int, steps: int, points: int) -> Batch:
        """The batch of step `index` of `steps`, with so many points of each pair."""
        published = index * PUBLISHED / steps
        found = [self._pair(index, number, published, points) for number in range(self.options.pairs)]
        first, second = (torch.tensor([getattr(pair, name) for pair, _ in found]) for name in ("first", "second"))
        stacked = [torch.from_numpy(np.stack([getattr(pair, name) for pair, _ in found]))
                   for name in ("pixels", "targets", "weights")]  # fmt: skip
        rgb = torch.from_numpy(np.stack([rgb for _, rgb in found]))
        return Batch(first, second, stacked[0], stacked[1], rgb, stacked[2])

    def _pair(self, index: int, number: int, published: float, points: int) -> tuple[Points, np.ndarray]:
        """A pair of frames, its points and their colours."""
        dice = generator(self.seed, 2, index, number)
        first = self._first(index * self.options.pairs + number, dice)
        frames = len(self.prepared)
        interval = min(FIRST_INTERVAL + int(published) // INTERVAL_EVERY, frames - 1, self.flows.reach)
        second = self._second(first, interval, dice)
        mask = self.flows.mask(first, second).reshape(-1)
        near = abs(first - second) == 1  # of neighbours all flow is learned from

        def usable(at: np.ndarray) -> np.ndarray:
            return np.ones(len(at), bool) if near else np.asarray(mask[at]) > 0

        chosen = self._pixels(first, usable, points, dice)
        distance = abs(second - first)
        weight = math.cos((distance - 1) / interval * math.pi / 2)
        found = points_of(self.flows, first, second, chosen, np.where(usable(chosen), weight, 0.0))
        if dice.random() < 0.5:
            # Turned round, a point that is hidden at the far end has no place to be followed from.
            weights = found.weights * believed(self.flows, first, second, chosen)
            found = Points(second, first, found.targets, found.pixels, weights)
        return found, colours(np.asarray(self.prepared.frames[found.first]), found.pixels)

    def _first(self, position: int, dice: np.random.Generator) -> int:
        """The first frame: in turn, or where predictions are off."""
        if self.errors is None:
            return cycled(len(self.prepared), self.seed, position)
        share = self.errors.mean((1, 2)) + 1e-9
        return int(dice.choice(len(share), p=share / share.sum()))

    def _second(self, first: int, interval: int, dice: np.random.Generator) -> int:
        """The second frame: where much can be believed, and often a neighbour."""
        near = np.array([j for j in self.flows.targets(first) if abs(j - first) <= interval])
        share = self.of_pairs[first, near] / max(self.of_pairs[first, near].sum(), 1)
        share[np.abs(near - first) == 1] = NEIGHBOURS
        return int(dice.choice(near, p=share / share.sum()))

    def _pixels(
        self, first: int, usable: Callable[[np.ndarray], np.ndarray], count: int, dice: np.random.Generator
    ) -> np.ndarray:  # fmt: skip
        """Flat indices of the points."""
        rare = self.rare[first]
        if self.errors is None:
            return choose(len(rare), lambda at: usable(at) * rare[at], count, dice)
        errors = self.errors[first].reshape(-1)
        largest = max(float(errors.max()), 1e-9)
        by_error = choose(len(rare), lambda at: usable(at) * errors[at] / largest, count, dice)
        anywhere = choose(len(rare), lambda at: usable(at).astype(float), count, dice)
        return dice.permutation(np.concatenate([by_error, anywhere]))[:count]


def blurred(errors: Tensor) -> Tensor:
    """Maps [N,h,w] under a Gaussian of 5 x 5 pixels."""
    line = errors.new_tensor([*BLUR, *BLUR[-2::-1]])
    kernel = torch.outer(line / line.sum(), line / line.sum())
    return F.conv2d(F.pad(errors[:, None], (2, 2, 2, 2), mode="replicate"), kernel[None, None])[:, 0]

"""Batches of CaDeX++: pairs of frames not far apart, from a range of frames that grows from the middle of the clip."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from tapkit import coords
from tapkit.errors import UsageError
from tapkit.per_video.cadexpp.losses import Batch
from tapkit.per_video.cadexpp.options import CadexOptions
from tapkit.per_video.prepare.batches import Points, choose, generator, points_of
from tapkit.per_video.prepare.flows import PairFlows

PUBLISHED = 22_000
"""Steps of the published schedule."""
FIRST_RANGE, RANGE_EVERY = 20, 100
"""Frames of the range at first, and after how many steps it grows by as many."""
SPREAD = 10.0
"""Standard deviation of the distance of a pair, frames."""
LEAST_PIXELS, LEAST_SHARE = 4096, 0.01
"""Pixels that must be believed of a pair, and that as a share of a small frame."""
ALIKE = 4
"""Distance up to which all are as likely."""


FEWEST_MATCHES = 4
"""Of a pair of frames, below which it is not learned from."""


class MatchSampler:
    """Draws batches of matches between frames far apart.

    Args:
        rows: of each frame, its matches with later ones: records with frame, x, y, to_x, to_y (corner origin, pixels of
            the working size), as `prepare.long_matches` has them.
        pairs: how many pairs of frames in a batch.
        seed: of everything drawn.
    """

    def __init__(self, rows: Sequence[np.ndarray], pairs: int, seed: int) -> None:
        self.pairs, self.seed = pairs, seed
        self.found: list[tuple[int, int, np.ndarray]] = []
        for first, own in enumerate(rows):
            for second in np.unique(own["frame"]):
                of_pair = own[own["frame"] == second]
                if len(of_pair) >= FEWEST_MATCHES:
                    self.found.append((first, int(second), of_pair))

    def draw(self, index: int) -> Batch | None:
        """The batch of a step, with as many matches of each pair as the poorest of them has; None: there are none."""
        if not self.found:
            return None
        dice = generator(self.seed, 3, index)
        chosen = [self.found[k] for k in dice.integers(0, len(self.found), self.pairs)]
        count = min(len(rows) for _, _, rows in chosen)
        taken = [rows[dice.permutation(len(rows))[:count]] for _, _, rows in chosen]
        here, there = (
            coords.to_centers(torch.from_numpy(np.stack([np.stack([rows[x], rows[y]], -1) for rows in taken])))
            for x, y in (("x", "y"), ("to_x", "to_y"))
        )
        one, other = (torch.tensor([pair[k] for pair in chosen]) for k in (0, 1))
        return Batch(one, other, here.float(), there.float(), torch.ones(here.shape[:2]))


class Sampler:
    """Draws the batch of a step. Raises `UsageError` if no pair has enough pixels."""

    def __init__(self, flows: PairFlows, options: CadexOptions, seed: int) -> None:
        self.flows, self.options, self.seed = flows, options, seed
        self.frames = len(flows)
        of_pairs, of_pixels = flows.counts()
        self.rare = 1 / np.sqrt(of_pixels.reshape(self.frames, -1) + 1.0)
        least = min(LEAST_PIXELS, LEAST_SHARE * of_pixels[0].size)
        self.near = []
        for first in range(self.frames):
            near = np.array([j for j in flows.targets(first) if abs(j - first) <= options.interval], int)
            self.near.append(near[of_pairs[first, near] >= max(least, 1)])
        self.usable = [first for first in range(self.frames) if len(self.near[first])]
        if not self.usable:
            raise UsageError(
                "no two frames of this video have enough pixels that can be followed from one to the other"
            )

    def draw(self, index: int, steps: int) -> Batch:
        """The batch of step `index` of `steps`."""
        length = FIRST_RANGE * (1 + int(index * PUBLISHED / steps) // RANGE_EVERY)
        start = max((self.frames - length) // 2, 0)
        within = [first for first in self.usable if start <= first < start + length] or self.usable
        found = []
        for number in range(self.options.pairs):
            first = within[(index * self.options.pairs + number) % len(within)]
            found.append(self._pair(first, generator(self.seed, 2, index, number)))
        one, other = (torch.tensor([getattr(pair, name) for pair in found]) for name in ("first", "second"))
        pixels, targets, weights = (
            torch.from_numpy(np.stack([getattr(pair, name) for pair in found]))
            for name in ("pixels", "targets", "weights")
        )
        return Batch(one, other, pixels, targets, weights)

    def _pair(self, first: int, dice: np.random.Generator) -> Points:
        near = self.near[first]
        apart = np.maximum(np.abs(near - first), ALIKE)
        share = np.exp(-((apart / SPREAD) ** 2) / 2)
        second = int(dice.choice(near, p=share / share.sum()))
        mask, rare = self.flows.mask(first, second).reshape(-1), self.rare[first]
        chosen = choose(len(rare), lambda at: (mask[at] > 0) * rare[at], self.options.points, dice)
        weight = math.cos((abs(second - first) - 1) / self.options.interval * math.pi / 3)
        found = points_of(self.flows, first, second, chosen, weight)
        if dice.random() < 0.5:
            return Points(second, first, found.targets, found.pixels, found.weights)
        return found

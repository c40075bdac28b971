"""Batches of matches between frames far apart, which hold CaDeX++ together where flow has lost its way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tapkit.coords import to_centers
from tapkit.per_video.cadexpp.losses import Batch
from tapkit.per_video.prepare.batches import generator

FEWEST = 4
"""Matches that a pair of frames must have."""


class _Pair(NamedTuple):
    """Two frames, and the rows of their matches in the first one's array."""

    first: int
    second: int
    begin: int
    end: int


class MatchSampler:
    """Draws the batch of a step; `found` is whether there are any.

    Args:
        matches: of each frame, those with later ones (`prepare.long_matches.ROW`).
        pairs: pairs of frames in a batch.
        seed: of the fit.
    """

    def __init__(self, matches: Sequence[np.ndarray], pairs: int, seed: int) -> None:
        self.matches, self.count, self.seed = matches, pairs, seed
        self.pairs = [pair for first in range(len(matches)) for pair in _pairs_of(first, matches[first])]

    @property
    def found(self) -> bool:
        """Whether any two frames have enough matches."""
        return bool(self.pairs)

    def draw(self, index: int) -> Batch:
        """The batch of step `index`: as many matches of each pair as the pair with the fewest has."""
        dice = generator(self.seed, 3, index)
        drawn = [self.pairs[number] for number in dice.integers(len(self.pairs), size=self.count)]
        each = min(pair.end - pair.begin for pair in drawn)
        ends: list[tuple[int, int, np.ndarray, np.ndarray]] = []
        for pair in drawn:
            rows = self.matches[pair.first][pair.begin + dice.permutation(pair.end - pair.begin)[:each]]
            here, there = (np.stack([rows[x], rows[y]], 1) for x, y in (("x", "y"), ("to_x", "to_y")))
            forward = (pair.first, pair.second, here, there)
            ends.append(forward if dice.random() < 0.5 else (pair.second, pair.first, there, here))
        first, second = (torch.tensor([end[side] for end in ends]) for side in (0, 1))
        pixels, targets = _pixels([end[2] for end in ends]), _pixels([end[3] for end in ends])
        return Batch(first, second, pixels, targets, torch.ones(pixels.shape[:2]))


def _pixels(parts: list[np.ndarray]) -> Tensor:
    """Index coordinates [P,K,2] from corner-origin ones."""
    return to_centers(torch.from_numpy(np.stack(parts)))


def _pairs_of(first: int, rows: np.ndarray) -> list[_Pair]:
    """The later frames with which a frame has enough matches."""
    frames, begins, counts = np.unique(rows["frame"], return_index=True, return_counts=True)
    return [
        _Pair(first, int(frame), int(begin), int(begin + count))
        for frame, begin, count in zip(frames, begins, counts, strict=True)
        if count >= FEWEST
    ]

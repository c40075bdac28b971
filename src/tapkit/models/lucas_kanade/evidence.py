"""How sure Lucas-Kanade is: from what it measured to probabilities, by a regression on synthetic clips."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

FOLLOWED = (
    (0.832, -0.805, 1.952, 0.390, 0.079, -1.477),
    (1.082, -0.888, 2.381, 0.129, -0.251, -2.256),
)
LOST = (
    (1.832, 0.207, -0.506, -0.714, 1.852, -2.447),
    (2.606, -0.531, -0.536, -0.036, 0.369, -0.845),
)


class Evidence(NamedTuple):
    """What is known of each point on a frame."""

    tracked: Tensor
    """[N] bool: followed; else lost."""
    back_error: Tensor
    """[N] forward-backward error in pixels."""
    match: Tensor
    """[N] correlation with the query's patch, -1..1; for lost points the best one near where they were lost."""
    age: Tensor
    """[N] frames since the query."""
    lost: Tensor
    """[N] frames since it was lost."""
    taken_up: Tensor
    """[N] bool: was lost at least once and found again."""
    edge: Tensor
    """[N] bool: at the border of the frame, where lost points that have left it wait."""


def joined(first: Tensor, second: Tensor) -> Tensor:
    """Rows of both. By numpy: on small arrays torch's threads wait for each other longer than they work."""
    return torch.from_numpy(np.concatenate([first.numpy(), second.numpy()]))


def features(evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
    """What the probabilities depend on: for points being followed [N,6], for lost ones [N,6]."""
    _, back, match, age, lost, taken_up, edge = (part.numpy() for part in evidence)
    ones, age, similarity = np.ones_like(match), np.log1p(age), np.maximum(match, 0) ** 4
    followed = np.stack([ones, np.minimum(back, 2.0), match, similarity, age, taken_up], -1)
    return followed, np.stack([ones, np.log1p(lost), age, match, similarity, edge], -1)


def probabilities(evidence: Evidence) -> tuple[Tensor, Tensor]:
    """P(visible) [N] and P(error < radius) [N], logistic in the evidence.

    The coefficients are fitted on synthetic clips with exact ground truth by `tools/calibrate_lucas_kanade.py`.
    """
    followed, away = features(evidence)
    logits = np.where(evidence.tracked.numpy()[:, None], followed @ np.array(FOLLOWED).T, away @ np.array(LOST).T)
    both = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return torch.from_numpy(both[:, 0]), torch.from_numpy(both[:, 1])

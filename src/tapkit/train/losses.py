"""Pieces of which the losses of the published trackers are made. Each trackers' own loss is in its folder."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

EMPTY = 1e-6
"""Added to the number of entries of a mean, so that the mean over none is 0."""


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of values [...] over the entries of a mask [...]; what it leaves out may be anything, also NaN."""
    return torch.where(mask, values, 0.0).sum() / (mask.sum() + EMPTY)


def huber(difference: Tensor, delta: float) -> Tensor:
    """d^2 / 2 up to `delta`, beyond it delta (|d| - delta / 2)."""
    size = difference.abs()
    return torch.where(size <= delta, 0.5 * difference.square(), delta * (size - 0.5 * delta))


def huber_norm(difference: Tensor, delta: float) -> Tensor:
    """The Huber function of the length of vectors [...,2]: [...]."""
    square = difference.square().sum(-1)
    far = square > delta**2
    length = torch.where(far, square, 1.0).sqrt()  # the root has no derivative at 0
    return torch.where(far, delta * (length - 0.5 * delta), 0.5 * square)


def decayed(terms: list[Tensor], gamma: float) -> Tensor:
    """(1/M) sum of gamma^(M - m) times term m = 1..M: later iterations weigh more."""
    count = len(terms)
    weighted = [gamma ** (count - 1 - number) * term for number, term in enumerate(terms)]
    return torch.stack(weighted).sum() / count


def balanced_logistic(logits: Tensor, positive: Tensor, counted: Tensor) -> Tensor:
    """Mean logistic loss over the positive entries plus that over the negative ones; all [...], masks bool."""
    rise, fall = F.softplus(-logits), F.softplus(logits)
    return masked_mean(rise, positive & counted) + masked_mean(fall, ~positive & counted)


def finite(xy: Tensor) -> tuple[Tensor, Tensor]:
    """Positions [...,2] with zeros where they are not known, and where they are [...]."""
    known = torch.isfinite(xy).all(-1)
    return torch.where(known[..., None], xy, 0.0), known


HUBER_WEIGHT, HUBER_DELTA, FAR = 0.05, 4.0, 6.0
"""Of TAPIR's loss; pixels of a 256x256 frame."""


def tapir_loss(
    xy: Tensor, occluded: Tensor, uncertain: Tensor, truth: Tensor, visible: Tensor, known: Tensor
) -> dict[str, Tensor]:
    """The loss of one estimate of TAPIR and LocoTrack, by its three parts, each a mean over all entries.

    Doersch et al., ICCV 2023, section 3.4. Occluded entries have no position, and nothing to be uncertain about.

    Args:
        xy: [...,2], pixels of a 256x256 frame; occluded, uncertain: logits [...].
        truth: [...,2]; visible, known: bool [...]. Entries that are not known, or not asked for, count nowhere.
    """
    truth, placed = finite(truth)
    seen = visible & known & placed
    entries = known.sum().clamp(min=1)
    distance = (xy.detach() - truth).norm(dim=-1)
    far = F.binary_cross_entropy_with_logits(uncertain, (distance > FAR).to(uncertain.dtype), reduction="none")
    hidden = F.binary_cross_entropy_with_logits(occluded, (~visible).to(occluded.dtype), reduction="none")
    position = huber_norm(xy - truth, HUBER_DELTA)
    return {
        "position": HUBER_WEIGHT * torch.where(seen, position, 0.0).sum() / entries,
        "occlusion": torch.where(known, hidden, 0.0).sum() / entries,
        "uncertainty": torch.where(seen, far, 0.0).sum() / entries,
    }

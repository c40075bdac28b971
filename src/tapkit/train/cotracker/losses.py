"""The losses of CoTracker2 and CoTracker3 over one window (positions in pixels of the frames, corner origin or not).

CoTracker2: Karaev et al., arXiv:2307.07635, section 3.3 and appendix. CoTracker3: arXiv:2410.11831, section 3.3; both
as the released code computes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.train.cotracker.unroll import Track
from tapkit.train.losses import balanced_logistic, decayed, finite, huber, masked_mean

HUBER_DELTA = 6.0
VISIBLE_WEIGHT, OCCLUDED_WEIGHT = 0.05, 0.01
CONFIDENT = 12.0
"""Confidence is P(error <= so many pixels)."""
VISIBILITY_WEIGHT2 = 10.0


class Truth(NamedTuple):
    """What is known of N points on the frames of a window."""

    xy: Tensor
    """[N,S,2] pixels; not finite where it is not known."""
    visible: Tensor
    """[N,S] bool."""
    known: Tensor
    """[N,S] bool: whether `visible` is known."""
    asked: Tensor
    """[N,S] bool: where positions count."""


def cotracker3_loss(
    tracks: Sequence[Track], truth: Truth, gamma: float, judge: bool = True, occluded: bool = True
) -> dict[str, Tensor]:
    """The parts of a window's loss; their sum is minimised. `tracks` (pixels) are those after each iteration.

    Positions: Huber where visible, absolute differences where occluded, later iterations more than earlier ones.
    Visibility and confidence: on all frames alike, also before the query, all iterations alike.
    """
    target, placed = finite(truth.xy)
    counted = truth.asked & truth.known & placed
    seen, hidden = counted & truth.visible, counted & ~truth.visible
    parts = {
        "visible_position": VISIBLE_WEIGHT
        * decayed([masked_mean(huber(t.xy - target, HUBER_DELTA).mean(-1), seen) for t in tracks], gamma)
    }
    if occluded:
        terms = [masked_mean((track.xy - target).abs().mean(-1), hidden) for track in tracks]
        parts["occluded_position"] = OCCLUDED_WEIGHT * decayed(terms, gamma)
    if judge:
        parts["visibility"] = torch.stack([_visibility(track, truth) for track in tracks]).mean()
        parts["confidence"] = torch.stack([_confidence(track, target, truth, placed) for track in tracks]).mean()
    return parts


def _visibility(track: Track, truth: Truth) -> Tensor:
    label = truth.visible.to(track.visible.dtype)
    wrong = F.binary_cross_entropy_with_logits(track.visible, label, reduction="none")
    return torch.where(truth.known, wrong, 0.0).sum() / truth.known.sum().clamp(min=1)


def _confidence(track: Track, target: Tensor, truth: Truth, placed: Tensor) -> Tensor:
    """Of visible points; the mean is over all entries, also occluded ones."""
    near = (track.xy.detach() - target).norm(dim=-1) <= CONFIDENT
    wrong = F.binary_cross_entropy_with_logits(track.confidence, near.to(track.confidence.dtype), reduction="none")
    seen = truth.visible & truth.known & placed
    return torch.where(seen, wrong, 0.0).sum() / truth.known.sum().clamp(min=1)


def cotracker2_loss(
    tracks: Sequence[Track], truth: Truth, gamma: float, judge: bool = True, occluded: bool = True
) -> dict[str, Tensor]:
    """The parts of a window's loss, over the number of points; their sum is minimised.

    The probability of being visible goes into the logistic loss as if it were a logit, as in the released code.
    """
    target, placed = finite(truth.xy)
    counted = truth.asked & truth.known & placed & (truth.visible | occluded)
    count = len(target)
    terms = [masked_mean((track.xy - target).abs().mean(-1), counted) for track in tracks]
    parts = {"position": decayed(terms, gamma) / count}
    if judge:
        probability = tracks[-1].visible.sigmoid()
        logistic = balanced_logistic(probability, truth.visible, truth.asked & truth.known)
        parts["visibility"] = VISIBILITY_WEIGHT2 * logistic / count
    return parts

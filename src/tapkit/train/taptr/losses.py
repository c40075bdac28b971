"""The losses of TAPTR and TAPTRv2: distance of the positions of every layer, and the classes of the last.

H. Li et al., arXiv:2403.13042, section 3.5, and arXiv:2407.16291; as the released code computes them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

POSITION_WEIGHT, CLASS_WEIGHT = 5.0, 1.0
VISIBLE, OCCLUDED = 1, 2
"""Classes; 0 is never right."""


def position_loss(xy: Tensor, truth: Tensor, counted: Tensor, spare: int = 0) -> Tensor:
    """Sum of |dx| + |dy| over the number of entries.

    Args:
        xy: normalised positions [T,N,2]; truth: the same.
        counted: bool [T,N]; of these, entries whose truth lies outside the frame are left out.
        spare: added to the number of entries (TAPTRv2: 1, so that none are no error).
    """
    inside = ((truth >= 0) & (truth <= 1)).all(-1)
    entries = counted & inside
    total = ((xy - truth).abs().sum(-1) * entries).sum()
    return total / (entries.sum() + spare)


def class_loss(logits: Tensor, labels: Tensor, counted: Tensor, spare: int = 0) -> Tensor:
    """Focal loss (T. Lin et al., 2017; alpha 0.25, gamma 2) of the classes [T,N,3], summed over classes, over entries.

    labels [T,N]: `VISIBLE` or `OCCLUDED`; counted: bool [T,N].
    """
    target = F.one_hot(labels, logits.shape[-1]).to(logits.dtype)
    plain = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    probability = logits.sigmoid()
    wrong = 1 - (probability * target + (1 - probability) * (1 - target))
    balance = 0.25 * target + 0.75 * (1 - target)
    total = ((balance * wrong**2 * plain).sum(-1) * counted).sum()
    return total / (counted.sum() + spare)


def total_loss(
    xy: Tensor, logits: Tensor, truth: Tensor, labels: Tensor, counted: Tensor, moved: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """What is minimised, and its terms.

    Args:
        xy: positions of all layers [L,T,N,2]; logits: classes of the last [T,N,3].
        truth: [T,N,2]; labels, counted: [T,N].
        moved: positions after the attention of all layers [L,T,N,2] (TAPTRv2).
    """
    spare = 0 if moved is None else 1
    terms = {f"xy_{number}": position_loss(layer, truth, counted, spare) for number, layer in enumerate(xy)}
    if moved is not None:
        terms |= {f"moved_{number}": position_loss(layer, truth, counted, spare) for number, layer in enumerate(moved)}
    terms["class"] = class_loss(logits, labels, counted, spare)
    weights = [CLASS_WEIGHT if name == "class" else POSITION_WEIGHT for name in terms]
    return torch.stack([weight * term for weight, term in zip(weights, terms.values(), strict=True)]).sum(), terms

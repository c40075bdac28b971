"""The losses: a walk to the next frame and back must end where it began; motion is smooth where the picture is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tapkit.flow.gmrw.matching import cell_positions

_ENTRIES = 1 << 24
"""Entries of the matrices whose gradients are worked out at once."""
_NEVER = -1e9
"""Score of a cell that the walk does not go to (finite, so that a row of them has a gradient of zero)."""
_LEAST = 1e-7
_EDGE = 150.0
_ROBUST = 0.001

T = TypeVar("T")
Pair = tuple[Tensor, Tensor]
"""Features [h,w,C] of two frames that know of one another."""


def return_probability(there: Pair, back: Pair, ends: Tensor, window_threshold: float | None = None) -> Tensor:
    """log P(the walk from cell i ends in `ends`[i]): float32 [h*w].

    The walk goes from the first to the second frame of `there`, then from the first to the second of `back`; its
    matrix is the product of both transition matrices. Of that product one entry a row is needed, and only that is
    worked out: memory and time grow with the square of the cells, not with the cube.
    """
    scale = there[0].shape[-1] ** -0.5
    a1, a2, b2, b1 = (x.float().flatten(0, 1) for x in (*there, *back))
    a1, b2 = a1 * scale, b2 * scale
    height, width = there[0].shape[:2]
    places = cell_positions(height, width, a1.device)
    step = max(_ENTRIES // len(a2), 1)
    totals, bests = [], []
    for part in torch.split(b2, step):
        total, best = _checkpointed(_row_totals, part, b1, places, window_threshold)
        totals.append(total)
        bests.append(best)
    total2, best2 = torch.cat(totals), torch.cat(bests)
    found = []
    for rows, to in zip(torch.split(a1, step), torch.split(ends, step), strict=True):
        found.append(_checkpointed(_walk, rows, a2, b2, b1, to, total2, best2, places, window_threshold))
    return torch.cat(found)


def _checkpointed(function: Callable[..., T], *arguments: Any) -> T:
    """What the function returns; what it computes on the way is computed again for the gradients."""
    result: T = checkpoint(function, *arguments, use_reentrant=False)
    return result


def _row_totals(rows: Tensor, target: Tensor, places: Tensor, window: float | None) -> tuple[Tensor, Tensor]:
    """log of the sum of exp(scores) of each row, within its window, and its best cell."""
    scores = rows @ target.T
    best = scores.argmax(1)
    if window is not None:
        scores = scores.masked_fill(_far(places[best], places, window), _NEVER)
    return scores.logsumexp(1), best


def _walk(
    rows: Tensor,
    middle: Tensor,
    from_middle: Tensor,
    last: Tensor,
    ends: Tensor,
    totals: Tensor,
    best_from_middle: Tensor,
    places: Tensor,
    window: float | None,
) -> Tensor:
    """log of sum over k of P1[i,k] P2[k, ends[i]] for some rows i."""
    there = rows @ middle.T
    back = last[ends] @ from_middle.T - totals
    if window is not None:
        there = there.masked_fill(_far(places[there.argmax(1)], places, window), _NEVER)
        back = back.masked_fill(_far(places[ends], places[best_from_middle], window), _NEVER)
    return (there + back).logsumexp(1) - there.logsumexp(1)


def _far(some: Tensor, others: Tensor, window: float) -> Tensor:
    """Whether positions [M,2] and [K,2] are as far apart as the window, or farther: bool [M,K]."""
    return (some[:, None] - others).square().sum(-1) >= window**2


def walk_loss(log_probability: Tensor, counted: Tensor) -> Tensor:
    """Mean of -log(P + 1e-7) over the cells [h*w] that count; 0 where none does."""
    if not counted.any():
        return log_probability.sum() * 0.0
    return -(log_probability[counted].exp() + _LEAST).log().mean()


def smoothness_loss(flow: Tensor, image: Tensor) -> Tensor:
    """Second differences of the flow [2,H,W] (pixels), except across edges of the image [3,H,W] in [0,1]."""
    parts = []
    for axis in (1, 2):
        length = flow.shape[axis]
        before, here, after = (flow.narrow(axis, start, length - 2) for start in (0, 1, 2))
        curvature = (before - 2 * here + after).square().add(_ROBUST**2).sqrt()
        edges = image.narrow(axis, 2, length - 2) - image.narrow(axis, 0, length - 2)
        weight = (-(_EDGE * edges).square().mean(0)).exp()
        parts.append((weight * curvature).mean())
    return (parts[0] + parts[1]) / 2

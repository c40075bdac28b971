"""How a point that cannot be seen is thought to move: as those around it that moved with it while it was seen."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from tapkit import coords
from tapkit.coords import Size
from tapkit.flow.fields import at_points, follow

RINGS = (0.03, 0.08, 0.2)
"""Radii of the rings of companions, parts of the frame's longer side."""
_EACH = 8


class Companions(NamedTuple):
    """S places around each of N points."""

    xy: Tensor
    """float32 [N,S,2]."""
    weight: Tensor
    """float32 [N,S], 0..1: how much each moves as the point does; 0: lost, or off the frame."""


def placed(xy: Tensor, size: Size) -> Companions:
    """Companions in rings around points [N,2], all alike."""
    angle = torch.arange(_EACH, device=xy.device, dtype=xy.dtype) * (2 * math.pi / _EACH)
    ring = torch.stack([angle.cos(), angle.sin()], 1)
    offsets = torch.cat([radius * max(size) * ring for radius in RINGS])
    places = xy[:, None] + offsets
    return Companions(places, coords.inside(places, size).to(xy.dtype))


def alike(companions: Companions, motion: Tensor, back: Tensor) -> Companions:
    """The companions [N,S], weighted by how nearly they came the way that their points did.

    Args:
        companions: on the frame just reached.
        motion: [N,2] of the points, from the frame before.
        back: [1,2,h,w] flow to the frame before.
    """
    other = -at_points(back, companions.xy.flatten(0, 1)[None])[0].view_as(companions.xy)
    apart = (other - motion[:, None]).norm(dim=-1)
    reach = 1 + 0.1 * motion.norm(dim=-1, keepdim=True)
    return companions._replace(weight=companions.weight * torch.exp(-0.5 * (apart / reach).square()))


def confident(there: Tensor, back: Tensor, xy: Tensor, alpha: float, beta: float) -> tuple[Tensor, Tensor]:
    """Where points [...,2] go, and whether the flow there is confirmed by the flow back (Meister et al., UnFlow,
    AAAI 2018): |f + b|^2 < alpha (|f|^2 + |b|^2) + beta."""
    flat = xy.reshape(1, -1, 2)
    after = follow(there, flat)
    forward, backward = after - flat, at_points(back, after)
    bound = alpha * (forward.square().sum(-1) + backward.square().sum(-1)) + beta
    sure = (forward + backward).square().sum(-1) < bound
    return after.view_as(xy), sure.view(xy.shape[:-1])


def advanced(
    companions: Companions, there: Tensor, back: Tensor, size: Size, alpha: float, beta: float
) -> tuple[Companions, Tensor, Tensor]:
    """Companions on the next frame, what they say of their points' motion [N,2], and whether any says anything [N].

    Those whose flow is not confirmed are left behind.
    """
    xy, sure = confident(there, back, companions.xy, alpha, beta)
    weight = companions.weight * (sure & coords.inside(xy, size))
    total = weight.sum(1)
    motion = ((xy - companions.xy) * weight[..., None]).sum(1) / total.clamp(min=1e-6)[:, None]
    known = total > 0.1
    return Companions(xy, weight), torch.where(known[:, None], motion, 0.0), known

"""The losses of one frame, safe where nothing is visible: every mean over no points is zero, with zero gradient.

Positions are compared in pixels of a 256x256 frame, whatever the clip's size, so that weights and radius mean the same.
Positions by Huber (TAPIR, ICCV 2023, section 3.4); matching by cross-entropy over cells (Track-On, ICLR 2025); the
confidence's target is whether the answer is within the radius (TAPIR's uncertainty, the other way round).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.constants import constant_like
from tapkit.models.strand.encoder import STRIDES
from tapkit.models.strand.network import Step
from tapkit.models.strand.patches import to_cells
from tapkit.train.strand.settings import StrandSettings


class Truth(NamedTuple):
    """What is true of M points on one frame."""

    xy: Tensor
    """[M,2] pixels of the frame; not finite where unknown."""
    visible: Tensor
    """[M] bool."""
    known: Tensor
    """[M] bool: whether `visible` is known."""
    active: Tensor
    """[M] bool: the point was queried on an earlier frame."""


PARTS = (
    "position",
    "candidate_position",
    "matching",
    "local_matching",
    "candidate_score",
    "visibility",
    "confidence",
)
"""Names of the parts, fields of `LossWeights`."""
BEND = 0.125
"""Cells of the fine map at which the Huber turns linear: half a pixel of a 256x256 frame."""
GOOD = 1.5
"""A candidate that ends so far from the truth (pixels of a 256x256 frame) is half right."""
REACH = 48.0
"""From further away (pixels of a 256x256 frame) a look cannot see a point, so it has no position loss."""


def mean_where(values: Tensor, weight: Tensor) -> Tensor:
    """The weighted mean; 0 where all weights are 0. Values of weight 0 may be anything, not-a-number too."""
    weight = weight.to(values.dtype)
    kept = torch.where(weight > 0, values, torch.zeros_like(values))
    return (kept * weight).sum() / weight.sum().clamp(min=1e-6)


def huber(error: Tensor, delta: float) -> Tensor:
    """Huber of an error's length: error [...,2] -> [...], quadratic below `delta`, with a gradient at 0."""
    length = (error.square().sum(-1) + 1e-6).sqrt()
    return torch.where(length < delta, 0.5 * length.square() / delta, length - 0.5 * delta)


def cell_entropy(logits: Tensor, target: Tensor, shape: tuple[int, int], x_slow: bool) -> tuple[Tensor, Tensor]:
    """Cross-entropy of logits [M,h*w] with the cells around a position, each by its bilinear share.

    target [M,2] in cells, `shape` (h, w), x_slow: whether cells are ordered column by column.
    Returns the entropies [M], and which positions lie within the map [M] bool.
    """
    height, width = shape
    limit = constant_like([width - 1.0, height - 1.0], target)
    inside = ((target >= 0) & (target <= limit)).all(-1)
    place = torch.where(inside[:, None], target, torch.zeros_like(target))
    corner = torch.minimum(place.floor(), (limit - 1).clamp(min=0))
    fraction = place - corner
    logs = logits.log_softmax(-1)
    total: Tensor = torch.zeros_like(logs[:, 0])
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = corner[:, 0].long() + dx, corner[:, 1].long() + dy
            share = (fraction[:, 0] if dx else 1 - fraction[:, 0]) * (fraction[:, 1] if dy else 1 - fraction[:, 1])
            cell = x * height + y if x_slow else y * width + x
            total = total - share * logs.gather(1, cell[:, None])[:, 0]
    return total, inside


def frame_losses(step: Step, truth: Truth, size: tuple[int, int], settings: StrandSettings) -> dict[str, Tensor]:
    """All parts of the loss on a frame of `size` (h, w), by the names of `PARTS`, not yet weighted."""
    scale = 256.0 / max(size)
    placed = torch.isfinite(truth.xy).all(-1)
    xy = torch.where(placed[:, None], truth.xy, torch.zeros_like(truth.xy))
    seen = truth.active & truth.visible & truth.known & placed
    # Occluded points: only where the position is known and within the frame, since nothing outside can be seen.
    within = (xy >= 0).all(-1) & (xy <= constant_like([size[1], size[0]], xy)).all(-1)
    unseen = truth.active & truth.known & ~truth.visible & placed & within
    weight = seen.float() + settings.loss_weights.occluded * unseen.float()
    unit = STRIDES[0]

    def misses(answer: Tensor) -> Tensor:
        target = xy if answer.ndim == 2 else xy[:, None]
        return (answer - target) * scale

    def near(place: Tensor) -> Tensor:
        """Whether the point can be seen from there."""
        return distance(place) < REACH

    def distance(answer: Tensor) -> Tensor:
        return misses(answer.detach()).square().sum(-1).sqrt()

    parts = {}
    parts["position"] = mean_where(huber(misses(step.xy) / unit, BEND), weight * near(step.looked))
    candidates = huber(misses(step.refined) / unit, BEND)
    parts["candidate_position"] = mean_where(candidates, weight[:, None] * near(step.candidates))
    grid = (size[0] // STRIDES[0], size[1] // STRIDES[0])
    limit = constant_like([grid[1] - 1.0, grid[0] - 1.0], xy)
    cells = torch.minimum(to_cells(xy, STRIDES[0]).clamp(min=0), limit)  # half a cell of border counts to its cell
    entropy, inside = cell_entropy(step.cost, cells, grid, x_slow=False)
    parts["matching"] = mean_where(entropy, seen & inside)
    side = round(step.around.shape[1] ** 0.5)
    offset = (xy - step.looked) / STRIDES[0] + side // 2
    entropy, inside = cell_entropy(step.around, offset, (side, side), x_slow=True)
    parts["local_matching"] = mean_where(entropy, seen & inside)
    # By degrees, not by a radius: of two candidates that are near, the nearer one is wanted.
    right = 1 / (1 + (distance(step.refined) / GOOD).square())
    parts["candidate_score"] = mean_where(_entropy(step.scores, right), seen[:, None].expand_as(right))
    parts["visibility"] = mean_where(_entropy(step.visible, truth.visible.float()), truth.active & truth.known)
    within_radius = (distance(step.xy) < settings.confidence_radius).float()
    parts["confidence"] = mean_where(_entropy(step.confidence, within_radius), seen.float() + 0.3 * unseen.float())
    return parts


def _entropy(logits: Tensor, target: Tensor) -> Tensor:
    result: Tensor = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return result


def weighted(parts: dict[str, Tensor], settings: StrandSettings) -> Tensor:
    """The loss: the sum of its parts times their weights."""
    learned = [name for name in PARTS if not (settings.freeze_visibility and name in ("visibility", "confidence"))]
    return torch.stack([parts[name] * getattr(settings.loss_weights, name) for name in learned]).sum()

"""What DINO-Tracker is fitted by (arXiv:2403.14548, section 3; weights and constants as the authors ran it).

Positions are pixels of the frame as the model sees it; where a loss compares positions, both are scaled so that the
frame spans -1 to 1. All features are those of `Features`: frames are numbered among the given ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.constants import constant_like
from tapkit.coords import Size
from tapkit.per_video.dino_tracker.head import SMALLEST, unit
from tapkit.per_video.dino_tracker.network import DinoTracker, Features
from tapkit.per_video.prepare.buddies import mutual_nearest

HUBER = 1 / 32
"""Distance, in units of half a frame, from which errors count linearly."""
TEMPERATURE = 0.1
RAW_BUDDIES, REFINED_BUDDIES = 700, 900
"""What the sums over pairs of buddies are divided by (twice, as both directions are in the sum)."""
AMBIGUITY = (27.0, 5.7)
CYCLE_DISCOUNT = 0.8
"""Weight that a point loses for each pixel by which it misses where it came from."""


class Buddies(NamedTuple):
    """Best buddies between two frames: features that are each other's nearest."""

    source: Tensor
    """[n,2] float32, positions on the first frame."""
    target: Tensor
    """[n,2]."""
    cosine: Tensor
    """[n] of the frozen features."""
    ambiguity: Tensor
    """[n], 0..1: how near the second best match comes to the best."""


class Pair(NamedTuple):
    """Two frames, as numbers among those whose features are given."""

    source: int
    target: int


Limit = Callable[[int, Tensor], Tensor]
"""(frame, positions [n,2] on it) -> rows int64 of those that are to be used: so many on the object, so many beside."""


def unit_square(xy: Tensor, size: Size) -> Tensor:
    """Positions scaled so that 0 becomes -1 and the side less one becomes 1."""
    return xy * constant_like([2 / (size[1] - 1), 2 / (size[0] - 1)], xy) - 1


def flow_loss(found: Tensor, wanted: Tensor, size: Size) -> Tensor:
    """Mean Huber distance of positions [P,2]."""
    return F.huber_loss(unit_square(found, size), unit_square(wanted, size), delta=HUBER)


def prior_losses(features: Features, raw: Tensor) -> tuple[Tensor, Tensor]:
    """How far the refined features have gone from the frozen ones [F,C,h,w]: in length, and in direction."""
    lengths = features.maps.norm(dim=1) / raw.norm(dim=1).clamp(min=SMALLEST)
    cosine = (features.tokens * unit(raw.flatten(2).transpose(1, 2))).sum(-1)
    return (lengths - 1).abs().mean(), (cosine - 1).abs().mean()


def info_nce(first: Tensor, second: Tensor, of_first: Tensor, of_second: Tensor) -> tuple[Tensor, Tensor]:
    """How much better pairs match than all else, both ways: [n] each.

    Args:
        first, second: features [n,C] of both points of each pair.
        of_first, of_second: all tokens [h*w,C], of length 1, of the frames they lie on.
    """
    first, second = unit(first), unit(second)
    together = (first * second).sum(1) / TEMPERATURE
    there = torch.logsumexp(first @ of_second.T / TEMPERATURE, 1) - together
    back = torch.logsumexp(second @ of_first.T / TEMPERATURE, 1) - together
    return there, back


def raw_buddy_weights(cosine: Tensor, ambiguity: Tensor) -> Tensor:
    """What pairs [n] of the frozen features count: those that match well and match nothing else."""
    slope, shift = AMBIGUITY
    return torch.sigmoid(slope * (1 - ambiguity) - shift) * buddy_weights(cosine)


def buddy_weights(cosine: Tensor) -> Tensor:
    """What pairs [n] of this cosine count."""
    return (2 * cosine**3).clamp(min=0)


def raw_buddy_loss(features: Features, pairs: Sequence[tuple[Pair, Buddies]]) -> Tensor:
    """Contrastive loss on best buddies of the frozen features."""
    total = features.maps.new_zeros(())
    for pair, buddies in pairs:
        ends = zip(pair, (buddies.source, buddies.target), strict=True)
        first, second = (features.grid.read(features.maps[f : f + 1], xy[None])[0] for f, xy in ends)
        there, back = info_nce(first, second, features.tokens[pair.source], features.tokens[pair.target])
        weights = raw_buddy_weights(buddies.cosine, buddies.ambiguity)
        total = total + ((there + back) * weights).sum()
    return total / (2 * RAW_BUDDIES)


def refined_buddy_loss(features: Features, pairs: Sequence[Pair], limit: Limit) -> Tensor:
    """Contrastive loss on tokens that at present are each other's nearest; `limit` says which of them."""
    centres = features.grid.centres(features.maps.device)
    total = features.maps.new_zeros(())
    for pair in pairs:
        first, second = features.tokens[pair.source], features.tokens[pair.target]
        with torch.no_grad():
            here, there, cosine = mutual_nearest(first, second)
            rows = limit(pair.source, centres[here])
            here, there, cosine = here[rows], there[rows], cosine[rows]
        there_loss, back_loss = info_nce(first[here], second[there], first, second)
        total = total + ((there_loss + back_loss) * buddy_weights(cosine)).sum()
    return total / (2 * REFINED_BUDDIES)


class Cycle(NamedTuple):
    """Points that come back to about where they began, when they are tracked to another frame and back."""

    source: Tensor
    """int64 [n] frames."""
    target: Tensor
    """int64 [n]."""
    begin: Tensor
    """[n,2] positions on the source frames."""
    end: Tensor
    """[n,2] where they were found on the target frames."""
    miss: Tensor
    """[n] pixels between where they began and where they came back to."""


@torch.no_grad()
def cycles(
    network: DinoTracker, features: Features, source: Tensor, target: Tensor, begin: Tensor, most: float
) -> Cycle:
    """Those of the points that come back to within `most` pixels."""
    end = network.locate(features, features.at(source, begin), target)
    back = network.locate(features, features.at(target, end), source)
    miss = (back - begin).norm(dim=1)
    kept = miss <= most
    return Cycle(source[kept], target[kept], begin[kept], end[kept], miss[kept])


def cycle_loss(network: DinoTracker, features: Features, kept: Cycle) -> Tensor:
    """Consistency of tracking there and back, each half of it; 0 without points.

    What is found there is compared with what was found there before, which is the same: that half has a gradient only
    where the network has changed in between.
    """
    if not len(kept.begin):
        return features.maps.new_zeros(())
    size = features.grid.size
    ways = ((kept.source, kept.begin, kept.target, kept.end), (kept.target, kept.end, kept.source, kept.begin))
    total = features.maps.new_zeros(())
    for source, begin, target, end in ways:
        found = network.locate(features, features.at(source, begin), target)
        errors = F.huber_loss(unit_square(found, size), unit_square(end, size), delta=HUBER, reduction="none").mean(1)
        total = total + (CYCLE_DISCOUNT**kept.miss * errors).mean() / 2
    return total


WEIGHTS = {
    "flow": 1.0,
    "cycle": 0.5,
    "raw_buddies": 2.5e-4,
    "refined_buddies": 5e-5,
    "length": 1e-4,
    "direction": 1e-4,
}
"""What each loss counts; `cycle` and `refined_buddies` join in the second half of the fit."""


def weighted(losses: dict[str, Tensor]) -> Tensor:
    """The sum of losses, each by its weight."""
    total: Tensor = torch.stack([WEIGHTS[name] * value for name, value in losses.items()]).sum()
    return total

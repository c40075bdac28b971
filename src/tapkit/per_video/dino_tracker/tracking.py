"""Tracks over a whole clip with fitted networks, and which of their points are hidden.

A point's place in every frame is found by itself. Whether it is hidden there is judged afterwards: its track is begun
anew from every frame's place into the anchors, frames on which the point looks as it does on its query's frame. Places
from which the anchors are missed by more than from any anchor are hidden, and so are those that look otherwise.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.per_video.dino_tracker.head import SMALLEST
from tapkit.per_video.dino_tracker.network import DinoTracker, Features

ANCHOR_COSINE = 0.7
"""A frame is an anchor where the point looks at least so much as on its query's frame."""
LEAST_COSINE = 0.6
"""Below that it is hidden."""


class Found(NamedTuple):
    """Of N points over T frames."""

    xy: Tensor
    """[N,T,2] pixels of the frame as the model sees it."""
    cosine: Tensor
    """[N,T]: how much the point looks as it does on its query's frame."""
    anchors: Tensor
    """bool [N,T]: which frames are anchors."""
    miss: Tensor
    """[N,T]: median distance by which the anchors are missed from each frame."""

    @property
    def limit(self) -> Tensor:
        """[N]: by how much anchors miss each other at most."""
        return self.miss.masked_fill(~self.anchors, -torch.inf).amax(1)

    def hidden(self, least: float = LEAST_COSINE) -> Tensor:
        """bool [N,T]."""
        return (self.miss > self.limit[:, None]) | (self.cosine < least)


def tracks(
    network: DinoTracker, features: Features, frame: Tensor, xy: Tensor, budget: int | None = None
) -> tuple[Tensor, Tensor]:
    """Places [N,T,2] of points queried at xy [N,2] on frames [N], and their features there [N,T,C]."""
    count, length = len(xy), len(features.maps)
    every = torch.arange(length, device=xy.device).repeat(count)
    points = features.at(frame, xy).repeat_interleave(length, 0)
    found = network.locate(features, points, every, budget)
    return found.view(count, length, 2), features.at(every, found).view(count, length, -1)


def anchored(
    network: DinoTracker, features: Features, looks: Tensor, anchors: Tensor, budget: int | None = None
) -> Tensor:
    """Where every place of a track is found on the track's anchors: [N,A,T,2], NaN where a point has fewer than A.

    Args:
        looks: [N,T,C] features of the places.
        anchors: bool [N,T].
    """
    count, length = anchors.shape
    point, anchor = anchors.nonzero(as_tuple=True)
    column = (anchors.cumsum(1) - 1)[point, anchor]
    found = looks.new_full((count, int(anchors.sum(1).max()), length, 2), torch.nan)
    rows = torch.arange(length, device=looks.device)
    for number in torch.unique(anchor).tolist():  # all that looks into one anchor goes together
        here = (anchor == number).nonzero()[:, 0]
        places = looks[point[here]].flatten(0, 1)
        target = torch.full((len(places),), number, device=looks.device)
        xy = network.locate(features, places, target, budget).view(len(here), length, 2)
        found[point[here][:, None], column[here][:, None], rows] = xy
    return found


@torch.no_grad()
def track(
    network: DinoTracker,
    features: Features,
    frame: Tensor,
    xy: Tensor,
    *,
    anchor_cosine: float = ANCHOR_COSINE,
    budget: int | None = None,
) -> Found:
    """Track points queried at xy [N,2] on frames [N] int64; `budget`: bytes that maps may take at once."""
    places, looks = tracks(network, features, frame, xy, budget)
    own = looks[torch.arange(len(xy), device=xy.device), frame]
    cosine = F.cosine_similarity(looks, own[:, None], dim=-1, eps=SMALLEST)
    anchors = cosine >= anchor_cosine
    # Rounding must not keep the query's own frame from being an anchor.
    anchors = anchors | F.one_hot(frame, anchors.shape[1]).bool()
    again = anchored(network, features, looks, anchors, budget)
    return Found(places, cosine, anchors, median_miss(again, places, anchors))


def median_miss(again: Tensor, places: Tensor, anchors: Tensor) -> Tensor:
    """[N,T]: the lower median over its anchors of how far `again` [N,A,T,2] is from the track's place on the anchor."""
    order = anchors.to(torch.uint8).argsort(dim=1, stable=True, descending=True)[
        :, : again.shape[1]
    ]  # anchors first, as they come
    own = places.gather(1, order[..., None].expand(-1, -1, 2))
    distance = (again - own[:, :, None]).norm(dim=-1)
    median: Tensor = distance.nanmedian(1).values
    return median

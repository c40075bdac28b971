"""What training is of every tracker whose points do not influence each other: a few points at a time.

A clip is encoded once without gradients, groups of its points are tracked and sent backward one after the other, and
what they add to the gradients of the maps goes to the encoder at the end (`tapkit.train.features`): the same gradients
as of all points at once, with the memory of one group.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from tapkit.coords import Size
from tapkit.train.batch import Batch
from tapkit.train.features import ClipFeatures, Encode, Maps
from tapkit.train.queries import QuerySampling
from tapkit.train.recipe import Loss


class Asked(NamedTuple):
    """Some points of a clip, and what is known of them."""

    t: Tensor
    """[n] int64: frame of the query."""
    query: Tensor
    """[n,2]: its position, pixels of the frames, corner origin."""
    xy: Tensor
    """[n,T,2]; not finite where it is not known."""
    visible: Tensor
    """bool [n,T]."""
    known: Tensor
    """bool [n,T]."""
    size: Size
    """(height, width) of the frames."""


class Independent(Protocol):
    """A network whose points are tracked each for itself."""

    @property
    def encode(self) -> Encode:
        """Maps of frames uint8 [B,3,H,W]."""

    def parts(self, maps: Maps, asked: Asked, generator: torch.Generator) -> dict[str, Tensor]:
        """The parts of the loss of some points of a clip whose maps [T,...] are given."""


def losses(
    network: Independent, batch: Batch, queries: QuerySampling, points_at_once: int, trained: bool, seed: int
) -> Iterator[Loss]:
    """The losses of groups of points of each clip, as `Trainable.losses`; a mean over the queries of the batch."""
    generator = torch.Generator().manual_seed(seed)
    drawn = queries.draw(batch, generator)
    length = batch.video.shape[1]
    total = int((drawn.frame < length).sum())
    for clip, frame in zip(zip(*batch, strict=True), drawn.frame, strict=True):
        video, xy, visible, known = clip
        features = ClipFeatures(network.encode, video, trained)
        for rows in torch.split((frame < length).nonzero()[:, 0], points_at_once):
            t = frame[rows]
            asked = Asked(t, xy[rows, t], xy[rows], visible[rows], known[rows], (video.shape[-2], video.shape[-1]))
            share = len(rows) / total
            parts = network.parts(features.frames(range(length)), asked, generator)
            summed = share * torch.stack(list(parts.values())).sum()
            yield Loss(summed, {name: share * part.detach() for name, part in parts.items()})
        features.release_all()


def summed(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The sum of losses, part by part."""
    return {name: torch.stack([loss[name] for loss in parts]).sum() for name in parts[0]}

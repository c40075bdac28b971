"""strand as a plain network from video and queries to tracks, through which gradients flow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit import coords
from tapkit.errors import QueryError, ShapeError
from tapkit.models.strand.encoder import Maps, config_of
from tapkit.models.strand.network import Network, Points, follow
from tapkit.nn.alignment import grey_pyramid
from tapkit.weights import match


class Through(NamedTuple):
    """Tracks of a batch, with gradients."""

    xy: Tensor
    """[B,N,T,2] float32, pixels of the video, corner origin; the query itself up to its frame."""
    visible: Tensor
    """[B,N,T]: logit of P(visible)."""
    confidence: Tensor
    """[B,N,T]: logit of P(error within the card's radius)."""
    valid: Tensor
    """[B,N,T] bool: frames after the query's, for which the network was asked. A loss is of these."""


class TrainableStrand(Network):
    """The network with a `forward` over whole clips; its `state_dict` is a checkpoint that `tapkit.load` takes.

    Frames are taken as they are (resized to the next sides that 16 divides): give the size that is to be tracked at.
    Batch norm goes by its stored statistics until `train()` is called. The following of pixels between frames, from
    which every step starts, has no gradient; where a point was found on the frame before, is carried with one.
    """

    def forward(self, video: Tensor, queries: Tensor) -> Through:
        """Track through all frames at once.

        Args:
            video: [B,T,3,H,W], 0..255 RGB, uint8 or floats (which may require gradients).
            queries: [B,N,3] (t, x, y), pixels of the video, corner origin.

        Raises `ShapeError`, and `QueryError` for queries on frames that there are not.
        """
        clips, length, size = _checked(video, queries)
        inner = (-(-size[0] // 16) * 16, -(-size[1] // 16) * 16)
        frames = video.flatten(0, 1)
        if inner != size:
            frames = F.interpolate(frames.float(), inner, mode="bilinear", align_corners=False)
        maps = self.encode(frames)
        levels = [level.view(clips, length, *level.shape[1:]).unbind(1) for level in maps]
        with torch.no_grad():
            greys = [grey_pyramid(part) for part in frames.view(clips, length, 3, *inner).unbind(1)]
        begin = queries[..., 0].round().long().flatten()
        place = coords.resize(queries[..., 1:].float(), size, inner).flatten(0, 1)
        owner = torch.arange(clips, device=video.device).repeat_interleave(queries.shape[1])
        zeros = place.new_zeros(len(place))
        points: Points | None = None
        said: list[tuple[Tensor, Tensor, Tensor]] = []
        for time in range(length):
            here = Maps(*(level[time] for level in levels))
            image = greys[time][0] if self.config.evidence else None
            xy, visible, confidence = place, zeros, zeros
            if points is not None:
                with torch.no_grad():
                    led = follow(greys[time - 1], greys[time], points.xy.detach())
                points, step = self.step(here, points, *led, image)
                asked = begin < time
                xy = torch.where(asked[:, None], step.xy, place)
                visible, confidence = (torch.where(asked, part, zeros) for part in (step.visible, step.confidence))
            starting = begin == time
            if bool(starting.any()):
                fresh = self.begin(here, owner, place, image)
                points = fresh if points is None else _where(starting, fresh, points)
            said.append((xy, visible, confidence))
        xy, visible, confidence = (_by_clip(torch.stack(part, 1), clips) for part in zip(*said, strict=True))
        times = torch.arange(length, device=video.device)
        valid = _by_clip(begin[:, None] < times, clips)
        return Through(coords.resize(xy, inner, size), visible, confidence, valid)


def build(weights: Mapping[str, Tensor] | None = None) -> TrainableStrand:
    """The network with these weights (None: untrained, from torch's generator), all of which require gradients."""
    network = TrainableStrand(config_of(weights or {}))
    if weights is not None:
        found = match(weights, network.state_dict(), "strand")
        network.load_state_dict({name: tensor.float() for name, tensor in found.items()})
    return network.eval()


def _checked(video: Tensor, queries: Tensor) -> tuple[int, int, tuple[int, int]]:
    """Clips, frames and (height, width)."""
    if video.ndim != 5 or video.shape[2] != 3 or not video.shape[1]:
        raise ShapeError(f"a batch of videos is [B,T,3,H,W], got {list(video.shape)}")
    clips, length, _, height, width = video.shape
    if queries.ndim != 3 or queries.shape[0] != clips or queries.shape[2] != 3 or not queries.shape[1]:
        raise ShapeError(f"queries of {clips} videos are [{clips},N,3] (t, x, y), got {list(queries.shape)}")
    t = queries[..., 0]
    if not bool(torch.isfinite(queries).all()) or bool(((t < 0) | (t > length - 1)).any()):
        raise QueryError(f"queries must be finite numbers on the {length} frames that there are")
    return clips, length, (height, width)


def _by_clip(x: Tensor, clips: int) -> Tensor:
    """[B*N,...] as [B,N,...]."""
    return x.view(clips, -1, *x.shape[1:])


def _where(rows: Tensor, first: Points, second: Points) -> Points:
    """Rows [M] bool of the first, the others of the second."""

    def pick(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(rows.view(-1, *[1] * (a.ndim - 1)), a, b)

    return Points(
        tuple(pick(a, b) for a, b in zip(first.query, second.query, strict=True)),
        tuple(pick(a, b) for a, b in zip(first.memory, second.memory, strict=True)),
        *(pick(getattr(first, name), getattr(second, name)) for name in Points._fields[2:]),
    )

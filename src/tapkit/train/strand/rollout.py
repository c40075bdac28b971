"""The network over a batch, frame by frame: with gradients for training, without for validation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tapkit.models.strand.encoder import Maps
from tapkit.models.strand.network import Network, Points, Step, follow
from tapkit.nn.alignment import grey_pyramid
from tapkit.train.batch import Batch, Predictions, Queries
from tapkit.train.strand.losses import PARTS, Truth, frame_losses
from tapkit.train.strand.noise import DriftNoise, TemplateDecay, best_elsewhere
from tapkit.train.strand.settings import StrandSettings


class Chunk(NamedTuple):
    """Some frames of a batch, through which gradients are backpropagated at once."""

    parts: dict[str, Tensor]
    """Sums over its frames of the parts of the loss."""
    frames: int
    """How many frames that was."""


def rollout(
    network: Network,
    batch: Batch,
    queries: Queries,
    settings: StrandSettings,
    truncate: int,
    encoder: bool = True,
    seed: int = 0,
) -> Iterator[Chunk]:
    """Yield a `Chunk` for every `truncate` frames (0: for all), to be sent backward before the next is asked for.

    `encoder` False: features are frozen. The noise is drawn from `seed`.

    A batch without points that can be queried raises nothing: its losses are zero.
    """
    length = batch.video.shape[1]
    span = truncate or length
    points: Points | None = None
    decay = TemplateDecay(settings.template_decay, queries.frame.numel(), batch.xy.device, seed, settings.feature_noise)
    noise = DriftNoise(settings.drift_noise, queries.frame.numel(), batch, seed, settings.hard_negatives)
    for start in range(0, length, span):
        stop = min(start + span, length)
        with torch.set_grad_enabled(encoder and torch.is_grad_enabled()):
            maps = decay.noisy(encode_frames(network, batch.video[:, start:stop]))
        points = None if points is None else _map(points, Tensor.detach)
        sums = {name: batch.xy.new_zeros(()) for name in PARTS}
        frames = 0
        # Unbound at once: the gradient of each slice alone would be as large as all.
        frame_maps = [Maps(*levels) for levels in zip(*(level.unbind(1) for level in maps), strict=True)]
        for time, here in enumerate(frame_maps, start):
            points, step = advance(network, here, points, batch, queries, time, noise)
            if points is not None:
                points = decay(points)
            if step is None:
                continue
            truth = Truth(
                batch.xy[:, :, time].flatten(0, 1),
                batch.visible[:, :, time].flatten(),
                batch.known[:, :, time].flatten(),
                (queries.frame < time).flatten(),
            )
            size = (batch.video.shape[-2], batch.video.shape[-1])
            for name, value in frame_losses(step, truth, size, settings).items():
                sums[name] = sums[name] + value
            frames += 1
        if frames:
            yield Chunk(sums, frames)


def encode_frames(network: Network, video: Tensor) -> Maps:
    """Maps of video [B,T,3,H,W], with leading axes [B,T]; all frames at once."""
    maps = network.encode(video.flatten(0, 1))
    return Maps(*(level.view(*video.shape[:2], *level.shape[1:]) for level in maps))


def advance(
    network: Network,
    maps: Maps,
    points: Points | None,
    batch: Batch,
    queries: Queries,
    time: int,
    noise: DriftNoise | None = None,
) -> tuple[Points | None, Step | None]:
    """One frame for all points of a batch; those that are queried on it begin.

    Rows of points that are not queried yet hold whatever the first ones began with, so that shapes stay the same;
    their results mean nothing.
    """
    step: Step | None = None
    after = grey_pyramid(batch.video[:, time])
    image = after[0] if network.config.evidence else None
    if points is not None:
        before = grey_pyramid(batch.video[:, time - 1])
        led = follow(before, after, points.xy.detach())
        if noise is None:
            points, step = network.step(maps, points, *led, image)
        else:
            truth = batch.xy[:, :, time].flatten(0, 1)
            points, step = noisy_step(network, maps, points, led, truth, noise, image)
    if time in queries.frames:
        clips, count = queries.frame.shape
        owner = torch.arange(clips, device=queries.frame.device).repeat_interleave(count)
        begins = (queries.frame == time).flatten()
        place = torch.where(begins[:, None], batch.xy[:, :, time].flatten(0, 1), torch.zeros_like(batch.xy[0, 0, 0]))
        fresh = network.begin(maps, owner, place, image)
        points = fresh if points is None else where_rows(begins, fresh, points)
    return points, step


def noisy_step(
    network: Network,
    maps: Maps,
    points: Points,
    led: tuple[Tensor, Tensor],
    truth: Tensor,
    noise: DriftNoise,
    image: Tensor | None = None,
) -> tuple[Points, Step]:
    """`Network.step` with noise on where the pixels `led`, and hard negatives among the matches; truth [M,2]."""
    moved, similarity = noise(*led)
    excluded = noise.excluded(truth)
    expected, similarity = network.expect(maps, points, moved, similarity)
    matching = network.match(maps, points, expected)
    height, width = maps.fine.shape[1:3]
    misled = replace(matching, xy=best_elsewhere(matching.cost, excluded, (height, width)))
    return network.update(maps, points, expected, similarity, misled, image)


def where_rows(rows: Tensor, first: Points, second: Points) -> Points:
    """Rows [M] bool of the first, the others of the second."""

    def pick(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(rows.view(-1, *(1,) * (a.ndim - 1)), a, b)

    return Points(
        tuple(map(pick, first.query, second.query)),
        tuple(map(pick, first.memory, second.memory)),
        *map(pick, first[2:], second[2:]),
    )


def _map(points: Points, function: Any) -> Points:
    return Points(
        tuple(map(function, points.query)),
        tuple(map(function, points.memory)),
        *(function(x) for x in points[2:]),
    )


@torch.no_grad()
def track_batch(network: Network, batch: Batch, queries: Queries) -> Predictions:
    """Track the points of a batch from their queries on."""
    collected: list[Iterator[Tensor]] = []
    points: Points | None = None
    shape = queries.frame.shape
    for time in range(batch.video.shape[1]):
        maps = network.encode(batch.video[:, time])
        points, step = advance(network, maps, points, batch, queries, time)
        xy, visible, confidence = batch.xy.new_zeros(*shape, 2), batch.xy.new_zeros(shape), batch.xy.new_zeros(shape)
        if step is not None:
            xy = step.xy.view(*shape, 2)
            visible, confidence = (torch.sigmoid(x).view(shape) for x in (step.visible, step.confidence))
        asked = queries.frame == time
        xy = torch.where(asked[..., None], batch.xy[:, :, time], xy)
        before = queries.frame > time
        one, zero = torch.ones_like(visible), torch.zeros_like(visible)
        visible, confidence = (
            torch.where(asked, one, torch.where(before, zero, value)) for value in (visible, confidence)
        )
        collected.append(iter((xy, visible, confidence)))
    fields = zip(*collected, strict=True)
    return Predictions(*(torch.stack(list(field), 2) for field in fields))

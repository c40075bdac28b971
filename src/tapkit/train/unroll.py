"""The network over a lesson, frame by frame: with gradients for training, without for measuring."""

from __future__ import annotations

from collections.abc import Iterator
from math import pi
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.models.strand.network import Maps, Network, Points, Step, follow
from tapkit.nn.alignment import grey_pyramid
from tapkit.train.config import TrainConfig
from tapkit.train.lesson import Lesson, Queries
from tapkit.train.losses import PARTS, Truth, frame_losses

SLIP = (0.02, 0.8)
"""Pixels of a 256x256 frame by which pixels lead astray from one frame to the next: shortest and longest slip."""
JUMP = (2.0, 24.0)
"""The same when they lead somewhere else altogether, which happens to `JUMPS` of them on a frame."""
JUMPS = 0.02


class Chunk(NamedTuple):
    """Some frames of a lesson, the part through which gradients go back."""

    parts: dict[str, Tensor]
    """Sums over its frames of the parts of the loss."""
    frames: int
    """How many frames that was."""


def training_chunks(
    network: Network,
    lesson: Lesson,
    queries: Queries,
    config: TrainConfig,
    truncate: int,
    encoder: bool = True,
    seed: int = 0,
) -> Iterator[Chunk]:
    """Yield a `Chunk` for every `truncate` frames (0: for all), to be sent backward before the next is asked for.

    `encoder` False: features are taken as they are, without gradients. `seed` draws how queries fade (`Fading`).

    Raises nothing for a lesson without points that can be asked for: its losses are zero.
    """
    length = lesson.video.shape[1]
    span = truncate or length
    points: Points | None = None
    fading = Fading(config.fade, queries.frame.numel(), lesson.xy.device, seed, config.haze)
    straying = Straying(config.stray, queries.frame.numel(), lesson, seed, config.mislead)
    for start in range(0, length, span):
        stop = min(start + span, length)
        with torch.set_grad_enabled(encoder and torch.is_grad_enabled()):
            maps = fading.hazy(encode_frames(network, lesson.video[:, start:stop]))
        points = None if points is None else _map(points, Tensor.detach)
        sums = {name: lesson.xy.new_zeros(()) for name in PARTS}
        frames = 0
        # Unbound at once: the gradient of each slice alone would be as large as all.
        frame_maps = [Maps(*levels) for levels in zip(*(level.unbind(1) for level in maps), strict=True)]
        for time, here in enumerate(frame_maps, start):
            points, step = advance(network, here, points, lesson, queries, time, straying)
            if points is not None:
                points = fading(points)
            if step is None:
                continue
            truth = Truth(
                lesson.xy[:, :, time].flatten(0, 1),
                lesson.visible[:, :, time].flatten(),
                lesson.known[:, :, time].flatten(),
                (queries.frame < time).flatten(),
            )
            size = (lesson.video.shape[-2], lesson.video.shape[-1])
            for name, value in frame_losses(step, truth, size, config).items():
                sums[name] = sums[name] + value
            frames += 1
        if frames:
            yield Chunk(sums, frames)


class Fading:
    """Makes the query's patches of half of the points less and less like the points, as if these had changed.

    Warped photographs look the same for ever; real things do not, and what is remembered of the last frames must then
    count more than the query. From frame to frame a faded patch keeps at least the share `keep` of itself, the rest is
    noise of the same length: its similarity to what it was falls like keep^frames.

    And features of photographs are found again far more often than those of real videos (docs/strand.md), so that one
    would learn to trust them too much: all maps get noise (`hazy`), of a length of at most
    `haze` beside vectors of length 1.
    """

    def __init__(self, keep: float, points: int, device: torch.device, seed: int, haze: float = 0.0) -> None:
        self.random = torch.Generator(device).manual_seed(seed)
        self.haze = haze * float(torch.rand((), generator=self.random, device=device))
        share = torch.rand(points, 2, generator=self.random, device=device)
        faded = torch.where(share[:, 0] < 0.5, keep + (1 - keep) * share[:, 1], 1.0)
        self.keep = None if keep == 1 else faded[:, None, None]

    def __call__(self, points: Points) -> Points:
        """The points a frame later."""
        if self.keep is None:
            return points
        return points._replace(query=tuple(self._fade(patch, self.keep) for patch in points.query))

    def hazy(self, maps: Maps) -> Maps:
        """The maps [B,T,h,w,C] with noise, each vector of length 1 again."""
        if not self.haze:
            return maps
        return Maps(*(self._haze(level) for level in maps))

    def _haze(self, level: Tensor) -> Tensor:
        noise = torch.randn(level.shape, generator=self.random, device=level.device, dtype=level.dtype)
        return F.normalize(level + noise * (self.haze / level.shape[-1] ** 0.5), dim=-1)

    def _fade(self, patch: Tensor, keep: Tensor) -> Tensor:
        noise = torch.randn(patch.shape, generator=self.random, device=patch.device) / patch.shape[-1] ** 0.5
        result: Tensor = keep * patch + (1 - keep.square()).sqrt() * noise
        return result


class Straying:
    """Makes pixels lead astray: a slip that goes on and on, for `share` of the points, and now and then a jump.

    On made clips pixels can be followed nearly for ever; on real ones they slide off, while they look as alike as
    before. What is taken from features, and how much, is only learned where something is wrong.
    """

    def __init__(self, share: float, points: int, lesson: Lesson, seed: int, mislead: float = 0.0) -> None:
        self.mislead = mislead
        device = lesson.xy.device
        self.random = torch.Generator(device).manual_seed(seed + 1)
        self.share, self.scale = share, lesson.video.shape[-1] / 256
        self.astray = self._draw(points, device) < share
        self.slip = self._slip(points, device)

    def __call__(self, moved: Tensor, alike: Tensor) -> tuple[Tensor, Tensor]:
        """What `follow` returned, made worse."""
        if not self.share:
            return moved, alike
        count, device = len(moved), moved.device
        turned = self._draw(count, device) < 0.1
        self.slip = torch.where(turned[:, None], self._slip(count, device), self.slip)
        far = self._direction(count, device) * self._length(count, device, JUMP)
        jumped = (self._draw(count, device) < JUMPS * self.share)[:, None]
        less = self._draw(count, device)[:, None]
        moved = moved + torch.where(jumped, far, self.slip * self.astray[:, None])
        return moved, torch.where(jumped, alike * less, alike)

    def avoided(self, truth: Tensor) -> Tensor:
        """The places [M,2] where `Network.match` is not to look on this frame: the truth, for some; else far away.

        The best match is then the most misleading place of the frame, as often as real ones are misleading.
        """
        misled = self._draw(len(truth), truth.device) < self.mislead
        return torch.where(misled[:, None] & torch.isfinite(truth), truth, torch.full_like(truth, -1e6))

    def _slip(self, count: int, device: torch.device) -> Tensor:
        return self._direction(count, device) * self._length(count, device, SLIP)

    def _direction(self, count: int, device: torch.device) -> Tensor:
        angle = 2 * pi * self._draw(count, device)
        return torch.stack([angle.cos(), angle.sin()], -1)

    def _length(self, count: int, device: torch.device, span: tuple[float, float]) -> Tensor:
        shortest, longest = span
        return (self.scale * shortest * (longest / shortest) ** self._draw(count, device))[:, None]

    def _draw(self, count: int, device: torch.device) -> Tensor:
        return torch.rand(count, generator=self.random, device=device)


def encode_frames(network: Network, video: Tensor) -> Maps:
    """Maps of video [B,T,3,H,W], with leading axes [B,T]; all frames at once."""
    maps = network.encode(video.flatten(0, 1))
    return Maps(*(level.view(*video.shape[:2], *level.shape[1:]) for level in maps))


def advance(
    network: Network,
    maps: Maps,
    points: Points | None,
    lesson: Lesson,
    queries: Queries,
    time: int,
    straying: Straying | None = None,
) -> tuple[Points | None, Step | None]:
    """One frame for all points of a lesson, those asked for on it beginning. Rows of points not asked for yet hold
    whatever the first ones began with, so that shapes stay the same; their answers mean nothing."""
    step: Step | None = None
    if points is not None:
        before, after = (grey_pyramid(lesson.video[:, t]) for t in (time - 1, time))
        led = follow(before, after, points.xy.detach())
        if straying is None:
            points, step = network.step(maps, points, *led)
        else:
            truth = lesson.xy[:, :, time].flatten(0, 1)
            points, step = network.step(maps, points, *straying(*led), straying.avoided(truth))
    if time in queries.frames:
        batch, count = queries.frame.shape
        owner = torch.arange(batch, device=queries.frame.device).repeat_interleave(count)
        begins = (queries.frame == time).flatten()
        place = torch.where(begins[:, None], lesson.xy[:, :, time].flatten(0, 1), torch.zeros_like(lesson.xy[0, 0, 0]))
        fresh = network.begin(maps, owner, place)
        points = fresh if points is None else choose(begins, fresh, points)
    return points, step


def choose(rows: Tensor, first: Points, second: Points) -> Points:
    """Rows [M] bool of the first, the others of the second."""

    def pick(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(rows.view(-1, *(1,) * (a.ndim - 1)), a, b)

    return Points(
        tuple(map(pick, first.query, second.query)),
        tuple(map(pick, first.memory, second.memory)),
        pick(first.hidden, second.hidden),
        pick(first.xy, second.xy),
        pick(first.motion, second.motion),
        pick(first.seen, second.seen),
    )


def _map(points: Points, function: Any) -> Points:
    return Points(
        tuple(map(function, points.query)),
        tuple(map(function, points.memory)),
        *(function(x) for x in points[2:]),
    )


class Answers(NamedTuple):
    """What the network says of a lesson: xy [B,N,T,2], visible and confidence [B,N,T] as probabilities."""

    xy: Tensor
    visible: Tensor
    confidence: Tensor


@torch.no_grad()
def answer(network: Network, lesson: Lesson, queries: Queries) -> Answers:
    """Track a lesson's points from their queries on; earlier entries are zero, the query's own is the query."""
    collected: list[Iterator[Tensor]] = []
    points: Points | None = None
    shape = queries.frame.shape
    for time in range(lesson.video.shape[1]):
        maps = network.encode(lesson.video[:, time])
        points, step = advance(network, maps, points, lesson, queries, time)
        xy, visible, confidence = lesson.xy.new_zeros(*shape, 2), lesson.xy.new_zeros(shape), lesson.xy.new_zeros(shape)
        if step is not None:
            xy = step.xy.view(*shape, 2)
            visible, confidence = (torch.sigmoid(x).view(shape) for x in (step.visible, step.confidence))
        asked = queries.frame == time
        xy = torch.where(asked[..., None], lesson.xy[:, :, time], xy)
        before = queries.frame > time
        one, zero = torch.ones_like(visible), torch.zeros_like(visible)
        visible, confidence = (
            torch.where(asked, one, torch.where(before, zero, value)) for value in (visible, confidence)
        )
        collected.append(iter((xy, visible, confidence)))
    fields = zip(*collected, strict=True)
    return Answers(*(torch.stack(list(field), 2) for field in fields))

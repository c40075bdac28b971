"""CoTracker3, the network: 4D correlations, tokens, space-time transformer, iterative updates.

Karaev et al., "CoTracker3: Simpler and Better Point Tracking by Pseudo-Labelling Real Videos", arXiv:2410.11831,
section 3.1. One network serves the offline and the online model; they differ in the length of the time table and in
what drives them (`tapkit.models.cotracker.tracker3`).

Inside, positions are "cells": pixels of the network's input (centres at integers) divided by the stride of 4.
Visibility and confidence are logits until the very end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit.constants import constant_like
from tapkit.errors import UsageError
from tapkit.models.cotracker.transformer import HEADS, STRIDE, WIDTH, SpaceTimeTransformer, in_parts, tokens_at_once
from tapkit.nn.correlation import correlation_volume
from tapkit.nn.encoder import CHANNELS, FEATURES, PointEncoder
from tapkit.nn.packed import Linear
from tapkit.nn.posenc import octave_sines, sincos_table
from tapkit.nn.sampling import blend, integer_patch

LEVELS = 4
RADIUS = 3
WINDOW = (2 * RADIUS + 1) ** 2
"""Samples in a correlation window."""
OCTAVES = 10
MOTION = 4 + 2 * 4 * OCTAVES
MOTION_SCALE = (512 / STRIDE, 384 / STRIDE)
"""Motion is counted in widths and heights of 512x384, whatever the size of the frames."""


@dataclass(frozen=True)
class CoTracker3Config:
    """Sizes of a network; by default those of the published ones."""

    channels: tuple[int, ...] = CHANNELS
    """Of the encoder's four groups."""
    features: int = FEATURES
    """Of a feature vector."""
    width: int = WIDTH
    """Of an embedded token, a multiple of 8 (the attention's heads)."""
    depth: int = 3
    """Blocks of each kind in the transformer."""
    hidden: int = 384
    """Of the layer in which correlations are squeezed."""
    embedding: int = 256
    """Numbers that a level's correlations are squeezed into."""

    def __post_init__(self) -> None:
        sizes = (*self.channels, self.features, self.width, self.depth, self.hidden, self.embedding)
        if min(sizes) < 1 or len(self.channels) != len(CHANNELS) or self.width % HEADS or self.embedding % 2:
            raise UsageError(
                f"a CoTracker3 has {len(CHANNELS)} groups of channels, a width that is a multiple of {HEADS} and an "
                f"even embedding, all at least 1; got {self}"
            )

    @property
    def token(self) -> int:
        """Numbers in a token: two logits, correlations, motion."""
        return 2 + LEVELS * self.embedding + MOTION

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> CoTracker3Config:
        """The sizes that tensors of a checkpoint have; the published ones where it lacks them."""

        def size(name: str, axis: int, default: int) -> int:
            tensor = weights.get(name)
            return default if tensor is None or tensor.ndim <= axis else int(tensor.shape[axis])

        blocks = {name.split(".")[2] for name in weights if name.startswith("updateformer.time_blocks.")}
        return cls(
            tuple(size(f"fnet.layer{n + 1}.0.conv1.weight", 0, channels) for n, channels in enumerate(CHANNELS)),
            size("fnet.conv3.weight", 0, FEATURES),
            size("updateformer.input_transform.weight", 0, WIDTH),
            len(blocks) or cls.depth,
            size("corr_mlp.fc1.weight", 0, cls.hidden),
            size("corr_mlp.fc2.weight", 0, cls.embedding),
        )


class Pyramid(NamedTuple):
    """Feature maps of frames at four scales, each [B,h,w,features], unit vectors on level 0."""

    level0: Tensor
    level1: Tensor
    level2: Tensor
    level3: Tensor


class Estimate(NamedTuple):
    """What is known of N points on S frames."""

    xy: Tensor
    """[B,N,S,2] float32, cells."""
    visible: Tensor
    """[B,N,S] float32, logit."""
    confidence: Tensor
    """[B,N,S] float32, logit."""


class CorrelationMlp(nn.Module):
    """Squeezes a 4D correlation volume [...,2401] into [...,embedding]."""

    def __init__(self, config: CoTracker3Config) -> None:
        super().__init__()
        self.fc1 = Linear(WINDOW * WINDOW, config.hidden)
        self.fc2 = Linear(config.hidden, config.embedding)

    def forward(self, volume: Tensor) -> Tensor:
        squeezed: Tensor = self.fc2(self.fc1(volume.to(self.fc1.weight.dtype), activation="gelu"))
        return squeezed.float()


class CoTracker3Network(nn.Module):
    """The network. `time_length` is that of the table of time codes: 60 (offline) or 16 (online)."""

    def __init__(self, time_length: int, config: CoTracker3Config = CoTracker3Config()) -> None:
        super().__init__()
        self.config = config
        self.fnet = PointEncoder(STRIDE, config.channels, config.features)
        self.corr_mlp = CorrelationMlp(config)
        heads = {"flow_head": 2, "vis_conf_head": 2}
        self.updateformer = SpaceTimeTransformer(config.token, config.depth, heads, config.width)
        self.register_buffer("time_table", sincos_table(torch.arange(time_length), config.token), persistent=False)

    time_table: Tensor

    def encode(self, frames: Tensor) -> Pyramid:
        """Feature pyramid of frames [B,3,H,W] (0..255, float), each for itself; H, W at least 32."""
        maps = self.fnet((2 * (frames / 255) - 1).to(self.fnet.conv1.weight.dtype))
        maps = maps * maps.float().square().sum(1, keepdim=True).clamp_(min=1e-12).rsqrt_().to(maps.dtype)
        levels = [maps]
        for _ in range(LEVELS - 1):
            levels.append(F.avg_pool2d(levels[-1], 2, 2))
        return Pyramid(*(level.permute(0, 2, 3, 1).contiguous() for level in levels))

    def support(self, pyramid: Pyramid, index: Tensor, xy: Tensor) -> Pyramid:
        """7x7 features around queries xy [P,2] (cells) on frames `index` [P] -> four levels [P,49,features]."""
        step = tokens_at_once(xy.device) // 4
        levels = []
        for level, maps in enumerate(pyramid):

            def around(rows: slice, level: int = level, maps: Tensor = maps) -> Tensor:
                pixels, fraction = integer_patch(maps, index[rows], xy[rows] / 2**level, RADIUS)
                return blend(pixels.float(), fraction).flatten(1, 2)

            levels.append(in_parts(around, len(xy), step))
        return Pyramid(*levels)

    def time_codes(self, frames: int) -> Tensor:
        """Time codes of a window of `frames` frames [frames,token]: the table, resampled if it has another length."""
        if frames == len(self.time_table):
            return self.time_table
        return F.interpolate(self.time_table.T[None], frames, mode="linear", align_corners=False)[0].T

    def forward(self, pyramid: Pyramid, start: Estimate, support: Pyramid, iterations: int) -> Estimate:
        """Refine an estimate over the frames of a window.

        Args:
            pyramid: features of the S frames.
            start: B groups of N points; groups do not see one another.
            support: features around the queries, levels [B,N,49,features]; zeros for points that have not begun.
            iterations: how often to update.
        """
        (last,) = deque(self.refine(pyramid, start, support, iterations), maxlen=1)
        return last

    def refine(self, pyramid: Pyramid, start: Estimate, support: Pyramid, iterations: int) -> Iterator[Estimate]:
        """The estimates after each update; see `forward`. Each is trained for its own step: positions are detached."""
        xy, visible, confidence = start
        support = Pyramid(*(level.flatten(0, 1) for level in support))
        for _ in range(iterations):
            tokens = self._embed(pyramid, xy.detach(), visible, confidence, support)
            delta = self.updateformer(tokens)
            xy = xy.detach() + delta[..., :2]
            visible, confidence = visible + delta[..., 2], confidence + delta[..., 3]
            yield Estimate(xy, visible, confidence)

    def _embed(self, pyramid: Pyramid, xy: Tensor, visible: Tensor, confidence: Tensor, support: Pyramid) -> Tensor:
        """Embedded tokens [B,N,S,width], built for a few points at a time: the volumes never exist all at once."""
        batch, count, frames, _ = xy.shape
        codes = self.time_codes(frames)
        flat = [part.flatten(0, 1) for part in (xy, visible, confidence)]
        step = max(tokens_at_once(xy.device) // 4 // frames, 1)

        def embedded(rows: slice) -> Tensor:
            some = Estimate(*(part[rows] for part in flat))
            token = self._token(pyramid, some, Pyramid(*(level[rows] for level in support)))
            result: Tensor = self.updateformer.input_transform(token.add_(codes))
            return result

        return in_parts(embedded, batch * count, step).view(batch, count, frames, -1)

    def _token(self, pyramid: Pyramid, points: Estimate, support: Pyramid) -> Tensor:
        """Tokens [P,S,token] of points xy [P,S,2] before the time codes."""
        pieces = [points.visible[..., None], points.confidence[..., None]]
        for level, (maps, around) in enumerate(zip(pyramid, support, strict=True)):
            volume = correlation_volume(maps, points.xy / 2**level, around, RADIUS)
            pieces.append(self.corr_mlp(volume))
        return torch.cat([*pieces, motion_codes(points.xy)], -1)


def motion_codes(xy: Tensor) -> Tensor:
    """Codes of the motion to the next and from the last frame, xy [P,S,2] cells -> [P,S,84].

    Both are "here minus neighbour", and zero where the window ends.
    """
    scale = constant_like(MOTION_SCALE, xy)
    step = xy[:, :-1] - xy[:, 1:]
    to_next, from_last = F.pad(step, (0, 0, 0, 1)), F.pad(-step, (0, 0, 1, 0))
    return octave_sines(torch.cat([to_next / scale, from_last / scale], -1), OCTAVES)


def no_support(count: int, device: torch.device, features: int = FEATURES) -> Pyramid:
    """The support of points that have not begun: levels of zeros [count,49,features]."""
    return Pyramid(*(torch.zeros(count, WINDOW, features, device=device) for _ in range(LEVELS)))

"""RAFT: recurrent refinement of a flow field from all-pairs correlations (Teed and Deng, ECCV 2020, arXiv:2003.12039).

Both frames are encoded at stride 8 (a variant's may be 4); every cell of the first is compared with every cell of the
second, at four scales of the second. A convolutional GRU, started from a context map of the first frame, looks them up
around where each cell is thought to be by now, and moves it. The large network up-samples its flow by learned convex
combinations, the small one bilinearly.

The layers are laid out for inference (`weights.py` brings published checkpoints into this form): batch norms are
folded into the convolutions before them, the update and reset gates share one convolution, and the share of the context
map in all gates, which never changes, is computed once. Cells are indices of the maps, centres at integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit.flow.raft.correlation import Correlation
from tapkit.nn.convex import convex_upsample
from tapkit.nn.encoder import instance_norm
from tapkit.nn.packed import Conv2d
from tapkit.nn.tiled_conv import TiledConv2d

STRIDE = 8
"""Pixels to a cell of the published networks."""
LEVELS = 4
"""Scales of the second frame's map."""


@dataclass(frozen=True)
class RaftConfig:
    """What distinguishes the two published networks."""

    widths: tuple[int, int, int]
    """Channels of the encoders' three groups."""
    bottleneck: bool
    """Whether the encoders are of bottleneck blocks (three convolutions), else of basic ones (two)."""
    features: int
    """Channels of the matched maps."""
    hidden: int
    context: int
    radius: int
    """Of the window looked up, cells of each level."""
    correlation: tuple[int, ...]
    """Channels within the motion encoder: of the correlations' convolutions (1x1, then 3x3),"""
    flow: tuple[int, int]
    """of the flow's (7x7, 3x3),"""
    motion: int
    """and of both together; the flow itself is appended."""
    kernels: tuple[tuple[int, int], ...]
    """(height, width) of the GRU's kernels, one update each."""
    head: int
    """Channels within the flow head."""
    convex: bool
    """Whether flow is up-sampled by a learned mask."""
    context_norm: bool
    """Whether the context encoder of the checkpoint has batch norms."""
    context_instance: bool = False
    """Whether it has instance norms, as the matching encoder always does."""
    stride: int = STRIDE
    """Pixels to a cell: 4 or 8."""
    state: int = 2
    """Channels of what is refined, as the motion encoder sees it: the flow, and what a variant adds to it."""

    @property
    def lookups(self) -> int:
        """Channels of the correlations looked up."""
        return LEVELS * (2 * self.radius + 1) ** 2


LARGE = RaftConfig(
    (64, 96, 128), False, 256, 128, 128, 4, (256, 192), (128, 64), 126, ((1, 5), (5, 1)), 256, True, True
)
SMALL = RaftConfig((32, 64, 96), True, 128, 96, 64, 3, (96,), (64, 32), 80, ((3, 3),), 128, False, False)


def conv(inputs: int, outputs: int, kernel: int | tuple[int, int] = 3, stride: int = 1, tiled_from: int = 96) -> Conv2d:
    """A convolution with symmetric zero padding; stride 1 with at least `tiled_from` channels: computed in tiles."""
    across = (kernel, kernel) if isinstance(kernel, int) else kernel
    if stride == 1 and max(across) in (3, 5) and min(inputs, outputs) >= tiled_from:
        return TiledConv2d(inputs, outputs, across)
    return Conv2d(inputs, outputs, across, stride, (across[0] // 2, across[1] // 2))


class Residual(nn.Module):
    """relu(x + y), y being two (basic) or three (bottleneck) rectified convolutions of x."""

    def __init__(self, inputs: int, outputs: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        if bottleneck:
            inner = outputs // 4
            layers = [conv(inputs, inner, 1), conv(inner, inner, 3, stride), conv(inner, outputs, 1)]
        else:
            layers = [conv(inputs, outputs, 3, stride), conv(outputs, outputs)]
        self.layers = nn.ModuleList(layers)
        self.project = conv(inputs, outputs, 1, stride) if stride > 1 else None

    def forward(self, x: Tensor, normalize: bool) -> Tensor:
        y = x
        for layer in self.layers:
            y = instance_norm(layer(y)).relu_() if normalize else layer(y, activation="relu")
        if self.project is not None:
            x = instance_norm(self.project(x)) if normalize else self.project(x)
        return y.add_(x).relu_()


class Encoder(nn.Module):
    """Frames [B,3,H,W] in [-1,1] -> [B,C,H/stride,W/stride]; `normalize`: by instance norms (else they are folded or
    absent)."""

    def __init__(self, config: RaftConfig, outputs: int, normalize: bool) -> None:
        super().__init__()
        self.normalize = normalize
        stem, *_ = config.widths
        self.stem = conv(3, stem, 7, config.stride // 4)
        blocks: list[Residual] = []
        before = stem
        for group, width in enumerate(config.widths):
            blocks.append(Residual(before, width, 2 if group else 1, config.bottleneck))
            blocks.append(Residual(width, width, 1, config.bottleneck))
            before = width
        self.blocks = nn.ModuleList(blocks)
        self.out = conv(before, outputs, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """On a CPU frames are encoded one by one: as fast, flat in memory, and the same whatever the batch."""
        if frames.device.type == "cpu" and len(frames) > 1:
            return torch.cat([self(frame) for frame in torch.split(frames, 1)])
        x = frames.contiguous(memory_format=torch.channels_last)
        x = instance_norm(self.stem(x)).relu_() if self.normalize else self.stem(x, activation="relu")
        for block in self.blocks:
            x = block(x, self.normalize)
        out: Tensor = self.out(x)
        return out


class MotionEncoder(nn.Module):
    """Looked-up correlations and what is refined -> [P,motion+state,h,w], the last channels being the latter."""

    def __init__(self, config: RaftConfig) -> None:
        super().__init__()
        sizes = (config.lookups, *config.correlation)
        self.correlation = nn.ModuleList(
            conv(sizes[i], sizes[i + 1], 3 if i else 1) for i in range(len(config.correlation))
        )
        self.flow = nn.ModuleList([conv(config.state, config.flow[0], 7), conv(*config.flow, tiled_from=64)])
        self.out = conv(config.correlation[-1] + config.flow[1], config.motion)

    def forward(self, correlation: Tensor, flow: Tensor) -> Tensor:
        c, f = correlation, flow
        for layer in self.correlation:
            c = layer(c, activation="relu")
        for layer in self.flow:
            f = layer(f, activation="relu")
        return torch.cat([self.out(torch.cat([c, f], 1), activation="relu"), flow], 1)


class Gru(nn.Module):
    """One convolutional GRU update. `fixed` is the context's share in all three gates, biases included."""

    def __init__(self, config: RaftConfig, kernel: tuple[int, int]) -> None:
        super().__init__()
        moving = config.hidden + config.motion + config.state
        self.fixed = conv(config.context, 3 * config.hidden, kernel)
        self.gates = conv(moving, 2 * config.hidden, kernel)
        self.candidate = conv(moving, config.hidden, kernel)
        for layer in (self.gates, self.candidate):
            layer.bias = None  # in `fixed`

    def forward(self, hidden: Tensor, motion: Tensor, fixed: Tensor) -> Tensor:
        """hidden [P,h,h8,w8], motion, `fixed(context)` -> the new hidden state."""
        count = hidden.shape[1]
        both = torch.cat([hidden, motion], 1)
        gates = self.gates(both, residual=fixed[:, : 2 * count]).sigmoid_()
        update, reset = gates[:, :count], gates[:, count:]
        both[:, :count].mul_(reset)
        candidate = self.candidate(both, residual=fixed[:, 2 * count :]).tanh_()
        return torch.lerp(hidden, candidate, update)


class Head(nn.Module):
    """3x3, relu, then a convolution of `kernel`."""

    def __init__(self, inputs: int, inner: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.inner = conv(inputs, inner)
        self.out = conv(inner, outputs, kernel)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.inner(x, activation="relu"))
        return out


class Step(NamedTuple):
    """One iteration for P pairs: what it looked at and what came out of it."""

    correlation: Tensor
    """[P,lookups,h,w] at the targets as the iteration found them."""
    motion: Tensor
    """[P,motion+2,h,w]."""
    hidden: Tensor
    """[P,hidden,h,w] after the update."""
    delta: Tensor
    """[P,2,h,w] the increment, cells."""
    flow: Tensor
    """[P,2,h,w] after the increment, cells."""


class Raft(nn.Module):
    """The network of one configuration."""

    def __init__(self, config: RaftConfig) -> None:
        super().__init__()
        self.config = config
        self.matching = Encoder(config, config.features, True)
        self.context = Encoder(config, config.hidden + config.context, config.context_instance)
        self.motion = MotionEncoder(config)
        self.gru = nn.ModuleList(Gru(config, kernel) for kernel in config.kernels)
        self.head = Head(config.hidden, config.head, 2, 3)
        self.mask = Head(config.hidden, 256, 9 * config.stride**2, 1) if config.convex else None

    def begin(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """The hidden state and the context [P,C,h,w] out of the context encoder's map."""
        hidden, rest = torch.split(context, [self.config.hidden, self.config.context], 1)
        return hidden.tanh(), rest.relu()

    def iterate(
        self, first: Tensor, second: Tensor, context: Tensor, iterations: int, start: Tensor | None = None
    ) -> Iterator[Step]:
        """Refine the flow of P pairs.

        Args:
            first, second: matching maps [P,C,h,w].
            context: the context encoder's map [P,C',h,w] of the first frames.
            iterations: how many.
            start: flow to begin with [P,2,h,w], cells; None: none.
        """
        correlation = Correlation(first, second, self.config.radius, LEVELS)
        hidden, rest = self.begin(context)
        dtype = rest.dtype  # of the convolutions; positions are float32 whatever it is
        fixed = [gru.get_submodule("fixed")(rest) for gru in self.gru]
        height, width = first.shape[-2:]
        cells = cell_indices((height, width), first.device)
        flow = cells.new_zeros(len(first), 2, height, width) if start is None else start.float()
        for _ in range(iterations):
            looked_up = correlation.at(cells + flow)
            motion = self.motion(looked_up.to(dtype), flow.to(dtype).contiguous(memory_format=torch.channels_last))
            for gru, own in zip(self.gru, fixed, strict=True):
                hidden = gru(hidden, motion, own)
            delta = self.head(hidden).float()
            flow = flow + delta
            yield Step(looked_up, motion, hidden, delta, flow)

    def enlarge(self, step: Step) -> Tensor:
        """The flow of a step in pixels, [P,2,H,W]."""
        stride = self.config.stride
        if self.mask is None:
            size = [stride * side for side in step.flow.shape[-2:]]
            return stride * F.interpolate(step.flow, size, mode="bilinear", align_corners=True)
        return convex_upsample(stride * step.flow, self.mask_logits(step.hidden), stride)

    def mask_logits(self, hidden: Tensor) -> Tensor:
        """Logits [P,9*stride^2,h,w] of the up-sampling weights."""
        assert self.mask is not None, "the small network has no mask"
        logits: Tensor = self.mask(hidden)
        return logits.mul_(0.25)


def cell_indices(size: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
    """(x, y) of all cells of a map of `size`: [1,2,h,w] float32."""
    y, x = torch.meshgrid(torch.arange(size[0], device=device), torch.arange(size[1], device=device), indexing="ij")
    return torch.stack([x, y]).float()[None]

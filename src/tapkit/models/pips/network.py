"""PIPs, "Persistent Independent Particles": eight frames at once, every point for itself.

Harley, Fang, Fragkiadaki: Particle Video Revisited: Tracking Through Occlusions Using Point Trajectories, ECCV 2022
(arXiv:2204.04153). A point starts as eight copies of its query; six times, an MLP-mixer over the eight frames reads
what the features around the current positions look like and moves the positions. Longer videos are chained: the next
window starts from the last frame in which the point seems visible, still with the appearance it had at its query.

Positions inside the network are in cells of the feature map (pixels / stride), cell centres at integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit.constants import constant
from tapkit.errors import UsageError
from tapkit.models.base import Size
from tapkit.models.options import NetworkOptions, require_size
from tapkit.nn.encoder import FEATURES, PointEncoder
from tapkit.nn.neighbourhood import correlate, sample_clamped
from tapkit.nn.packed import Activation, Linear
from tapkit.nn.precision import widest

BLOCK = 64
"""Points that are tracked at a time: bounds the memory, and is enough for full speed."""

WINDOW = 8
"""Frames of a window: fixed by the weights."""
LEVELS, RADIUS = 4, 3
TOKEN = FEATURES + LEVELS * (2 * RADIUS + 1) ** 2 + 3 * 64 + 3
"""Mixer input of one point in one frame: its feature, 196 correlations, 192 encodings, displacement and time."""


@dataclass(frozen=True)
class PipsOptions(NetworkOptions):
    """Settings of PIPs."""

    stride: int = 4
    """Pixels to a cell of the feature map: 4 (all released tests) or 8 (training). The weights serve both."""
    iterations: int = 6
    """Updates of a window; 4 in training."""
    input_size: Size | None = (360, 640)
    """(height, width) to which frames are resized, as the released demos do; None: frames are taken as they are."""

    def check(self) -> None:
        """See `Options.check`."""
        if self.stride not in (4, 8):
            raise UsageError(f"PIPs works at stride 4 or 8, got {self.stride}")
        if self.iterations < 1:
            raise UsageError(f"iterations must be at least 1, got {self.iterations}")
        require_size("input_size", self.input_size)


class Features(NamedTuple):
    """Feature maps of frames at four scales, each half the one before: [B,h,w,128]."""

    level0: Tensor
    level1: Tensor
    level2: Tensor
    level3: Tensor


class Window(NamedTuple):
    """What the network says about N points in one window."""

    xy: Tensor
    """[N,8,2] cells, float32; frame 0 is the query."""
    logits: Tensor
    """[N,8] float32: visibility before the sigmoid."""
    template: Tensor
    """[N,128] float32: the appearance that was looked for."""


def linear(layer: nn.Module, x: Tensor, activation: Activation = "none") -> Tensor:
    """A `Linear` layer in the precision of its weights; x float32 [...,in] -> float32 [...,out]."""
    assert isinstance(layer, Linear)
    y: Tensor = layer(x.to(layer.bias.dtype), activation)
    return y.float()


class TokenMixing(nn.Module):
    """x + (frames mixed by a two-layer network, the same for all channels); x [N,8,512]."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fn = nn.ModuleDict({"0": nn.Conv1d(WINDOW, hidden, 1), "3": nn.Conv1d(hidden, WINDOW, 1)})

    def forward(self, x: Tensor) -> Tensor:
        inner, outer = (self.fn.get_parameter(f"{layer}.weight")[..., 0] for layer in (0, 3))
        inner_bias, outer_bias = (self.fn.get_parameter(f"{layer}.bias")[:, None] for layer in (0, 3))
        y = F.gelu(torch.matmul(inner, self.norm(x)) + inner_bias)
        return torch.baddbmm(x, outer.expand(len(x), -1, -1), y) + outer_bias


class ChannelMixing(nn.Module):
    """x + (channels mixed by a two-layer network, the same for all frames); x [N,8,512]. The sum is float32."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fn = nn.ModuleDict({"0": Linear(width, hidden), "3": Linear(hidden, width)})

    def forward(self, x: Tensor) -> Tensor:
        inner, outer = self.fn.values()
        dtype = self.fn.get_parameter("3.bias").dtype
        hidden: Tensor = inner(self.norm(x).to(dtype), "gelu")
        mixed: Tensor = outer(hidden, residual=x) if dtype == x.dtype else x + outer(hidden)
        return mixed


class Mixer(nn.Module):
    """Tokens [N,8,519] of each point -> change of position and feature in each frame [N,8,130]."""

    def __init__(self, width: int = 512, depth: int = 12, expansion: int = 4) -> None:
        super().__init__()
        layers: dict[str, nn.Module] = {"0": Linear(TOKEN, width)}
        for layer in range(1, depth + 1):
            mixing = TokenMixing(width, WINDOW * expansion), ChannelMixing(width, width * expansion)
            layers[str(layer)] = nn.Sequential(*mixing)
        layers[str(depth + 1)] = nn.LayerNorm(width)
        layers[str(depth + 3)] = Linear(width, WINDOW * (2 + FEATURES))  # depth + 2 is the mean over frames
        self.to_delta = nn.ModuleDict(layers)

    def forward(self, tokens: Tensor) -> Tensor:
        first, *layers, norm, head = self.to_delta.values()
        x = linear(first, tokens)
        for layer in layers:
            x = layer(x)
        return linear(head, norm(x).mean(1)).view(len(x), WINDOW, -1)


def check_size(encoder: PointEncoder, size: Size) -> None:
    """Raise `UsageError` if frames of `size` are too small for the pyramid: its last level needs 2 cells a side."""
    if min(encoder.map_size(*size)) < 2**LEVELS:
        least = encoder.stride * 2**LEVELS
        raise UsageError(
            f"at stride {encoder.stride} frames must have at least {least} pixels a side, got {size[1]}x{size[0]}; "
            "set input_size to have them resized"
        )


def encode_pyramid(encoder: PointEncoder, frames: Tensor, size: Size, dtype: torch.dtype) -> Features:
    """Feature maps of frames [B,3,h,w] (0..255) at `size`, and their averages over 2x2 cells, three times."""
    height, width = encoder.map_size(*size)
    shapes = [(len(frames), height >> level, width >> level, FEATURES) for level in range(LEVELS)]
    levels = [torch.empty(shape, dtype=dtype, device=frames.device) for shape in shapes]
    step = 1 if frames.device.type == "cpu" else max(len(frames), 1)
    for first in range(0, len(frames), step):
        part = frames[first : first + step].float()
        if part.shape[-2:] != size:
            part = F.interpolate(part, size, mode="bilinear", align_corners=False)
        maps = encoder((part * (2 / 255) - 1).to(dtype))
        for number, level in enumerate(levels):
            maps = F.avg_pool2d(maps, 2) if number else maps
            level[first : first + step] = maps.permute(0, 2, 3, 1)
    return Features(*levels)


def encode_displacements(values: Tensor) -> Tensor:
    """Sines and cosines of values [...,3] at the linear frequencies 31.25 k, then the values: [...,195].

    For each value in turn sin and cos alternate, k = 0..31. Float32 throughout: at 969 rad per cell, half precision
    would be noise.
    """
    frequencies = torch.arange(32, device=values.device, dtype=torch.float32) * (2 * 1000 / 64)
    angles = values.float().unsqueeze(-1) * frequencies
    return torch.cat([torch.stack([angles.sin(), angles.cos()], -1).flatten(-3), values], -1)


class Pips(nn.Module):
    """The network. Submodules carry the names of the published checkpoint."""

    def __init__(self, config: PipsOptions = PipsOptions()) -> None:
        super().__init__()
        self.config = config
        self.fnet = PointEncoder(config.stride)
        self.delta_block = Mixer()
        self.norm = nn.GroupNorm(1, FEATURES)
        self.ffeat_updater = nn.ModuleDict({"0": Linear(FEATURES, FEATURES)})
        self.vis_predictor = nn.ModuleDict({"0": Linear(FEATURES, 1)})
        self.dtype = torch.float32

    def encode(self, frames: Tensor, size: Size | None = None) -> Features:
        """Features of frames [B,3,h,w], values 0..255, resized to `size` (bilinear, no antialiasing) if that is given.

        Raises `UsageError` where a map would have less than 16 cells a side.
        """
        size = size or (frames.shape[-2], frames.shape[-1])
        check_size(self.fnet, size)
        return encode_pyramid(self.fnet, frames, size, self.dtype)

    def tokens(self, levels: Features, frames: Tensor, xy: Tensor, features: Tensor) -> Tensor:
        """Mixer input [N,8,519] for positions xy [N,8,2] and features [N,8,128] at frames int64 [N,8]."""
        flat = correlate(levels, features.reshape(-1, 1, FEATURES), frames.reshape(-1), xy.reshape(-1, 2), RADIUS)
        time = torch.linspace(0, WINDOW, WINDOW, device=xy.device).expand(len(xy), -1)  # 8t/7, as released
        displacement = torch.cat([xy - xy[:, :1], time.unsqueeze(-1)], -1)
        return torch.cat([features, flat.view(*xy.shape[:2], -1), encode_displacements(displacement)], -1)

    def refine(self, change: Tensor, features: Tensor) -> Tensor:
        """Features [N,8,128] after the feature `change` [N,8,128] that the mixer asks for."""
        normed = F.layer_norm(change, (FEATURES,), self.norm.weight, self.norm.bias, self.norm.eps)
        return features + linear(self.ffeat_updater["0"], normed, "gelu")

    def iterations(self, levels: Features, frames: Tensor, start: Tensor, template: Tensor | None) -> list[Window]:
        """All iterations of one window, the last one with visibilities (see `window`)."""
        count = len(start)
        if template is None:
            template = sample_clamped(levels.level0, frames[:, 0], start)
        xy = start.float()[:, None].repeat(1, WINDOW, 1)
        features = template[:, None].repeat(1, WINDOW, 1)
        steps = []
        for _ in range(self.config.iterations):
            xy = xy.detach()  # each iteration is trained for its own step
            change = self.delta_block(self.tokens(levels, frames, xy, features))
            features = self.refine(change[..., 2:], features)
            xy = xy + change[..., :2]
            if not self.training:  # in training the first frame is a prediction like the others
                xy[:, 0] = start
            steps.append(Window(xy, xy.new_zeros(count, 0), template))
        logits = linear(self.vis_predictor["0"], features).squeeze(-1)
        return [*steps[:-1], steps[-1]._replace(logits=logits)]

    def window(self, levels: Features, frames: Tensor, start: Tensor, template: Tensor | None = None) -> Window:
        """Track points through their windows.

        levels: features of a clip; frames int64 [N,8]: the clip's frames that make each point's window; start [N,2]:
        positions in cells on the first of them; template [N,128]: what to look for (None: what is at `start`).
        """
        return self.iterations(levels, frames, start, template)[-1]


def probability(logits: Tensor) -> Tensor:
    """sigmoid(logits) as float32. Computed in float64, because torch's float32 sigmoid depends in its last bit on where
    in a tensor a value stands, and points are to have the same answer in any company."""
    return logits.to(widest(logits.device)).sigmoid().float()


def next_start(logits: Tensor) -> Tensor:
    """By how many frames (2..7) each point's next window is moved, from the logits [N,8] of this one.

    The last frame whose visibility exceeds 0.9 counts, or, if none of frames 2..7 does, 0.88, 0.86, ...
    (released `chain_demo`; frame 1 is never tried).
    """
    visible = probability(logits)[:, 2:].nan_to_num(nan=-1.0)  # what is not a number passes no threshold
    thresholds = constant(_THRESHOLDS, visible.dtype, visible.device)
    # All thresholds at once: to look after each whether there are points left would be to wait for the device.
    first = (visible.amax(1, keepdim=True) > thresholds).to(torch.uint8).argmax(1)
    passed = visible > thresholds[first, None]
    last = WINDOW - 1 - passed.flip(1).to(torch.uint8).argmax(1)
    return torch.where(passed.any(1), last, WINDOW - 1)


def _thresholds() -> tuple[float, ...]:
    """0.9, 0.88, ... as the loop of the original counts down, to the first that every probability passes."""
    values = [0.9]
    while values[-1] >= 0:
        values.append(values[-1] - 0.02)
    return tuple(values)


_THRESHOLDS = _thresholds()


class Chain(NamedTuple):
    """Chained windows of N points over T frames."""

    xy: Tensor
    """[N,T,2] cells; before the query's frame: the query."""
    logits: Tensor
    """[N,T]; before the query's frame: -inf (never asked)."""
    starts: Tensor
    """[N,K] int64: first frames of the windows, padded with -1."""


def chain(network: Pips, levels: Features, t: Tensor, start: Tensor) -> Chain:
    """Track points from frames t int64 [N], positions start [N,2] (cells), to the end of the clip.

    Each point goes its own way; windows of different points, whatever their frames, are computed together.
    A window at the end of the clip is filled with copies of its last frame; those count in the choice of the next.
    """
    count, length = len(t), len(levels.level0)
    xy = start[:, None].repeat(1, length, 1)
    logits = start.new_full((count, length), float("-inf"))
    template = sample_clamped(levels.level0, t, start)
    current, history = t.clone(), []
    while (active := (current < length).nonzero()[:, 0]).numel():
        history.append(torch.where(current < length, current, -1))
        for rows in torch.split(active, BLOCK):
            frames = current[rows, None] + torch.arange(WINDOW, device=t.device)
            here = frames.clamp(max=length - 1)
            result = network.window(levels, here, xy[rows, current[rows]], template[rows])
            # Padded frames are not stored: they would overwrite the last frame of the clip.
            point, step = (frames < length).nonzero(as_tuple=True)
            xy[rows[point], here[point, step]] = result.xy[point, step]
            logits[rows[point], here[point, step]] = result.logits[point, step]
            current[rows] += next_start(result.logits)
    return Chain(xy, logits, torch.stack(history, 1) if history else t.new_zeros(count, 0))

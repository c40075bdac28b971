"""What strand sees of a frame: maps of features at strides 4, 8 and 16, by one of two encoders.

`ResidualEncoder` is ours from its first layer on; `Lite0Encoder` has EfficientNet-Lite0, with weights from ImageNet,
and heads of ours above. Both yield the same maps, so that all the rest of the network serves either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit.constants import table
from tapkit.nn.efficientnet_lite import CHANNELS, OFF, EfficientNetLite0
from tapkit.nn.efficientnet_lite import STRIDES as BACKBONE_STRIDES
from tapkit.nn.packed import Activation, Conv2d, UnshuffledConv2d, activate

STRIDES = (4, 8, 16)
"""Pixels per cell of the three maps."""
LEVEL_STRIDES = (*STRIDES, STRIDES[-1])
"""And of `Maps.levels`."""
EPS = 1e-5
"""Of batch norm."""


@dataclass(frozen=True)
class StrandConfig:
    """What fixes the shapes of all tensors."""

    encoder: Literal["residual", "lite0"] = "residual"
    """Which of the two encoders."""
    evidence: bool = False
    """Whether `evidence` corrects visibility and confidence, and `anchor` holds points to the query's pixels."""
    widths: tuple[int, int, int, int] = (32, 64, 128, 128)
    """Channels inside the residual encoder at strides 2, 4, 8 and 16."""
    blocks: tuple[int, int, int] = (2, 2, 5)
    """Its residual blocks at strides 4, 8 and 16."""
    features: tuple[int, int, int] = (64, 128, 128)
    """Channels of the maps."""
    patches: tuple[int, int, int] = (2, 1, 1)
    """A template is a (2p+1) x (2p+1) patch of cells around the point, for each map."""
    radius: int = 3
    """It is looked for at (2r+1) x (2r+1) cells."""
    hidden: int = 192
    """Size of a point's recurrent state."""
    known: tuple[int, int] = (0, 0)
    """Channels of what the backbone knew of the maps of strides 16 and 32 before anything was learned here."""
    mixed: int = 256
    """Width of the layer that takes in the correlations."""
    refine: bool = False
    """Whether answers are moved to where the query's patches are (`refinement`)."""

    @property
    def templates(self) -> list[tuple[int, int]]:
        """Cells and channels of what is kept of a point's looks, for each of `Maps.levels`."""
        sides = [*((2 * p + 1) ** 2 for p in self.patches), 1]
        return [(n, c) for n, c in zip(sides, (*self.features, sum(self.known)), strict=True) if c]

    @property
    def volume(self) -> int:
        """How many products one look yields: two templates on three maps."""
        cells = (2 * self.radius + 1) ** 2
        return sum(2 * (2 * p + 1) ** 2 * cells for p in self.patches)


class Maps(NamedTuple):
    """Features of B frames at the three strides, each [B,h,w,C] contiguous, |vector| = 1."""

    fine: Tensor
    coarse: Tensor
    wide: Tensor
    known: Tensor
    """What the backbone knew already, in cells of `wide`; two vectors of length 1 side by side. [B,h,w,0]: nothing."""

    @property
    def learned(self) -> tuple[Tensor, Tensor, Tensor]:
        """The maps of strides 4, 8 and 16."""
        return self.fine, self.coarse, self.wide

    @property
    def levels(self) -> tuple[Tensor, ...]:
        """These, and `known` if it is anything."""
        return tuple(self) if self.known.shape[-1] else self.learned


class Norm(nn.Module):
    """Batch norm (Ioffe and Szegedy, ICML 2015) without torch's counter of batches, so that all its state is floats."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,h,w] to the same; by the statistics of the batch in training, else by the running ones."""
        result: Tensor = F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, self.training, 0.1, EPS
        )
        return result


class ConvNorm(nn.Module):
    """A convolution and batch norm over it, which `fold` makes one convolution for inference."""

    def __init__(self, before: int, after: int, stride: int = 1, kernel: int = 3) -> None:
        super().__init__()
        self.conv = Conv2d(before, after, kernel, stride, kernel // 2, bias=False)
        self.norm: Norm | None = Norm(after)

    def forward(self, x: Tensor, activation: Activation = "none", residual: Tensor | None = None) -> Tensor:
        """activation(norm(conv(x))) + residual, [B,C,h,w] -> [B,C',h',w']."""
        if self.norm is None:
            folded: Tensor = self.conv(x, activation, residual)
            return folded
        y: Tensor = activate(self.norm(self.conv(x)), activation)
        return y if residual is None else y + residual

    def fold(self) -> None:
        """Put the norm's running statistics into the convolution. No training from here on."""
        if self.norm is None:
            return
        norm = self.norm
        with torch.no_grad():
            scale = norm.weight / torch.sqrt(norm.running_var + EPS)
            self.conv.weight.mul_(scale[:, None, None, None])
            self.conv.bias = nn.Parameter(norm.bias - norm.running_mean * scale)
        self.norm = None


class Block(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al., CVPR 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = ConvNorm(channels, channels), ConvNorm(channels, channels)
        assert self.second.norm is not None
        nn.init.constant_(self.second.norm.weight, 0.3)

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,h,w] to the same."""
        result: Tensor = F.relu(self.second(self.first(x, "relu"), residual=x))
        return result


class Down(nn.Module):
    """Half the size, other channels, then residual blocks."""

    def __init__(self, before: int, after: int, blocks: int) -> None:
        super().__init__()
        self.enter = ConvNorm(before, after, 2)
        self.blocks = nn.Sequential(*(Block(after) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,h,w] -> [B,C',h/2,w/2]."""
        result: Tensor = self.blocks(self.enter(x, "relu"))
        return result


class ResidualEncoder(nn.Module):
    """Frames [B,3,H,W] in [-1,1], H and W multiples of 16 -> `Maps`."""

    def __init__(self, config: StrandConfig) -> None:
        super().__init__()
        half, quarter, eighth, last = config.widths
        fine, coarse, wide = config.features
        # The frame enters at stride 2 with four pixels in the channels: a large image with three channels is slow.
        self.enter = ConvNorm(12, half)
        self.quarter = Down(half, quarter, config.blocks[0])
        self.eighth = Down(quarter, eighth, config.blocks[1])
        self.last = Down(eighth, last, config.blocks[2])
        # Top-down, so that a cell of the fine map knows what it is part of (Lin et al., Feature Pyramids, CVPR 2017).
        self.last_to_eighth, self.eighth_to_quarter = Conv2d(last, eighth, 1), Conv2d(eighth, quarter, 1)
        self.to_fine, self.to_coarse = ConvNorm(quarter, fine), ConvNorm(eighth, coarse)
        self.to_wide = ConvNorm(last, wide)

    def forward(self, frames: Tensor) -> Maps:
        """See the class."""
        x = F.pixel_unshuffle(frames, 2).contiguous(memory_format=torch.channels_last)
        quarter = self.quarter(self.enter(x, "relu"))
        eighth = self.eighth(quarter)
        last = self.last(eighth)
        eighth = eighth + _twice(self.last_to_eighth(last))
        quarter = quarter + _twice(self.eighth_to_quarter(eighth))
        maps = self.to_fine(quarter), self.to_coarse(eighth), self.to_wide(last)
        return unit_maps(*maps)


class Lite0Encoder(nn.Module):
    """EfficientNet-Lite0 and top-down heads: frames [B,3,H,W] in [-1,1], H and W multiples of 16 -> `Maps`.

    From the coarsest map to the finest each takes in the one above (Lin et al., Feature Pyramids, CVPR 2017): stride 32
    tells what a cell is part of; the map of stride 2, its four cells in the channels, where in it something is.
    """

    def __init__(self, config: StrandConfig) -> None:
        super().__init__()
        half, quarter, eighth, last, deepest = CHANNELS
        fine, coarse, wide = config.features
        self.backbone = EfficientNetLite0()
        self.from_deepest, self.from_last = ConvNorm(deepest, wide, kernel=1), ConvNorm(last, wide, kernel=1)
        self.from_eighth, self.from_quarter = ConvNorm(eighth, coarse, kernel=1), ConvNorm(quarter, fine, kernel=1)
        self.from_half = ConvNorm(4 * half, fine, kernel=1)
        self.from_half.conv = UnshuffledConv2d(half, fine, bias=False)
        self.mix_last, self.mix_eighth = ConvNorm(wide, wide), ConvNorm(coarse, coarse)
        self.mix_quarter = ConvNorm(fine, fine)
        self.last_to_eighth, self.eighth_to_quarter = Conv2d(wide, coarse, 1), Conv2d(coarse, fine, 1)
        self.to_fine, self.to_coarse = ConvNorm(fine, fine), ConvNorm(coarse, coarse, kernel=1)
        self.to_wide = ConvNorm(wide, wide, kernel=1)
        self.known = None
        if any(config.known):
            self.known = nn.ModuleList(Conv2d(*sides, 1) for sides in zip((last, deepest), config.known, strict=True))

    def forward(self, frames: Tensor) -> Maps:
        """See the class."""
        half, quarter, eighth, last, deepest = self.backbone(frames)
        height, width = last.shape[-2:]
        known = self._known(last, deepest)
        # Where 32 does not divide a side, the deepest map reaches half a cell further.
        last = self.from_last(last, residual=_twice(self.from_deepest(deepest))[:, :, :height, :width])
        last = self.mix_last(F.relu(last), "relu")
        eighth = self.from_eighth(eighth, residual=_twice(self.last_to_eighth(last)))
        eighth = self.mix_eighth(F.relu(eighth), "relu")
        quarter = self.from_half(half, residual=self.from_quarter(quarter))
        quarter = self.mix_quarter(F.relu(quarter + _twice(self.eighth_to_quarter(eighth))), "relu")
        return unit_maps(self.to_fine(quarter), self.to_coarse(eighth), self.to_wide(last), known)

    def _known(self, last: Tensor, deepest: Tensor) -> Tensor:
        """`Maps.known` of the backbone's maps [B,C,h,w]: [B,h,w,K]."""
        if self.known is None:
            return last.new_zeros(len(last), *last.shape[-2:], 0)
        height, width = last.shape[-2:]
        found = []
        for layer, x, stride, off in zip(self.known, (last, deepest), BACKBONE_STRIDES[-2:], OFF[-2:], strict=True):
            sides = x.shape[-2] * stride, x.shape[-1] * stride
            grid = table(_cells, (height, width, *sides, off), torch.float32, x.device).expand(len(x), -1, -1, -1)
            unit = F.normalize(layer(x).float(), dim=1)
            found.append(F.grid_sample(unit, grid, padding_mode="border", align_corners=False))
        return torch.cat(found, 1).permute(0, 2, 3, 1).to(last.dtype).contiguous()


def encoder(config: StrandConfig) -> ResidualEncoder | Lite0Encoder:
    """The encoder that the configuration names."""
    return Lite0Encoder(config) if config.encoder == "lite0" else ResidualEncoder(config)


def config_of(weights: Mapping[str, Tensor]) -> StrandConfig:
    """The configuration of the network that these tensors are of, by their names."""
    lite0 = any(name.startswith("encoder.backbone.") for name in weights)
    evidence = any(name.startswith("verify.") for name in weights)
    layers = [weights.get(f"encoder.known.{number}.weight") for number in range(2)]
    known = tuple(0 if layer is None else len(layer) for layer in layers)
    refine = any(name.startswith("refine.") for name in weights)
    return StrandConfig("lite0" if lite0 else "residual", evidence, known=(known[0], known[1]), refine=refine)


def unit_maps(fine: Tensor, coarse: Tensor, wide: Tensor, known: Tensor | None = None) -> Maps:
    """Maps [B,C,h,w] as [B,h,w,C], each vector of length 1; `known` as it is, None: nothing."""
    maps = (fine, coarse, wide)
    parts = [F.normalize(m.permute(0, 2, 3, 1).float(), dim=-1).to(m.dtype).contiguous() for m in maps]
    return Maps(parts[0], parts[1], parts[2], parts[2][..., :0] if known is None else known)


def _cells(height: int, width: int, tall: int, broad: int, off: float) -> list[list[list[float]]]:
    """Where the middles of the cells of a map of stride 16 lie in one of so many pixels whose own are off by `off`, as
    `grid_sample` counts [h,w,2]."""
    side = STRIDES[-1]
    rows, columns = (
        [2 * ((cell + 0.5) * side - off) / pixels - 1 for cell in range(count)]
        for count, pixels in ((height, tall), (width, broad))
    )
    return [[[x, y] for x in columns] for y in rows]


def _twice(x: Tensor) -> Tensor:
    """[B,C,h,w] at twice the size."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)

"""The residual networks that TAPTR reads frames with: ResNet-50 and ResNet-18 (He et al., CVPR 2016).

The variant with the stride in the 3x3 convolution. All batch norms are frozen, so they are part of the
convolutions before them here (`weights.py` puts them there); every convolution has a bias for that.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from tapkit.nn.packed import Conv2d

Depth = Literal[18, 50]

BLOCKS: dict[int, tuple[int, int, int, int]] = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
"""Residual blocks of the four groups."""


def channels(depth: Depth) -> tuple[int, int, int, int]:
    """Channels of the four groups' outputs."""
    return (256, 512, 1024, 2048) if depth == 50 else (64, 128, 256, 512)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        width = outputs // 4
        self.conv1 = Conv2d(inputs, width, 1)
        self.conv2 = Conv2d(width, width, 3, stride, padding=1)
        self.conv3 = Conv2d(width, outputs, 1)
        self.downsample = Conv2d(inputs, outputs, 1, stride) if stride > 1 or inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """x [B,C,h,w] -> [B,C',ceil(h/stride),ceil(w/stride)]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.conv2(self.conv1(x, "relu"), "relu")
        return F.relu(self.conv3(y, residual=shortcut))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = Conv2d(inputs, outputs, 3, stride, padding=1)
        self.conv2 = Conv2d(outputs, outputs, 3, padding=1)
        self.downsample = Conv2d(inputs, outputs, 1, stride) if stride > 1 or inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """x [B,C,h,w] -> [B,C',ceil(h/stride),ceil(w/stride)]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.conv2(self.conv1(x, "relu"), residual=shortcut))


class ResNet(nn.Module):
    """The network up to its four groups of blocks; no classifier."""

    def __init__(self, depth: Depth) -> None:
        super().__init__()
        self.conv1 = Conv2d(3, 64, 7, 2, padding=3)
        block = Bottleneck if depth == 50 else BasicBlock
        inputs = 64
        for number, (count, outputs) in enumerate(zip(BLOCKS[depth], channels(depth), strict=True)):
            blocks: list[nn.Module] = []
            for place in range(count):
                blocks.append(block(inputs, outputs, 2 if number and not place else 1))
                inputs = outputs
            self.add_module(f"layer{number + 1}", nn.Sequential(*blocks))

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Normalised frames [B,3,H,W], channels_last for speed -> maps of strides 4, 8, 16, 32."""
        x = F.max_pool2d(self.conv1(frames, "relu"), 3, 2, 1)
        levels = []
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
            levels.append(x)
        return levels

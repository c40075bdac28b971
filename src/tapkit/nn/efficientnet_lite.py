"""EfficientNet-Lite0 up to its last block: a backbone whose weights come from ImageNet, with batch norm folded in.

M. Tan and Q. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (ICML 2019), section 4 and
table 1; the Lite variants (Google, 2020) have no squeeze-and-excitation, ReLU6 in place of swish, and a stem and head
that do not scale. Inverted residuals: Sandler et al., "MobileNetV2" (CVPR 2018), section 3.

`tools/lite0_backbone.py` makes the weights from the published ones: each batch norm is part of the convolution before
it, so there are no statistics, and a network that is fine-tuned behaves in training as it does in inference.

Padding. The published convolutions of stride 2 pad as TensorFlow does, behind only. A window of an even number of
pixels has no middle, so every such convolution moves its map by half a pixel of its input, 15.5 pixels after the
fifth. Which of the two phases is taken is free (it is the same network on an image that is moved by a pixel): here they
alternate, and the maps of strides 2 to 32 are off by 0.5, -0.5, 1.5, -2.5 and 5.5 pixels only.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit.nn.packed import Conv2d

STEM = 32
"""Channels of the first convolution."""


class Group(NamedTuple):
    """Blocks of one shape."""

    blocks: int
    kernel: int
    stride: int
    expand: int
    """Factor of the channels inside a block."""
    channels: int


GROUPS = (
    Group(1, 3, 1, 1, 16),
    Group(2, 3, 2, 6, 24),
    Group(2, 5, 2, 6, 40),
    Group(3, 3, 2, 6, 80),
    Group(3, 5, 1, 6, 112),
    Group(4, 5, 2, 6, 192),
    Group(1, 3, 1, 6, 320),
)
"""Table 1 of the paper (B0), which Lite0 shares."""
CHANNELS = (16, 24, 40, 112, 320)
"""Channels of the five maps."""
STRIDES = (2, 4, 8, 16, 32)
"""Pixels per cell of these."""
OFF = (0.5, -0.5, 1.5, -2.5, 5.5)
"""Pixels by which their cells lie further right and down than they should (see the module)."""
_OUTPUTS = (0, 2, 4, 10, 15)
"""The blocks that they come out of."""
_LEADING = (False, True, False, True, False)
"""Whether the convolution that makes stride 2, 4, 8, 16, 32 pads in front too: its windows begin a pixel earlier."""


class InvertedResidual(nn.Module):
    """1x1 to more channels, depthwise, 1x1 back; a shortcut where the shape stays."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expand: int, leading: bool) -> None:
        super().__init__()
        inside = before * expand
        self.expand = Conv2d(before, inside, 1) if expand > 1 else None
        # With stride 2 and padding behind only, the padding is done here, since a convolution's own is the same on
        # both sides.
        self.behind = (kernel - 2) // 2 if stride == 2 and not leading else None
        padding = 0 if self.behind is not None else kernel // 2
        self.depthwise = Conv2d(inside, inside, kernel, stride, padding, groups=inside)
        self.project = Conv2d(inside, after, 1)
        self.shortcut = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,h,w] -> [B,C',ceil(h/stride),ceil(w/stride)]."""
        y = x if self.expand is None else self.expand(x, "relu6")
        if self.behind is not None:
            y = pad_behind(y, self.behind)
        y = self.depthwise(y, "relu6")
        result: Tensor = self.project(y, residual=x) if self.shortcut else self.project(y)
        return result


class EfficientNetLite0(nn.Module):
    """Frames [B,3,H,W] in -1..1 (the published (x - 127) / 128, up to half a grey level) -> five maps, fine to coarse.

    The map of stride s is [B,C,ceil(H/s),ceil(W/s)] with C of `CHANNELS`, before any activation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv2d(3, STEM, 3, 2)
        blocks: list[nn.Module] = []
        before, halvings = STEM, 1
        for group in GROUPS:
            for number in range(group.blocks):
                stride = group.stride if number == 0 else 1
                leading = stride == 2 and _LEADING[halvings]
                halvings += stride == 2
                blocks.append(InvertedResidual(before, group.channels, group.kernel, stride, group.expand, leading))
                before = group.channels
        self.blocks = nn.ModuleList(blocks)

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        frames = frames.contiguous(memory_format=torch.channels_last)
        x = self.stem(pad_behind(frames, 0), "relu6")
        maps = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in _OUTPUTS:
                maps.append(x)
        return tuple(maps)


def pad_behind(x: Tensor, front: int) -> Tensor:
    """x [B,C,h,w] padded with zeros for a convolution of kernel 2 * front + 3 and stride 2: `front` cells in front.

    Behind it is one more, and another where a side is odd, so that no cell is left out.
    """
    height, width = x.shape[-2:]
    return F.pad(x, (front, front + 1 + width % 2, front, front + 1 + height % 2))

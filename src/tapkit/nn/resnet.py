"""The convolutional backbone that TAPIR and LocoTrack share: a pre-activation ResNet with instance norms.

Four groups of two blocks at strides 2, 4, 8, 8; no max pooling, no norm after the stem or at the end. It works on
each frame for itself. TAPIR (arXiv:2306.08637, section 3 and appendix) takes the outputs of groups 1 and 3,
LocoTrack (arXiv:2407.15420) also that of group 0. Module names are those of the published checkpoints ("bn" holds
instance norms there).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit.nn.exporting import exporting
from tapkit.nn.instance_norm import instance_norm_last, keeps_format
from tapkit.nn.packed import Conv2d

CHANNELS = (64, 128, 256, 256)
"""Channels of the four groups' outputs."""
STRIDES = (2, 4, 8, 8)
"""Their strides."""


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """(before, after) of TensorFlow's "SAME" padding along one axis: the smaller half comes first.

    >>> same_padding(256, 7, 2), same_padding(64, 3, 2), same_padding(13, 3, 2), same_padding(64, 3, 1)
    ((2, 3), (0, 1), (1, 1), (1, 1))
    """
    if exporting():  # sizes are symbols then, and multiples of the stride
        total = kernel - stride
    else:
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def pad_same(x: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """x [B,C,H,W] padded as `same_padding` says on both axes."""
    (top, bottom), (left, right) = (same_padding(size, kernel, stride) for size in x.shape[-2:])
    return F.pad(x, (left, right, top, bottom), value=value)


def l2_normalize(x: Tensor, dim: int = 1) -> Tensor:
    """x / sqrt(max(sum of squares along `dim`, 1e-12)), the unit features of TAP-Net and its descendants."""
    return x * x.square().sum(dim, keepdim=True).clamp_(min=1e-12).rsqrt_()


class InstanceNormRelu(nn.Module):
    """relu(instance norm(x)) with scale and shift, biased variance, eps 1e-5; x [B,C,H,W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, overwrite: bool = False) -> Tensor:
        """`overwrite`: x is not needed any more, the result may take its place."""
        if keeps_format(x) and not exporting():
            return instance_norm_last(x, self.weight, self.bias).relu_()
        if torch.is_grad_enabled() or x.device.type != "cpu" or exporting():
            return F.relu(F.instance_norm(x, weight=self.weight, bias=self.bias, eps=1e-5))
        # On a CPU torch's instance norm leaves the channels_last format. Sums over the slow axes of such a tensor are
        # vectorised and pairwise, so this is as exact, at a third of the time; and it makes one tensor, not five.
        pixels = x.permute(0, 2, 3, 1)
        mean = pixels.mean((1, 2), keepdim=True)
        room = (pixels - mean).square_()
        scale = self.weight * torch.rsqrt(room.mean((1, 2), keepdim=True) + 1e-5)
        out = torch.addcmul(self.bias - mean * scale, pixels, scale, out=pixels if overwrite else room)
        return out.relu_().permute(0, 3, 1, 2)


class Block(nn.Module):
    """One pre-activation block. The shortcut's projection reads the normalised, rectified input."""

    def __init__(self, inputs: int, outputs: int, stride: int, project: bool) -> None:
        super().__init__()
        self.proj_conv = Conv2d(inputs, outputs, 1, stride, bias=False) if project else None
        self.bn_0 = InstanceNormRelu(inputs)
        self.conv_0 = Conv2d(inputs, outputs, 3, stride, padding=1 if stride == 1 else 0, bias=False)
        self.conv_1 = Conv2d(outputs, outputs, 3, 1, padding=1, bias=False)
        self.bn_1 = InstanceNormRelu(outputs)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """x [B,C,h,w] -> [B,C',ceil(h/stride),ceil(w/stride)]."""
        a = self.bn_0(x)
        shortcut = x if self.proj_conv is None else self.proj_conv(a)
        y = self.conv_0(a if self.stride == 1 else pad_same(a, 3, self.stride))
        y = self.bn_1(y, overwrite=True)
        out: Tensor = self.conv_1(y, residual=shortcut)
        return out


class Group(nn.Module):
    """Two blocks, the first with a projection and the group's stride."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(inputs, outputs, stride, True), Block(outputs, outputs, 1, False)])

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class ResNet(nn.Module):
    """The backbone. Everything runs in the channels_last memory format."""

    def __init__(self) -> None:
        super().__init__()
        self.initial_conv = Conv2d(3, CHANNELS[0], 7, 2, bias=False)
        sizes = zip((64, *CHANNELS[:-1]), CHANNELS, (1, 2, 2, 1), strict=True)
        self.block_groups = nn.ModuleList([Group(inputs, outputs, stride) for inputs, outputs, stride in sizes])

    def stem(self, frames: Tensor) -> Tensor:
        """frames [B,3,H,W] in [-1,1] -> [B,64,ceil(H/2),ceil(W/2)]."""
        frames = pad_same(frames, 7, 2)
        out: Tensor = self.initial_conv(frames.contiguous(memory_format=torch.channels_last))
        return out

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Outputs of the four groups for frames [B,3,H,W] in [-1,1]: strides 2, 4, 8, 8, not normalised."""
        x = self.stem(frames)
        outputs = []
        for group in self.block_groups:
            x = group(x)
            outputs.append(x)
        return outputs

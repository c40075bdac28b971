"""The convolutional encoder that PIPs, PIPs++ and the CoTrackers share: one frame in, one 128-channel map out.

A stem and four groups of two residual blocks at strides 2, 4, 8, 16; their outputs, resized to one size and
concatenated, are fused by a 3x3 and a 1x1 convolution (Harley et al., "Particle Video Revisited", ECCV 2022,
section 3.1; Karaev et al., "CoTracker", ECCV 2024, section 3.1). The norms are instance norms without parameters:
every frame is encoded for itself, so frames may be encoded once, in any batches, and kept. Module names are those
of the published checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit.nn.instance_norm import instance_norm_last, keeps_format
from tapkit.nn.packed import Conv2d, Linear, Packable, can_pack
from tapkit.nn.winograd import WinogradConv2d

CHANNELS = (64, 96, 128, 128)
"""Channels of the four groups' outputs."""
STRIDES = (2, 4, 8, 16)
"""Their strides."""
FEATURES = 128
"""Channels of the fused map."""


_ROWS = 32
"""Rows of a map whose squares are summed at once: what is squared stays in the cache."""


def instance_norm(x: Tensor) -> Tensor:
    """Instance norm of x [B,C,h,w] without parameters (biased variance, eps 1e-5); may overwrite x.

    On a CPU without gradients: in place, and summed row by row, which is both more exact and several times as fast
    as torch's kernels for channels_last, that add up 16,384 pixels one after the other.
    """
    if keeps_format(x):
        return instance_norm_last(x)
    if x.requires_grad or x.device.type != "cpu" or len(x) != 1:
        return F.instance_norm(x, eps=1e-5)
    if x.dtype.itemsize < 4:
        return instance_norm(x.float()).to(x.dtype)
    rows = x[0].permute(1, 2, 0)  # [h,w,C]
    ones = rows.new_full((1, rows.shape[1]), 1 / rows.shape[1])
    rows.sub_(torch.matmul(ones, rows).mean(0))
    squares = [torch.matmul(ones, rows[y : y + _ROWS].square()).sum(0) for y in range(0, len(rows), _ROWS)]
    variance = torch.stack(squares).sum(0) / len(rows)
    rows.mul_(variance.add_(1e-5).rsqrt_())
    return x


def norm_relu(x: Tensor) -> Tensor:
    """relu(instance norm(x)); may overwrite x."""
    y = instance_norm(x)
    return F.relu(y) if y.requires_grad else y.relu_()


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a skip, each normalised; [B,C,h,w] -> [B,C',h/stride,w/stride]."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = Conv2d(channels_in, channels, 3, stride, 1)
        self.conv2 = Conv2d(channels, channels, 3, 1, 1)
        # A Sequential of one, because the checkpoints call it "downsample.0".
        self.downsample = nn.Sequential(Conv2d(channels_in, channels, 1, stride)) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = norm_relu(self.conv2(norm_relu(self.conv1(x))))
        if self.downsample is None:
            return x + y if y.requires_grad else y.add_(x)  # both are outputs of a relu: one more changes nothing
        return F.relu(instance_norm(self.downsample(x)) + y)


def _spread(size: int, new_size: int) -> Tensor:
    """How a three-tap filter reads an axis of `size` through a corner-aligned linear resize to `new_size`.

    [3, new_size, size]: entry (k, i, j) is the weight of input j in the resized value at i + k - 1, zero outside.
    """
    resized = F.interpolate(torch.eye(size)[None], new_size, mode="linear", align_corners=True)[0].T
    around = F.pad(resized, (0, 0, 1, 1))
    return torch.stack([around[k : k + new_size] for k in range(3)])


class FusingConv(Packable, nn.Conv2d):
    """The 3x3 convolution over all groups' outputs, resized to one size and concatenated.

    Packed, the channels of maps that are four times as coarse as the output are multiplied by the weights *before* they
    are resized: both are linear, so the result is the same up to rounding, for a fraction of the products.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], stride: int, outputs: int) -> None:
        super().__init__(sum(channels), outputs, 3, padding=1)
        self.coarse = sum(1 for own in strides if own >= 4 * stride)
        """How many of the maps, the last ones, are that coarse."""
        self._counts = list(channels)
        self._near: tuple[Conv2d, ...] = ()  # tuples, so that they are no submodules
        self._far: tuple[Linear, ...] = ()

    def pack(self) -> None:
        """See `Packable`. The plain weight is kept."""
        if not can_pack(self.weight):
            return
        first = len(self._counts) - (self.coarse if self.weight.dtype == torch.float32 else 0)
        counts = [sum(self._counts[:first]), *self._counts[first:]]
        near, *far = torch.split(self.weight.detach(), counts, 1)
        with torch.device("meta"):
            conv = WinogradConv2d(near.shape[1], self.out_channels)
        conv.weight, conv.bias = nn.Parameter(near, requires_grad=False), self.bias
        products = []
        for weight in far:
            product = Linear(weight.shape[1], 9 * self.out_channels, bias=False, device="meta")
            rows = weight.permute(2, 3, 0, 1).reshape(-1, weight.shape[1])
            product.weight = nn.Parameter(rows.contiguous(), requires_grad=False)
            products.append(product)
        for part in (conv, *products):
            part.pack()
        self._near, self._far = (conv,), tuple(products)

    def unpack(self) -> None:
        """See `Packable`."""
        self._near = self._far = ()

    def fuse(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """The outputs of the groups, [B,C,h,w] each, at any sizes -> [B,C',*size]."""
        fine = len(maps) - len(self._far)
        near = [
            x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=True)
            for x in maps[:fine]
        ]
        together = torch.cat(near, 1)
        near.clear()
        out: Tensor = self._near[0](together) if self._near else self(together)
        for product, x in zip(self._far, maps[fine:], strict=True):
            self._add_coarse(out, product, x)
        return out

    def _add_coarse(self, out: Tensor, product: Linear, x: Tensor) -> None:
        """Add to out [B,C',H,W] what the map x [B,C,h,w] contributes."""
        height, width = out.shape[-2:]
        h, w = x.shape[-2:]
        down = _spread(h, height).permute(1, 2, 0).reshape(height, -1)  # [H, 3h]
        across = _spread(w, width).unsqueeze(1).expand(-1, height, -1, -1)  # [3, H, W, w]
        for frame, target in zip(x, out, strict=True):
            columns = product(frame.permute(2, 1, 0).reshape(w * h, -1)).view(w, 3 * h, -1)
            rows = torch.matmul(down, columns).view(w, height, 3, -1)
            for k in range(3):
                target.permute(1, 2, 0).baddbmm_(across[k], rows[:, :, k].transpose(0, 1))


class PointEncoder(nn.Module):
    """Frames [B,3,H,W] in [-1,1] -> maps [B,features,H//stride,W//stride], channels_last in memory.

    `stride` is that of the output map alone (4 or 8 in the published models): the four group outputs are resized to
    it (bilinear, corners aligned), so the same weights serve any. On a CPU frames are encoded one by one, which is as
    fast as batches, keeps memory flat and makes the result independent of the batch; but for a network in training,
    which chooses how many it can hold. `channels` (of the groups) and `features` are other than the published ones in
    small networks that are trained with tapkit.
    """

    def __init__(self, stride: int = 4, channels: Sequence[int] = CHANNELS, features: int = FEATURES) -> None:
        super().__init__()
        self.stride, self.features = stride, features
        self.conv1 = Conv2d(3, channels[0], 7, 2, 3)
        widths = (channels[0], *channels)
        for number, (before, after) in enumerate(pairwise(widths), 1):
            blocks = nn.Sequential(
                ResidualBlock(before, after, 1 if number == 1 else 2), ResidualBlock(after, after, 1)
            )
            self.add_module(f"layer{number}", blocks)
        self.conv2 = FusingConv(channels, STRIDES, stride, 2 * features)
        self.conv3 = Conv2d(2 * features, features, 1)

    def map_size(self, height: int, width: int) -> tuple[int, int]:
        """(h, w) of the map of a frame of that size."""
        return height // self.stride, width // self.stride

    def forward(self, frames: Tensor) -> Tensor:
        """See the class. H and W need not be multiples of the stride; both must be at least 16."""
        if not len(frames):
            size = self.map_size(*frames.shape[-2:])
            return frames.new_zeros(0, self.features, *size)
        learning = torch.is_grad_enabled() and self.conv1.weight.requires_grad
        if frames.device.type != "cpu" or len(frames) == 1 or learning:
            return self._encode(frames)
        first = self._encode(frames[:1])
        maps = first.new_empty((len(frames), *first.shape[1:])).to(memory_format=torch.channels_last)
        maps[:1] = first
        for index in range(1, len(frames)):
            maps[index : index + 1] = self._encode(frames[index : index + 1])
        return maps

    def _encode(self, frames: Tensor) -> Tensor:
        size = self.map_size(*frames.shape[-2:])
        x = norm_relu(self.conv1(frames.contiguous(memory_format=torch.channels_last)))
        maps = []
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
            maps.append(x)
        features: Tensor = self.conv3(norm_relu(self.conv2.fuse(maps, size)))
        return features

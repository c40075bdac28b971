"""TAP-Net, the baseline of the TAP-Vid benchmark: global matching in every frame, no refinement.

C. Doersch et al., TAP-Vid: A Benchmark for Tracking Any Point in a Video, NeurIPS 2022 (arXiv:2211.03726), section 4.
The backbone is a ResNet-18 (version 2) at stride 8 whose first two units shift an eighth of the channels from and to
the neighbouring frames, so a frame's features depend on four frames to either side.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit.nn.global_matching import soft_argmax
from tapkit.nn.packed import Conv2d, Linear
from tapkit.nn.resnet import l2_normalize, pad_same

TEMPERATURE = 10.0
_MATCHED_AT_ONCE = 512

UNITS = ((64, 64, 1, True), (64, 128, 2, True), (128, 256, 1, False))
"""Channels in and out, stride, whether channels are shifted in time."""
SHIFTED = 8
"""One channel in so many comes from the next frame, one from the frame before."""


class NormRelu(nn.Module):
    """relu(batch norm(x)) with the stored statistics."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """x [B,C,h,w]."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=1e-5).relu()


def shift(a: Tensor) -> Tensor:
    """Temporal shift of a [T+2,C,h,w] -> [T,C,h,w]: the first and last frames are neighbours only.

    The first eighth of the channels becomes the *last* eighth of the next frame, the last eighth the *first* of the
    frame before: the groups change places, and the released weights count on it.
    """
    k = a.shape[1] // SHIFTED
    return torch.cat([a[2:, -k:], a[1:-1, k:-k], a[:-2, :k]], 1).contiguous(memory_format=torch.channels_last)


class Block(nn.Module):
    """Pre-activation block; the projection sees the frame itself, only the residual branch is shifted."""

    def __init__(self, inputs: int, outputs: int, stride: int, project: bool, shifted: bool) -> None:
        super().__init__()
        self.shortcut_conv = Conv2d(inputs, outputs, 1, stride, bias=False) if project else None
        self.bn_0 = NormRelu(inputs)
        self.conv_0 = Conv2d(inputs, outputs, 3, stride, bias=False)
        self.bn_1 = NormRelu(outputs)
        self.conv_2 = Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.stride, self.shifted = stride, shifted

    def forward(self, x: Tensor, before: bool, after: bool) -> Tensor:
        """x [T',C,h,w]: T frames, and where they exist the one before and the one after -> [T,C',h',w']."""
        a = self.bn_0(x)
        here = slice(int(before), len(x) - int(after))
        shortcut = x[here] if self.shortcut_conv is None else self.shortcut_conv(a[here])
        branch = a[here]
        if self.shifted:
            branch = shift(F.pad(a, (0, 0, 0, 0, 0, 0, int(not before), int(not after))))
        y = self.bn_1(self.conv_0(pad_same(branch, 3, self.stride)))
        out: Tensor = self.conv_2(y, residual=shortcut)
        return out

    def over_clip(self, x: Tensor, at_once: int) -> Tensor:
        """x [T,C,h,w], the whole clip, a few frames at a time."""
        frames, halo = len(x), int(self.shifted)
        outs = []
        for start in range(0, frames, at_once):
            stop = min(start + at_once, frames)
            first, last = max(start - halo, 0), min(stop + halo, frames)
            outs.append(self(x[first:last], before=first < start, after=last > stop))
        return torch.cat(outs)


class Backbone(nn.Module):
    """TSM-ResNet-18 v2 up to stride 8. Names are those of the released Haiku modules."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv2d(3, 64, 7, 2, bias=False)
        for number, (inputs, outputs, stride, shifted) in enumerate(UNITS):
            unit = nn.Module()
            unit.block_0 = Block(inputs, outputs, stride, True, shifted)
            unit.block_1 = Block(outputs, outputs, 1, False, shifted)
            self.add_module(f"unit_{number}", unit)

    def forward(self, frames: Tensor) -> Tensor:
        """The part that sees single frames: [B,3,H,W] in [-1,1] -> [B,64,H/4,W/4] (sides rounded up)."""
        x = self.stem(pad_same(frames, 7, 2).contiguous(memory_format=torch.channels_last))
        return F.max_pool2d(pad_same(x, 3, 2, float("-inf")), 3, 2)

    def over_clip(self, x: Tensor, at_once: int) -> Tensor:
        """The rest: [T,64,H/4,W/4] of a whole clip -> [T,256,H/8,W/8]."""
        for number in range(len(UNITS)):
            for block in self.get_submodule(f"unit_{number}").children():
                assert isinstance(block, Block)
                x = block.over_clip(x, at_once)
        return x


class TapNetNetwork(nn.Module):
    """The network; its tensors carry the names of our flat form of the released checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.tsm_resnet_video = Backbone()
        self.cost_volume_regression_1 = Conv2d(1, 16, 3, padding=1)
        self.cost_volume_regression_2 = Conv2d(16, 1, 3, padding=1)
        self.cost_volume_occlusion_1 = Conv2d(16, 32, 3, 2)
        self.cost_volume_occlusion_2 = Linear(32, 16)
        self.occlusion_out = Linear(16, 1)

    def features(self, stem: Tensor, at_once: int = 2) -> Tensor:
        """Unit features [T,h,w,256] of a clip from `tsm_resnet_video(frames)` [T,64,2h,2w]."""
        maps = self.tsm_resnet_video.over_clip(stem, at_once)
        return l2_normalize(maps.permute(0, 2, 3, 1), dim=-1)

    def heads(self, costs: Tensor) -> tuple[Tensor, Tensor]:
        """costs [M,h,w] -> positions [M,2] in cells (corner origin), occlusion logits [M]."""
        hidden = self.cost_volume_regression_1(costs.unsqueeze(1), activation="relu")
        heat = self.cost_volume_regression_2(hidden).squeeze(1)
        coarse = self.cost_volume_occlusion_1(pad_same(hidden, 3, 2)).mean((2, 3))
        logits = self.occlusion_out(self.cost_volume_occlusion_2(coarse, activation="relu"))
        return soft_argmax(heat * TEMPERATURE), logits[:, 0]

    def forward(self, maps: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Where query features [N,256] are on the maps [T,h,w,256]: positions [T,N,2] in cells, occlusion [T,N]."""
        cells, logits = [], []
        for part in torch.split(maps, max(_MATCHED_AT_ONCE // max(len(queries), 1), 1)):
            costs = torch.matmul(queries.float(), part.float().flatten(1, 2).transpose(1, 2))
            position, occlusion = self.heads(costs.view(-1, *part.shape[1:3]))
            cells.append(position)
            logits.append(occlusion)
        shape = (len(maps), len(queries))
        return torch.cat(cells).view(*shape, 2), torch.cat(logits).view(shape)

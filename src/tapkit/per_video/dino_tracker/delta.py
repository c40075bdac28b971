"""Delta-DINO: a small convolutional network whose output is added to the frozen features.

Tumanyan et al., "DINO-Tracker: Taming DINO for Self-Supervised Point Tracking in a Single Video", ECCV 2024
(arXiv:2403.14548); reductions that do not alias: Zhang, "Making Convolutional Networks Shift-Invariant Again"
(arXiv:1904.11486). Module names are those of the authors' checkpoints. At first the residual is zero.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit import coords
from tapkit.nn.sampling import sample
from tapkit.per_video.dino_tracker.grid import TokenGrid

WIDTHS = (64, 128, 256)
REDUCTION = 8
"""Pixels from one position of the last map to the next."""


class BlurPool(nn.Module):
    """Every second value of a map that is blurred by 1 3 3 1 along both axes: sides of n become ceil(n / 2)."""

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        line = torch.tensor([1.0, 3.0, 3.0, 1.0])
        self.register_buffer("filt", (line[:, None] * line / 64).expand(channels, 1, 4, 4).clone())

    def forward(self, x: Tensor) -> Tensor:
        """x [B,C,h,w]."""
        padded = F.pad(x, (1, 2, 1, 2), mode="reflect")
        return F.conv2d(padded, self.filt, stride=2, groups=x.shape[1])


def _convolution(inputs: int, outputs: int, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 5, padding=2 * dilation, dilation=dilation, padding_mode="reflect")


class DeltaDino(nn.Module):
    """Frames in [0,1] -> what is added to their features at each token."""

    def __init__(self, width: int = 1024) -> None:
        """width: channels of the features."""
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in zip((3, *WIDTHS[:-1]), WIDTHS, strict=True):
            layers += [_convolution(inputs, outputs), nn.BatchNorm2d(outputs), nn.ReLU(), BlurPool(outputs)]
        last, norm = _convolution(WIDTHS[-1], width, dilation=2), nn.BatchNorm2d(width)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        nn.init.constant_(norm.weight, 0.05)
        self.layers = nn.Sequential(*layers, last, norm)

    def forward(self, frames: Tensor, grid: TokenGrid) -> Tensor:
        """frames float [B,3,H,W] in [0,1], not normalised -> [B,C,h,w] at the tokens of `grid`."""
        maps = self.layers(frames)
        centres = coords.to_centers(grid.centres(frames.device)) / REDUCTION  # the map's pixel k lies on pixel 8 k
        values = sample(maps, centres.expand(len(maps), -1, -1))
        return values.transpose(1, 2).reshape(len(maps), -1, *grid.shape)

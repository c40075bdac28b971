"""Enlarging coarse maps by convex combinations that a network has chosen.

Z. Teed and J. Deng, RAFT, ECCV 2020 (arXiv:2003.12039), section 3.3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def convex_upsample(maps: Tensor, logits: Tensor, factor: int = 8) -> Tensor:
    """Enlargement of maps [P,C,h,w] -> [P,C,factor*h,factor*w]: every pixel is a convex combination of the 3x3 cells
    around its own, the softmax of logits [P,9*factor^2,h,w] (neighbour slowest, then row and column within the cell).

    Cells outside the map count as zeros. Fastest where logits are channels_last in memory.
    """
    count, channels, height, width = maps.shape
    weights = logits.permute(0, 2, 3, 1).reshape(-1, 9, factor**2).softmax(1)
    padded = F.pad(maps, (1, 1, 1, 1)).permute(0, 2, 3, 1)
    around = padded.unfold(1, 3, 1).unfold(2, 3, 1).reshape(-1, channels, 9)
    pixels = torch.bmm(around, weights).view(count, height, width, channels, factor, factor)
    return pixels.permute(0, 3, 1, 4, 2, 5).reshape(count, channels, factor * height, factor * width)

"""Enlarging coarse maps by convex combinations that a network has chosen.

Z. Teed and J. Deng, RAFT, ECCV 2020 (arXiv:2003.12039), section 3.3.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def convex_upsample(maps: Tensor, logits: Tensor, factor: int = 8) -> Tensor:
    """Enlargement of maps [P,C,h,w] -> [P,C,factor*h,factor*w]: every pixel is a convex combination of the 3x3 cells
    around its own, the softmax of logits [P,9*factor^2,h,w] (neighbour slowest, then row and column within the cell).

    Cells outside the map count as zeros. The arithmetic is that of the arguments' types.
    """
    count, channels, height, width = maps.shape
    weights = logits.reshape(count, 9, factor**2, height, width).softmax(1)
    around = F.pad(maps, (1, 1, 1, 1))
    total = maps.new_zeros(count, channels, factor**2, height, width)
    for neighbour in range(9):
        row, column = divmod(neighbour, 3)
        cells = around[:, :, None, row : row + height, column : column + width]
        total.addcmul_(cells, weights[:, None, neighbour])
    pixels = total.view(count, channels, factor, factor, height, width).permute(0, 1, 4, 2, 5, 3)
    return pixels.reshape(count, channels, factor * height, factor * width)

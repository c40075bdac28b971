"""Where the tokens of a frame lie.

A token is the feature of one patch of 14 x 14 pixels, and the patches begin every 7 pixels; so the token in row r and
column c is centred at (7 + 7 c, 7 + 7 r), corner origin, pixels of the frame as the model sees it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tapkit.coords import Size
from tapkit.nn.dinov2 import PATCH, token_grid
from tapkit.nn.sampling import sample

STRIDE = 7
LEAST = 4
"""Patches a side: the last convolution of Delta-DINO reflects its map's border, which takes a side of 56 pixels."""


@dataclass(frozen=True)
class TokenGrid:
    """The tokens of frames of `size` (height, width)."""

    size: Size
    stride: int = STRIDE

    @property
    def shape(self) -> Size:
        """Rows and columns."""
        return token_grid(self.size, self.stride)

    @property
    def count(self) -> int:
        """Tokens of a frame."""
        return self.shape[0] * self.shape[1]

    def centres(self, device: torch.device | str = "cpu") -> Tensor:
        """(x, y) of all tokens [h*w,2] float32, row by row."""
        rows, columns = (torch.arange(side, device=device) * float(self.stride) + PATCH / 2 for side in self.shape)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        return torch.stack([x, y], -1).flatten(0, 1)

    def cells(self, xy: Tensor) -> Tensor:
        """Positions in the map of tokens: token (r, c) is at (c, r)."""
        return (xy - PATCH / 2) / self.stride

    def read(self, maps: Tensor, xy: Tensor) -> Tensor:
        """Maps of tokens [B,C,h,w] at positions [B,...,2] -> [B,...,C]; beyond the outermost centres, their values."""
        return sample(maps, self.cells(xy))


def model_size(size: Size) -> Size:
    """The multiples of 14 nearest to the sides (height, width) of a video, which is resized to them.

    What the authors wrote into their program, 476 x 854, comes out for their videos:

    >>> model_size((480, 854)), model_size((108, 192))
    ((476, 854), (112, 196))
    """
    height, width = (max(round(side / PATCH), LEAST) * PATCH for side in size)
    return height, width

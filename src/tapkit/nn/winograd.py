"""3x3 convolutions with a quarter of the multiplications, for wide layers on a CPU.

S. Winograd's minimal filtering F(4x4, 3x3) (A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural Networks,
CVPR 2016, arXiv:1509.09308): tiles of 6x6 inputs are multiplied element by element with transformed kernels, summed
over channels, and give 4x4 outputs. The interpolation points 0, +-3/4, +-3/2 lose less than the usual 0, +-1, +-2;
the result is then as close to float64 as that of the direct convolution in oneDNN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.nn.packed import Activation, Conv2d, activate, can_pack, onednn

TILE = 4
"""Outputs of a tile, per axis."""
TILES = 256
"""About how many tiles go through all steps at a time: enough for the products to be fast."""
_A, _B = 0.75, 1.5
_POINTS = np.vander([0.0, _A, -_A, _B, -_B], 6, increasing=True)
_ALL = np.vstack([_POINTS, [0, 0, 0, 0, 0, 1]])
_KERNEL = np.vstack([_POINTS[:, :3], [0, 0, 1]])
_INPUT: list[list[float]] = np.linalg.inv(_ALL).T.round(15).tolist()


def transformed(weight: Tensor) -> Tensor:
    """Kernels [K,C,3,3] at the 6x6 points -> [36,K,C]."""
    points = torch.from_numpy(_KERNEL).to(weight.device)
    return torch.einsum("ia,ocab,jb->ijoc", points, weight.double(), points).to(weight.dtype).flatten(0, 1)


def _combined(parts: Sequence[Tensor], factors: Sequence[float]) -> Tensor:
    """The sum of factor x part; zeros are left out."""
    terms = [(part, factor) for part, factor in zip(parts, factors, strict=True) if factor]
    total = terms[0][0] * terms[0][1]
    for part, factor in terms[1:]:
        total.add_(part, alpha=factor)
    return total


def _outputs(at: list[Tensor]) -> list[Tensor]:
    """The four outputs of one axis from the products at its six points (which are overwritten)."""
    even, odd = at[1] + at[2], at[1] - at[2]
    even_b, odd_b = at[3] + at[4], at[3] - at[4]
    return [
        at[0].add_(even).add_(even_b),
        (odd * _A).add_(odd_b, alpha=_B),
        (even * _A**2).add_(even_b, alpha=_B**2),
        at[5].add_(odd, alpha=_A**3).add_(odd_b, alpha=_B**3),
    ]


class WinogradConv2d(Conv2d):
    """A `Conv2d` of kernel 3, stride 1, padding 1 that becomes a Winograd convolution when packed in float32.

    It keeps its plain weights, and four times as much in transformed ones.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)
        self.kernels: tuple[Tensor, ...] | None = None

    def pack(self) -> None:
        if self.weight.dtype != torch.float32:
            super().pack()
        elif self.kernels is None and can_pack(self.weight):
            with torch.no_grad():
                self.kernels = tuple(onednn("_reorder_linear_weight", k, None) for k in transformed(self.weight))

    def unpack(self) -> None:
        self.kernels = None
        super().unpack()

    def forward(self, x: Tensor, activation: Activation = "none", residual: Tensor | None = None) -> Tensor:
        """As `Conv2d.forward`; x [B,C,h,w], channels_last."""
        if self.kernels is None:
            return super().forward(x, activation, residual)
        y = activate(self._winograd(x.permute(0, 2, 3, 1)), activation).permute(0, 3, 1, 2)
        return y if residual is None else y.add_(residual)

    def _winograd(self, x: Tensor) -> Tensor:
        """x [B,h,w,C] -> [B,h,w,K], some rows of tiles at a time: what lies between the products stays in the cache."""
        assert self.bias is not None
        batch, height, width, _ = x.shape
        down, across = -(-height // TILE), -(-width // TILE)
        x = F.pad(x, (0, 0, 1, 1 + across * TILE - width, 1, 1 + down * TILE - height))
        out = x.new_empty(batch, down, TILE, across, TILE, len(self.bias))
        rows = max(TILES // across, 1)
        for one, target in zip(x, out, strict=True):
            for top in range(0, down, rows):
                self._rows(one[TILE * top :], target[top : top + rows])
        return out.view(batch, down * TILE, across * TILE, -1)[:, :height, :width]

    def _rows(self, x: Tensor, out: Tensor) -> None:
        """The top of a padded map [h,w,C] -> out [rows of tiles,4,tiles in a row,4,K]."""
        assert self.kernels is not None and self.bias is not None
        down, _, across = out.shape[:3]
        rows = [x[i : i + TILE * down - 3 : TILE] for i in range(6)]
        half: list[list[Tensor]] = []  # [row point][output column]
        for i, factors in enumerate(_INPUT):
            row = _combined(rows, factors)
            columns = [row[:, j : j + TILE * across - 3 : TILE] for j in range(6)]
            products = []
            for j, along in enumerate(_INPUT):
                tiles = _combined(columns, along).view(-1, x.shape[-1])
                products.append(onednn("_linear_pointwise", tiles, self.kernels[6 * i + j], None, "none", [], ""))
            half.append(_outputs(products))
        for column in range(TILE):
            for row_number, values in enumerate(_outputs([half[i][column] for i in range(6)])):
                torch.add(values.view(down, across, -1), self.bias, out=out[:, row_number, :, column])

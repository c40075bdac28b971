"""Convolutions of small maps by Winograd's minimal filtering, with all steps as a few large products of matrices.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016 (arXiv:1509.09308): tiles of inputs and
kernels are evaluated at a few points, multiplied there, and the outputs interpolated: F(4,3) along an axis of a
three-tap kernel takes 6 products instead of 12, F(4,5) of a five-tap one 8 instead of 20. On maps of a thousand cells
the transforms are worth little time as matrix products, but would be most of it as sums of tensors, which is how
`tapkit.nn.winograd` does them for larger maps.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.nn.packed import Activation, Conv2d, activate, can_pack

_POINTS = {1: [], 3: [0.0, 0.75, -0.75, 1.5, -1.5], 5: [0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -2.0]}
"""Where the polynomials of a kernel of that length are evaluated, besides infinity."""
_CHUNK = 3 << 19
"""Numbers of transformed input at a time: enough tiles for the products to be fast, and few enough for the cache."""


def _transforms(taps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of outputs [m,n], inputs [n,n] and kernels [n,taps] along one axis, n = m + taps - 1."""
    points = _POINTS[taps]
    count = len(points) + 1
    at = np.vander(points, count, increasing=True) if points else np.zeros((0, 1))
    infinity = np.zeros((1, count))
    infinity[0, -1] = 1
    whole = np.vstack([at, infinity])
    outputs = count - taps + 1

    def part(columns: int) -> np.ndarray:
        last = np.zeros((1, columns))
        last[0, -1] = 1
        return np.vstack([at[:, :columns], last])

    return part(outputs).T, np.linalg.inv(whole).T, part(taps)


class TiledConv2d(Conv2d):
    """A `Conv2d` of stride 1 whose kernel has 1, 3 or 5 taps along each axis, padded to keep the size.

    Packed in float32 it keeps its plain weight and the transformed kernels (up to four times as much).
    """

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int]) -> None:
        super().__init__(inputs, outputs, kernel, 1, (kernel[0] // 2, kernel[1] // 2))
        self._kernels: tuple[Tensor, Tensor, Tensor] | None = None  # of outputs, inputs; the kernels [n,C,K]
        self._steps = (0, 0)

    def pack(self) -> None:
        """See `Packable`."""
        if self.weight.dtype != torch.float32:
            super().pack()
            return
        if self._kernels is not None or not can_pack(self.weight):
            return
        (out_y, in_y, at_y), (out_x, in_x, at_x) = (_transforms(taps) for taps in self.weight.shape[2:])
        self._steps = (len(out_y), len(out_x))
        with torch.no_grad():
            ends = [torch.from_numpy(part) for part in (at_y, at_x)]
            kernels = torch.einsum("ia,ocab,jb->ijco", ends[0], self.weight.double(), ends[1]).flatten(0, 1)
        both = (np.kron(out_y, out_x), np.kron(in_y, in_x))
        outputs, inputs = (torch.from_numpy(part).float().contiguous() for part in both)
        self._kernels = (outputs, inputs, kernels.float().contiguous())

    def unpack(self) -> None:
        """See `Packable`."""
        self._kernels = None
        super().unpack()

    def forward(self, x: Tensor, activation: Activation = "none", residual: Tensor | None = None) -> Tensor:
        """As `Conv2d.forward`; x [B,C,h,w], channels_last."""
        if self._kernels is None:
            return super().forward(x, activation, residual)
        y = self._tiled(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        if activation == "relu":
            y.relu_()
        else:
            y = activate(y, activation)
        return y if residual is None else y.add_(residual)

    def _tiled(self, x: Tensor) -> Tensor:
        """x [B,h,w,C] -> [B,h,w,K]. Rows of tiles of all frames are one list, taken in blocks."""
        assert self._kernels is not None
        outputs, inputs, kernels = self._kernels
        count, height, width, channels = x.shape
        (step_y, step_x), (taps_y, taps_x) = self._steps, self.weight.shape[2:]
        down, across = -(-height // step_y), -(-width // step_x)
        right, below = across * step_x - width + taps_x // 2, down * step_y - height + taps_y // 2
        x = F.pad(x, (0, 0, taps_x // 2, right, taps_y // 2, below))
        tall, stride = x.shape[1:3]
        rows = x.view(-1, channels)
        out = x.new_empty(count * down, step_y, across, step_x, kernels.shape[-1])
        at_once = max(_CHUNK // (len(inputs) * channels * across), 1)
        ys, xs = torch.arange(step_y + taps_y - 1), torch.arange(step_x + taps_x - 1)
        left = torch.arange(across) * step_x
        begins = (torch.arange(count)[:, None] * tall + torch.arange(down) * step_y).flatten()
        for top in range(0, len(begins), at_once):
            begin = begins[top : top + at_once]
            index = ((ys[:, None, None, None] + begin[:, None]) * stride + xs[:, None, None] + left).reshape(-1)
            tiles = rows.index_select(0, index).view(len(inputs), -1)
            products = torch.bmm(torch.mm(inputs, tiles).view(len(inputs), -1, channels), kernels)
            values = torch.mm(outputs, products.view(len(inputs), -1)).view(step_y, step_x, len(begin), across, -1)
            values = values.permute(2, 0, 3, 1, 4)
            if self.bias is None:
                out[top : top + at_once] = values
            else:
                torch.add(values, self.bias, out=out[top : top + at_once])
        return out.view(count, down * step_y, across * step_x, -1)[:, :height, :width]

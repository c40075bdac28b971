"""The ConvNeXt block and the encoder of AllTracker: a ConvNeXt-Tiny trunk cut off at stride 8.

Z. Liu et al., A ConvNet for the 2020s, CVPR 2022 (arXiv:2201.03545), section 2; Harley et al., AllTracker, ICCV 2025,
section 3.1: the third stage keeps the resolution of the second, with a dilated 3x3 convolution in place of its strided
2x2 one. Everything between the layers is [B,h,w,C] in float32, whatever precision the products have. Module names are
those of the published checkpoint.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit.nn.packed import Activation, Conv2d, Linear
from tapkit.nn.token_norm import normalize

EPSILON = 1e-6
"""Of all layer norms."""
STRIDE = 8
"""Pixels to a cell of the maps."""


def convolve(conv: Conv2d, x: Tensor, activation: Activation = "none") -> Tensor:
    """activation(conv(x)) of float32 x [B,h,w,C] -> [B,h',w',C'], in the precision of the convolution's weights."""
    y: Tensor = conv(x.permute(0, 3, 1, 2).to(conv.weight.dtype), activation=activation)
    return y.permute(0, 2, 3, 1)


def added(layer: Linear, x: Tensor, residual: Tensor) -> Tensor:
    """residual + layer(x), float32."""
    y: Tensor = layer(x, residual=residual) if x.dtype == torch.float32 else residual + layer(x)
    return y


class ConvNextBlock(nn.Module):
    """x + layer_scale * (depthwise 7x7, layer norm, C -> 4C, GELU, 4C -> C)(x), x [B,h,w,C]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # Counted as the authors' Sequential is, where 1, 4 and 6 hold no tensors.
        self.block = nn.ModuleDict(
            {
                "0": Conv2d(channels, channels, 7, padding=3, groups=channels),
                "2": nn.LayerNorm(channels, EPSILON),
                "3": Linear(channels, 4 * channels),
                "5": Linear(4 * channels, channels),
            }
        )
        self.layer_scale = nn.Parameter(torch.full((channels, 1, 1), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        depthwise, norm, widen, narrow = self.block.values()
        assert isinstance(depthwise, Conv2d)
        y = norm(convolve(depthwise, x).float())
        y = narrow(widen(y.to(widen.weight.dtype), activation="gelu"))
        return torch.addcmul(x, y.float(), self.layer_scale[:, 0, 0])


class Trunk(nn.Module):
    """Frames [B,H,W,3] -> [B,H/8,W/8,384]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.ModuleList(
            [
                nn.ModuleList([Conv2d(3, 96, 4, 4), nn.LayerNorm(96, EPSILON)]),
                nn.Sequential(*(ConvNextBlock(96) for _ in range(3))),
                nn.ModuleList([nn.LayerNorm(96, EPSILON), Conv2d(96, 192, 2, 2)]),
                nn.Sequential(*(ConvNextBlock(192) for _ in range(3))),
                nn.ModuleList([nn.LayerNorm(192, EPSILON), Conv2d(192, 384, 3, 1, 2, dilation=2)]),
                nn.Sequential(*(ConvNextBlock(384) for _ in range(9))),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        stem, first, to_second, second, to_third, third = self.features
        x = first(_one(stem, 1)(convolve(_conv(stem, 0), x).float()))
        x = second(convolve(_conv(to_second, 1), _one(to_second, 0)(x)).float())
        out: Tensor = third(convolve(_conv(to_third, 1), _one(to_third, 0)(x)).float())
        return out


def _one(layers: nn.Module, index: int) -> nn.Module:
    assert isinstance(layers, nn.ModuleList)
    return layers[index]


def _conv(layers: nn.Module, index: int) -> Conv2d:
    layer = _one(layers, index)
    assert isinstance(layer, Conv2d)
    return layer


class Attention(nn.Module):
    """Multi-head attention of tokens [B,L,C], with biases."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = Linear(channels, channels)
        self.to_kv = Linear(channels, 2 * channels)
        self.to_out = Linear(channels, channels)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """x [S,n,C] in the weights' precision: every one of n cells over S frames -> `residual` + [S,n,C]."""
        q = self._split(self.to_q(x))
        k, v = self.to_kv(x).chunk(2, -1)
        out = F.scaled_dot_product_attention(q, self._split(k), self._split(v))
        return added(self.to_out, out.permute(2, 0, 1, 3).flatten(2), residual)

    def _split(self, x: Tensor) -> Tensor:
        """[S,n,heads*c] -> [n,heads,S,c]."""
        return x.view(*x.shape[:2], self.heads, -1).permute(1, 2, 0, 3)


class Transformer(nn.Module):
    """A pre-norm transformer layer over time; the norms have no parameters."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.attn = Attention(channels, heads)
        self.mlp = nn.ModuleDict({"fc1": Linear(channels, 4 * channels), "fc2": Linear(4 * channels, channels)})

    def forward(self, x: Tensor) -> Tensor:
        """x [S,n,C] float32 -> the same."""
        widen, narrow = self.mlp.values()
        assert isinstance(widen, Linear) and isinstance(narrow, Linear)
        dtype = widen.weight.dtype
        z = self.attn(normalize(x, EPSILON).to(dtype), x)
        y = widen(normalize(z, EPSILON).to(dtype), activation="gelu_tanh")
        return added(narrow, y, z)


class TimeBlock(nn.Module):
    """x + layer_scale * transformer(x): the transformer's result contains x already, once more is added around it."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.block = Transformer(channels, heads)
        self.layer_scale = nn.Parameter(torch.full((channels, 1), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(x, self.block(x), self.layer_scale[:, 0])

"""The network of GMRW: features of two frames that know of one another, and their transition matrix.

A. Shrivastava, A. Owens: Self-Supervised Any-Point Tracking by Contrastive Random Walks, ECCV 2024 (arXiv:2409.16288).
The encoder and the transformer have the form of GMFlow's (H. Xu et al., CVPR 2022): a small convolutional network up
to stride 4, and six layers of self- and cross-attention within windows of a quarter of the map.
Maps are [B,h,w,C], channels last. Submodules carry the names of the published checkpoint.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit.errors import ShapeError
from tapkit.nn.encoder import instance_norm, norm_relu
from tapkit.nn.packed import Conv2d, Linear

CHANNELS = 128
STRIDE = 4
"""Pixels to a cell of the map."""
MULTIPLE = 8
"""The sides of what the network is given are multiples of that: the map is split into 2 x 2 windows."""
LAYERS = 6
_WIDTHS = (64, 64, 96, 128)
_HIDDEN = 1024
_TOKENS = 4096
"""Tokens whose hidden activations are held at once, without gradients."""

Spans = list[tuple[int, int]]


class Block(nn.Module):
    """Two normalised 3x3 convolutions and a skip: [B,C,h,w] -> [B,C',h/stride,w/stride]."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.conv2 = Conv2d(channels, channels, 3, 1, 1, bias=False)
        projected = stride > 1 or channels_in != channels
        # A Sequential of one, because the checkpoint calls it "downsample.0". The norm takes its bias away again.
        self.downsample = nn.Sequential(Conv2d(channels_in, channels, 1, stride)) if projected else None

    def forward(self, x: Tensor) -> Tensor:
        y = norm_relu(self.conv2(norm_relu(self.conv1(x))))
        skip = x if self.downsample is None else instance_norm(self.downsample(x))
        return F.relu(skip + y)


class Backbone(nn.Module):
    """Images [B,3,H,W], normalised -> [B,128,H/4,W/4]. Each image on its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = Conv2d(3, _WIDTHS[0], 7, 2, 3, bias=False)
        for number, stride in enumerate((1, 2, 1), 1):
            before, after = _WIDTHS[number - 1], _WIDTHS[number]
            self.add_module(f"layer{number}", nn.Sequential(Block(before, after, stride), Block(after, after, 1)))
        self.conv2 = Conv2d(_WIDTHS[-1], CHANNELS, 1)
        # The original applies these filters at two strides and uses the finer map alone.
        self.trident_conv = Conv2d(CHANNELS, CHANNELS, 3, 1, 1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        x = norm_relu(self.conv1(images.contiguous(memory_format=torch.channels_last)))
        for number in (1, 2, 3):
            x = self.get_submodule(f"layer{number}")(x)
        y: Tensor = self.trident_conv(self.conv2(x))
        return y


class AttentionUnit(nn.Module):
    """Attention of a map to another within windows, added to it after a norm (and, with `mlp`, a feed-forward net)."""

    def __init__(self, feed_forward: bool) -> None:
        super().__init__()
        self.q_proj = Linear(CHANNELS, CHANNELS, bias=False)
        self.k_proj = Linear(CHANNELS, CHANNELS, bias=False)
        self.v_proj = Linear(CHANNELS, CHANNELS, bias=False)
        self.merge = Linear(CHANNELS, CHANNELS, bias=False)
        self.norm1 = nn.LayerNorm(CHANNELS)
        self.mlp: nn.Sequential | None = None
        if feed_forward:
            hidden = Linear(2 * CHANNELS, _HIDDEN, bias=False)
            self.mlp = nn.Sequential(hidden, nn.GELU(), Linear(_HIDDEN, CHANNELS, bias=False))
            self.norm2 = nn.LayerNorm(CHANNELS)

    def forward(self, source: Tensor, target: Tensor, shifted: bool) -> Tensor:
        """source, target float32 [B,h,w,128] -> [B,h,w,128]: the source with what it found in the target."""
        dtype = self.q_proj.weight.dtype
        asking, offered = source.to(dtype), target.to(dtype)
        found = window_attention(self.q_proj(asking), self.k_proj(offered), self.v_proj(offered), shifted)
        message: Tensor = self.norm1(self.merge(found).float())
        if self.mlp is not None:
            message = self._feed_forward(source, message, dtype)
        return source + message

    def _feed_forward(self, source: Tensor, message: Tensor, dtype: torch.dtype) -> Tensor:
        assert self.mlp is not None
        tokens = torch.cat([source, message], -1).flatten(0, 2).to(dtype)
        parts = [tokens] if torch.is_grad_enabled() else torch.split(tokens, _TOKENS)
        out = torch.cat([self.mlp[2](self.mlp[0](part, "gelu")) for part in parts])
        result: Tensor = self.norm2(out.float()).view(source.shape)
        return result


class Layer(nn.Module):
    """Attention of a map to itself, then to the other frame's."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = AttentionUnit(feed_forward=False)
        self.cross_attn_ffn = AttentionUnit(feed_forward=True)

    def forward(self, source: Tensor, target: Tensor, shifted: bool) -> Tensor:
        """As `AttentionUnit.forward`."""
        source = self.self_attn(source, source, shifted)
        result: Tensor = self.cross_attn_ffn(source, target, shifted)
        return result


class Transformer(nn.Module):
    """Six layers (or so many); every second one with its windows shifted by half a window."""

    def __init__(self, layers: int = LAYERS) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer() for _ in range(layers))

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Features [P,h,w,128] of P pairs -> both, each knowing of the other."""
        both, other = torch.cat([first, second]), torch.cat([second, first])
        for number, layer in enumerate(self.layers):
            both = layer(both, other, number % 2 == 1)
            other = torch.cat(both.chunk(2)[::-1])
        new_first, new_second = both.chunk(2)
        return new_first, new_second


class GmrwNetwork(nn.Module):
    """Encoder and transformer; the transition matrix is made from their features by the functions of `matching`."""

    def __init__(self, layers: int = LAYERS) -> None:
        """The published network has six `layers`."""
        super().__init__()
        self.backbone = Backbone()
        self.transformer = Transformer(layers)

    def encode(self, images: Tensor) -> Tensor:
        """Normalised images [B,3,H,W], sides multiples of 8 -> float32 [B,H/4,W/4,128] with position codes."""
        height, width = images.shape[-2:]
        if height % MULTIPLE or width % MULTIPLE:
            raise ShapeError(f"the sides of the images must be multiples of {MULTIPLE}, got {height}x{width}")
        maps: Tensor = self.backbone(images).permute(0, 2, 3, 1).float()
        return maps + _codes(maps.shape[1], maps.shape[2], maps.device)

    def relate(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Features [P,h,w,128] of the first and second frames of P pairs -> those whose products are compared."""
        related: tuple[Tensor, Tensor] = self.transformer(first, second)
        return related


@lru_cache(maxsize=8)
def _codes(height: int, width: int, device: torch.device) -> Tensor:
    """`position_code` on a device, sent there once."""
    with torch.inference_mode(False):  # so that they serve training, too
        return position_code(height, width).to(device)


def position_code(height: int, width: int) -> Tensor:
    """Sine codes float32 [h,w,128] that repeat in each of the 2 x 2 windows: 64 channels of y, then 64 of x."""
    rate = 10000.0 ** (2 * torch.div(torch.arange(64), 2, rounding_mode="floor") / 64)

    def axis(length: int) -> Tensor:
        steps = torch.arange(1, length + 1, dtype=torch.float32)  # counted from 1
        angle = (steps / (length + 1e-6) * 2 * math.pi)[:, None] / rate
        return torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], -1).flatten(1)

    rows, columns = axis(height // 2), axis(width // 2)
    window = torch.cat([rows[:, None].expand(-1, len(columns), -1), columns[None].expand(len(rows), -1, -1)], -1)
    return window.repeat(2, 2, 1)


def spans(length: int, shifted: bool) -> Spans:
    """The runs of rows (or columns) that attend to one another.

    Shifted windows wrap around the map; what they then hold of its two opposite ends is kept apart. The original does
    so by a score of -100, which is e^-100 of the attention: here those cells are not compared at all.

    >>> spans(8, False), spans(8, True), spans(2, True)
    ([(0, 4), (4, 8)], [(0, 2), (2, 6), (6, 8)], [(0, 1), (1, 2)])
    """
    window = length // 2
    ends = [0, window // 2, window // 2 + window, length] if shifted else [0, window, length]
    return [(begin, end) for begin, end in pairwise(ends) if end > begin]


def window_attention(q: Tensor, k: Tensor, v: Tensor, shifted: bool) -> Tensor:
    """Attention with one head among the cells of each window; q, k, v [B,h,w,C] -> [B,h,w,C]."""
    rows = []
    for top, bottom in spans(q.shape[1], shifted):
        blocks = []
        for left, right in spans(q.shape[2], shifted):
            asking, offered, values = (x[:, top:bottom, left:right].flatten(1, 2).unsqueeze(1) for x in (q, k, v))
            found = F.scaled_dot_product_attention(asking, offered, values)
            blocks.append(found.view(-1, bottom - top, right - left, q.shape[-1]))
        rows.append(torch.cat(blocks, 2))
    return torch.cat(rows, 1)

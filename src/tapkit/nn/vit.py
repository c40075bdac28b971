"""Vision transformer with rotary positions, register tokens and a gated MLP, as DINOv3 has it.

Simeoni et al., "DINOv3" (arXiv:2508.10104); rotary positions: Su et al., "RoFormer" (arXiv:2104.09864), here along both
axes of the patch grid. Module names are those of the published Hugging Face checkpoints (`DINOv3ViTModel`). The
transformer is taken apart by what is built on it (an adapter that works between its layers): `embed`, `rotary`, and
the blocks in `layer`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit.coords import Size
from tapkit.nn.mixed import MixedLinear, in_weights_type
from tapkit.nn.packed import Conv2d


@dataclass(frozen=True)
class VitConfig:
    """Sizes; the defaults are ViT-S+/16."""

    width: int = 384
    depth: int = 12
    heads: int = 6
    hidden: int = 1536
    patch: int = 16
    registers: int = 4
    rope_base: float = 100.0
    """Wavelengths of the rotary positions go from one grid (centre coordinates span -1..1) to this many."""


Rotary = tuple[Tensor, Tensor]
"""Cosines and sines [P,head width] of the patches' angles."""


def rotary_table(grid: Size, channels: int, base: float, device: torch.device | None = None) -> Rotary:
    """Cosines and sines [h*w,channels] of a grid of h x w patches, row by row, in float32.

    Coordinates are those of the patches' centres, from -1 to 1 across the grid. Channel k of the first quarter turns by
    2 pi y base^(-4k/channels), the second quarter so by x; the other half of the channels repeats them.
    """
    quarter = channels // 4
    frequency = base ** (-torch.arange(quarter, dtype=torch.float32, device=device) * (4 / channels))
    axes = [2 * (torch.arange(side, dtype=torch.float32, device=device) + 0.5) / side - 1 for side in grid]
    y, x = torch.meshgrid(*axes, indexing="ij")
    turns = torch.stack([y, x], -1).flatten(0, 1)[..., None] * frequency  # [P,2,quarter]
    angle = (2 * math.pi * turns).flatten(1).repeat(1, 2)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, rotary: Rotary) -> Tensor:
    """x [...,S,c] with its last P tokens turned by their angles; the S - P before them (class, registers) stay."""
    cos, sin = rotary
    fixed = x.shape[-2] - len(cos)
    patches = x[..., fixed:, :].float()
    first, second = patches.chunk(2, -1)
    turned = patches * cos + torch.cat([-second, first], -1) * sin
    return torch.cat([x[..., :fixed, :], turned.to(x.dtype)], -2)


class RotaryAttention(nn.Module):
    """Self-attention of all tokens; keys have no bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.v_proj, self.o_proj = (MixedLinear(width, width) for _ in range(3))
        self.k_proj = MixedLinear(width, width, bias=False)

    def forward(self, x: Tensor, rotary: Rotary) -> Tensor:
        """x [B,S,C] -> [B,S,C]."""
        x = x.to(self.q_proj.weight.dtype)  # once for all three
        q, k, v = (
            projection(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = F.scaled_dot_product_attention(rotate(q, rotary), rotate(k, rotary), v)
        out: Tensor = self.o_proj(mixed.transpose(1, 2).flatten(2))
        return out


class GatedMlp(nn.Module):
    """down(silu(gate(x)) * up(x)) (Shazeer, arXiv:2002.05202)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = MixedLinear(width, hidden), MixedLinear(width, hidden)
        self.down_proj = MixedLinear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.gate_proj.weight.dtype)
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class LayerScale(nn.Module):
    """A learned factor for each channel of what a layer adds."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lambda1 = nn.Parameter(torch.ones(width))

    def forward(self, residual: Tensor, x: Tensor) -> Tensor:
        """residual + lambda * x."""
        return torch.addcmul(residual, x.to(residual.dtype), self.lambda1)


class VitBlock(nn.Module):
    """Attention and gated MLP, each on normalised tokens and added with a layer scale."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        self.attention = RotaryAttention(config.width, config.heads)
        self.mlp = GatedMlp(config.width, config.hidden)
        self.layer_scale1, self.layer_scale2 = LayerScale(config.width), LayerScale(config.width)

    def forward(self, x: Tensor, rotary: Rotary) -> Tensor:
        """x float32 [B,S,C] -> the same."""
        x = self.layer_scale1(x, self.attention(self.norm1(x), rotary))
        out: Tensor = self.layer_scale2(x, self.mlp(self.norm2(x)))
        return out


class VitEmbeddings(nn.Module):
    """What the tokens begin as."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        width = config.width
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_tokens = nn.Parameter(torch.randn(1, config.registers, width) * 0.02)
        self.patch_embeddings = Conv2d(3, width, config.patch, config.patch)

    def forward(self, images: Tensor) -> Tensor:
        """images [B,3,H,W] -> [B,1+R+P,C]: class token, registers, patches row by row."""
        patches = in_weights_type(self.patch_embeddings, images).flatten(2).transpose(1, 2)
        first = torch.cat([self.cls_token, self.register_tokens], 1).expand(len(images), -1, -1)
        return torch.cat([first, patches], 1)


class Vit(nn.Module):
    """The transformer. `norm` and `mask_token` belong to published checkpoints; not every use needs them."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = VitEmbeddings(config)
        self.layer = nn.ModuleList([VitBlock(config) for _ in range(config.depth)])
        self.norm = nn.LayerNorm(config.width)

    @property
    def leading(self) -> int:
        """Tokens before the patches."""
        return 1 + self.config.registers

    def embed(self, images: Tensor) -> Tensor:
        """See `VitEmbeddings.forward`; sides of the images are multiples of the patch's."""
        out: Tensor = self.embeddings(images)
        return out

    def rotary(self, grid: Size) -> Rotary:
        """The angles of a grid of patches, for the blocks."""
        config = self.config
        device = self.embeddings.cls_token.device
        return rotary_table(grid, config.width // config.heads, config.rope_base, device)

    def forward(self, images: Tensor) -> Tensor:
        """images [B,3,H,W], normalised -> [B,1+R+P,C], normalised tokens of the last layer."""
        size, patch = images.shape[-2:], self.config.patch
        x, rotary = self.embed(images), self.rotary((size[0] // patch, size[1] // patch))
        for block in self.layer:
            x = block(x, rotary)
        out: Tensor = self.norm(x)
        return out

"""The vision transformer of DINO and DINOv2: learned positions, resampled to the grid of the image at hand.

Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision" (arXiv:2304.07193); layer scale: Touvron et
al., "Going deeper with image transformers" (arXiv:2103.17239). The first DINO (Caron et al., arXiv:2104.14294) is the
same with other patches and no layer scale. Module names are those of the published files (dinov2_vits14_pretrain.pth
and its larger siblings, without register tokens; dino_deitsmall16_pretrain.pth). The patches may overlap: with a stride
of 7 there are about four times as many tokens (Amir et al., "Deep ViT features as dense visual descriptors",
arXiv:2112.05814), as DINO-Tracker reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit.coords import Size

PATCH = 14
"""Pixels along each side of DINOv2's patches."""


@dataclass(frozen=True)
class DinoV2Config:
    """Sizes; the defaults are DINOv2's ViT-S/14."""

    width: int = 384
    depth: int = 12
    heads: int = 6
    feed_forward: Literal["mlp", "gated"] = "mlp"
    """"gated" for the giant model: SwiGLU of about two thirds of the width that an MLP would have."""
    patch: int = PATCH
    table: int = 37
    """Cells along each side of the learned table of positions: of pictures of 518 x 518."""
    layer_scale: bool = True
    """Whether what a layer adds is scaled, and whether there is a token for masked patches: not in the first DINO."""

    @property
    def hidden(self) -> int:
        """Width within the feed-forward layers."""
        return 4 * self.width if self.feed_forward == "mlp" else -(-8 * self.width // 3) // 8 * 8


SMALL = DinoV2Config()
BASE = DinoV2Config(768, 12, 12)
LARGE = DinoV2Config(1024, 24, 16)
GIANT = DinoV2Config(1536, 40, 24, "gated")
DINO_SMALL = DinoV2Config(patch=16, table=14, layer_scale=False)
"""The first DINO's ViT-S/16."""


def token_grid(size: Size, stride: int = PATCH, patch: int = PATCH) -> Size:
    """Rows and columns of tokens of an image of `size`.

    >>> token_grid((476, 854), 7), token_grid((476, 854))
    ((67, 121), (34, 61))
    """
    rows, columns = (1 + (side - patch) // stride for side in size)
    return rows, columns


class Attention(nn.Module):
    """Self-attention of all tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x [B,S,C] -> [B,S,C]."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out


class Mlp(nn.Module):
    """fc2(gelu(fc1(x)))."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """x [...,C] -> [...,C]."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class GatedMlp(nn.Module):
    """w3(silu(a) * b), (a, b) = w12(x) (Shazeer, arXiv:2002.05202)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w12, self.w3 = nn.Linear(width, 2 * hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """x [...,C] -> [...,C]."""
        gate, value = self.w12(x).chunk(2, -1)
        out: Tensor = self.w3(F.silu(gate) * value)
        return out


class LayerScale(nn.Module):
    """A learned factor for each channel of what a layer adds."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), 1e-5))

    def forward(self, residual: Tensor, x: Tensor) -> Tensor:
        """residual + gamma * x."""
        return torch.addcmul(residual, x.to(residual.dtype), self.gamma)


class Block(nn.Module):
    """Attention and feed-forward layer, each on normalised tokens and added with a layer scale."""

    def __init__(self, config: DinoV2Config) -> None:
        super().__init__()
        width = config.width
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.attn = Attention(width, config.heads)
        feed_forward = Mlp if config.feed_forward == "mlp" else GatedMlp
        self.mlp = feed_forward(width, config.hidden)
        self.scaled = config.layer_scale
        if self.scaled:
            self.ls1, self.ls2 = LayerScale(width), LayerScale(width)

    def forward(self, x: Tensor) -> Tensor:
        """x [B,S,C] -> the same."""
        added = self.attn(self.norm1(x))
        x = self.ls1(x, added) if self.scaled else x + added
        added = self.mlp(self.norm2(x))
        out: Tensor = self.ls2(x, added) if self.scaled else x + added
        return out


class PatchEmbedding(nn.Module):
    """Patches as tokens."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, images: Tensor, stride: int) -> Tensor:
        """images [B,3,H,W] -> [B,C,h,w]."""
        return F.conv2d(images, self.proj.weight, self.proj.bias, stride)


class DinoV2(nn.Module):
    """The transformer. `mask_token` belongs to published checkpoints and is not used."""

    def __init__(self, config: DinoV2Config = SMALL) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + config.table**2, width) * 0.02)
        if config.layer_scale:
            self.mask_token = nn.Parameter(torch.zeros(1, width))
        self.patch_embed = PatchEmbedding(width, config.patch)
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.depth)])
        self.norm = nn.LayerNorm(width, 1e-6)

    def positions(self, grid: Size) -> Tensor:
        """Positions [1+h*w,C] of the class token and of a grid of h x w tokens, row by row.

        The table is read bicubically at places that the factor (side + 0.1) / table defines, not the number of tokens:
        that is how the published features were made, and other ways give other numbers.
        """
        first, table = self.pos_embed[0, :1], self.pos_embed[0, 1:]
        side = self.config.table
        if grid == (side, side):
            return self.pos_embed[0]
        factors = [(cells + 0.1) / side for cells in grid]
        square = table.T.reshape(1, -1, side, side)
        resampled = F.interpolate(square, scale_factor=factors, mode="bicubic", align_corners=False)
        return torch.cat([first, resampled[0].flatten(1).T])

    def embed(self, images: Tensor, stride: int) -> Tensor:
        """images [B,3,H,W] -> [B,1+h*w,C]: class token, patches row by row, with their positions."""
        patches = self.patch_embed(images, stride)
        grid = (patches.shape[-2], patches.shape[-1])
        tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), patches.flatten(2).transpose(1, 2)], 1)
        return tokens + self.positions(grid)

    def forward(self, images: Tensor, stride: int = PATCH, block: int | None = None) -> Tensor:
        """The patches' tokens of one layer, [B,C,h,w]: see `layers`."""
        return self.layers(images, stride, (block,))[0]

    def layers(self, images: Tensor, stride: int, blocks: Sequence[int | None]) -> list[Tensor]:
        """Tokens of the patches, [B,C,h,w] for each of `blocks`.

        Args:
            images: [B,3,H,W], normalised, at least one patch large.
            stride: pixels from patch to patch.
            blocks: from 0: the tokens as this block leaves them, not normalised; None: normalised, as the last does.
        """
        grid = token_grid((images.shape[-2], images.shape[-1]), stride, self.config.patch)
        last = max(self.config.depth - 1 if block is None else block for block in blocks)
        x, left = self.embed(images, stride), {}
        for number, layer in enumerate(self.blocks[: last + 1]):
            x = layer(x)
            if number in blocks:
                left[number] = x
        tokens = [self.norm(x) if block is None else left[block] for block in blocks]
        return [found[:, 1:].transpose(1, 2).unflatten(2, grid) for found in tokens]

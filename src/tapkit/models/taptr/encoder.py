"""From a frame to the tokens that points are looked for in: backbone, projection, deformable transformer encoder."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tapkit.coords import Size
from tapkit.models.taptr.backbone import Depth, ResNet, channels
from tapkit.models.taptr.parts import CODES, HEADS, HIDDEN, LEVELS, POINTS, TEMPERATURE, WIDTH, run
from tapkit.nn.deformable_attention import CHUNK, Corners, DeformableAttention, Pyramid, corners, gather_sum
from tapkit.nn.packed import Conv2d, Linear


def pyramid_of(size: Size) -> Pyramid:
    """The four levels of a frame of `size`, strides 4 to 32.

    >>> pyramid_of((100, 132)).sizes
    ((25, 33), (13, 17), (7, 9), (4, 5))
    """
    height, width = ((side + 3) // 4 for side in size)
    sizes = []
    for _ in range(LEVELS):
        sizes.append((height, width))
        height, width = -(-height // 2), -(-width // 2)
    return Pyramid(tuple(sizes))


def sine_table(pyramid: Pyramid) -> Tensor:
    """Codes of where the tokens lie in their level [S,256]: y, then x; both count from 1 and end at 2 pi."""
    k = torch.arange(0, CODES, 2, dtype=torch.float32)
    frequency = TEMPERATURE ** (k / CODES)
    tables = []
    for height, width in pyramid.sizes:
        axes = []
        for count in (height, width):
            angle = torch.arange(1, count + 1)[:, None] / (count + 1e-6) * (2 * math.pi) / frequency
            axes.append(torch.stack([angle.sin(), angle.cos()], -1).flatten(1))
        down, right = axes
        code = [down[:, None].expand(-1, width, -1), right[None].expand(height, -1, -1)]
        tables.append(torch.cat(code, -1).flatten(0, 1))
    return torch.cat(tables)


def token_places(pyramid: Pyramid) -> Tensor:
    """Where each token lies in each level, pixels of that level [S,L,2]: its place in the frame is the same."""
    extents = torch.tensor([(w, h) for h, w in pyramid.sizes], dtype=torch.float32)
    places = []
    for height, width in pyramid.sizes:
        y, x = torch.meshgrid((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij")
        places.append(torch.stack([x, y], -1).flatten(0, 1))
    return torch.cat(places)[:, None] * extents - 0.5


class EncoderLayer(nn.Module):
    """Deformable attention of all tokens to all levels, then a feed-forward block."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = DeformableAttention(WIDTH, HEADS, LEVELS, POINTS)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.linear1, self.linear2 = Linear(WIDTH, HIDDEN), Linear(HIDDEN, WIDTH)

    def forward(self, x: Tensor, position: Tensor, pyramid: Pyramid, places: Tensor) -> Tensor:
        """x, position [S,C], places [S,L,2] -> [S,C]; a part of the tokens at a time."""
        attention = self.self_attn
        values = attention.values(x)
        done = []
        for some, code, base in zip(*(torch.split(part, CHUNK) for part in (x, position, places)), strict=True):
            read = attention.attend(some + code, values, pyramid, base)
            y = self.norm1(some + run(attention.output_proj, read))
            done.append(self.norm2(y + run(self.linear2, run(self.linear1, y, "relu"))))
        return torch.cat(done)


class Encoder(nn.Module):
    """The layers (names as in the checkpoints)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([EncoderLayer() for _ in range(2)])


class Transformer(nn.Module):
    """Encoder, decoder, and what lies between them (names as in the checkpoints)."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.level_embed = nn.Parameter(torch.randn(LEVELS, WIDTH))
        self.encoder = Encoder()
        self.query_feature_initializer = Linear(LEVELS * WIDTH, WIDTH)
        self.decoder = decoder


class Features(nn.Module):
    """What all versions do with a frame. A subclass brings the decoder and its heads.

    `backbone`, `input_proj`, `transformer`: the names of the checkpoints, with batch norms folded.
    """

    def __init__(self, depth: Depth, decoder: nn.Module) -> None:
        super().__init__()
        self.depth = depth
        self.backbone = ResNet(depth)
        self.input_proj = nn.ModuleList(
            [nn.ModuleList([Conv2d(inputs, WIDTH, 1), nn.GroupNorm(32, WIDTH)]) for inputs in channels(depth)]
        )
        self.transformer = Transformer(decoder)
        self._tables: tuple[Pyramid, Tensor, Tensor] | None = None
        """Codes and places of the tokens, for the size of frame that came last."""

    def encode(self, frames: Tensor) -> Tensor:
        """Tokens [B,S,256] of normalised frames [B,3,H,W], one frame after the other."""
        pyramid = pyramid_of((int(frames.shape[-2]), int(frames.shape[-1])))
        return torch.stack([self._tokens(frame, pyramid) for frame in torch.split(frames, 1)])

    def levels(self, frame: Tensor) -> list[Tensor]:
        """The four maps of a frame [1,3,H,W], projected to 256 channels: float32 [1,256,h,w]."""
        kind = self.backbone.conv1.weight.dtype
        maps = []
        image = frame.to(kind).contiguous(memory_format=torch.channels_last)
        for level, parts in zip(self.backbone(image), self.input_proj, strict=True):
            assert isinstance(parts, nn.ModuleList)
            maps.append(parts[1](parts[0](level).float()))
        return maps

    def _tokens(self, frame: Tensor, pyramid: Pyramid) -> Tensor:
        x = torch.cat([level[0].permute(1, 2, 0).flatten(0, 1) for level in self.levels(frame)])
        codes, places = self._token_tables(pyramid, x.device)
        embed = zip(self.transformer.level_embed, pyramid.sizes, strict=True)
        position = codes + torch.cat([row.expand(h * w, -1) for row, (h, w) in embed])
        for layer in self.transformer.encoder.layers:
            x = layer(x, position, pyramid, places)
        return x

    def _token_tables(self, pyramid: Pyramid, device: torch.device) -> tuple[Tensor, Tensor]:
        if self._tables is None or self._tables[0] != pyramid or self._tables[1].device != device:
            with torch.inference_mode(False):  # so that they serve training, too
                self._tables = (pyramid, sine_table(pyramid).to(device), token_places(pyramid).to(device))
        return self._tables[1], self._tables[2]

    def read(self, tokens: Tensor, pyramid: Pyramid, index: Tensor, places: Tensor) -> Tensor:
        """Features of places on all levels together, [...,1024] -> [...,256].

        Args:
            tokens: [F,S,C], contiguous.
            pyramid: the levels.
            index: int64 [N], the frame of each point.
            places: [N,K,L,2], pixels of the levels; beyond the border the border is repeated.
        """
        out: Tensor = run(self.transformer.query_feature_initializer, self.sampled(tokens, pyramid, index, places))
        return out.float()

    def sampled(self, tokens: Tensor, pyramid: Pyramid, index: Tensor, places: Tensor) -> Tensor:
        """What `read` reads, level after level: [N,K,4 C]."""
        found = border_corners(places, pyramid)
        rows = found.token + (index.int() * pyramid.tokens).view(-1, 1, 1, 1)
        return gather_sum(tokens.flatten(0, 1), rows, found.weight).flatten(-2)


def border_corners(places: Tensor, pyramid: Pyramid) -> Corners:
    """Corners of places [...,L,2] that are moved into their level first."""
    inside = torch.minimum(places.clamp(min=0), pyramid.extents(places) - 1)
    return corners(inside, pyramid, level_axis=-2)

"""Track-On2's image backbone: a frozen DINOv3 ViT-S+/16 with a trained adapter, for one frame at a time.

Chen et al., "Vision Transformer Adapter for Dense Predictions", ICLR 2023 (arXiv:2205.08534): a small convolutional
network reads the image at strides 4 to 32; four times, what it has read is injected into the transformer's patches
before three of its blocks, and their result is extracted back. The transformer sees the image a seventh larger than the
convolutions do. Track-On2: arXiv:2509.19115, section 3. Tokens are rows [S,C], maps row by row, strides 8, 16, 32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit.coords import Size
from tapkit.models.trackon.deformable import DeformableAttention, as_maps, as_tokens, cells, centres
from tapkit.nn.mixed import MixedLinear, in_weights_type
from tapkit.nn.packed import Conv2d
from tapkit.nn.vit import Rotary, Vit, VitConfig
from tapkit.nn.winograd import WinogradConv2d

STRIDES = (4, 8, 16, 32)
_NARROW = 4
"""How much narrower the adapter's feed-forward layers are than its tokens."""


def vit_size(size: Size, patch: int = 16) -> Size:
    """The size at which the transformer sees an image of `size`.

    >>> vit_size((384, 512))
    (432, 576)
    """
    height, width = (int(side * 1.143) // patch * patch for side in size)
    return height, width


def map_sizes(size: Size) -> list[Size]:
    """Sizes of the maps at all strides, of an image whose sides are multiples of 32."""
    return [(size[0] // stride, size[1] // stride) for stride in STRIDES]


def normalise(tokens: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """Batch norm of a map's tokens [S,C] by its stored statistics."""
    return F.batch_norm(tokens, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)


def _convolution(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def _run(layers: nn.Sequential, x: Tensor) -> Tensor:
    """Convolutions in the type of their weights, the rest in float32."""
    for layer in layers:
        x = in_weights_type(layer, x) if isinstance(layer, nn.Conv2d) else layer(x)
    return x


class SpatialPrior(nn.Module):
    """The convolutional network beside the transformer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first = [*_convolution(3, 64, 2), *_convolution(64, 64, 1), *_convolution(64, 64, 1)]
        self.stem = nn.Sequential(*first, nn.MaxPool2d(3, 2, 1))
        self.conv2 = nn.Sequential(*_convolution(64, 128, 2))
        self.conv3 = nn.Sequential(*_convolution(128, 256, 2))
        self.conv4 = nn.Sequential(*_convolution(256, 256, 2))
        self.fc1, self.fc2, self.fc3, self.fc4 = (Conv2d(inputs, width, 1) for inputs in (64, 128, 256, 256))

    def forward(self, image: Tensor) -> list[Tensor]:
        """image [1,3,H,W] -> tokens [h*w,C] at strides 4, 8, 16, 32."""
        x = image.contiguous(memory_format=torch.channels_last)
        tokens = []
        for layers, out in (
            (self.stem, self.fc1),
            (self.conv2, self.fc2),
            (self.conv3, self.fc3),
            (self.conv4, self.fc4),
        ):
            x = _run(layers, x)
            tokens.append(as_tokens(in_weights_type(out, x)))
        return tokens


class DepthwiseConv(nn.Module):
    """3x3, each channel by itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, tokens: Tensor, sizes: list[Size]) -> Tensor:
        """Tokens [S,C] of several maps, each convolved by itself."""
        return torch.cat([as_tokens(in_weights_type(self.dwconv, maps)) for maps in as_maps(tokens, sizes)])


class ConvFeedForward(nn.Module):
    """Feed-forward layer of the adapter's tokens, which also looks at their neighbours."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = MixedLinear(width, width // _NARROW), MixedLinear(width // _NARROW, width)
        self.dwconv = DepthwiseConv(width // _NARROW)

    def forward(self, x: Tensor, sizes: list[Size]) -> Tensor:
        """x [S,C] -> [S,C]."""
        out: Tensor = self.fc2(F.gelu(self.dwconv(self.fc1(x), sizes)))
        return out


class _Exchange(nn.Module):
    """What injector and extractor share: normalised queries read from normalised tokens."""

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        self.query_norm, self.feat_norm = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.attn = DeformableAttention(width, levels)

    def read(self, query: Tensor, sizes: list[Size], tokens: Tensor, token_sizes: list[Size]) -> Tensor:
        """`query` tokens on maps of `sizes` read around their own places from `tokens` on maps of `token_sizes`."""
        values = self.attn.values(self.feat_norm(tokens), token_sizes)
        out: Tensor = self.attn(self.query_norm(query), centres(sizes, query.device), values)
        return out


class Injector(_Exchange):
    """Patches take what the convolutions see."""

    def __init__(self, width: int) -> None:
        super().__init__(width, 3)
        self.gamma = nn.Parameter(torch.zeros(width))

    def forward(self, patches: Tensor, grid: Size, spatial: Tensor, sizes: list[Size]) -> Tensor:
        """patches [P,C], spatial tokens [S,C] -> patches."""
        return torch.addcmul(patches, self.gamma, self.read(patches, [grid], spatial, sizes))


class Extractor(_Exchange):
    """The convolutions' tokens take what the patches have become."""

    def __init__(self, width: int) -> None:
        super().__init__(width, 1)
        self.ffn, self.ffn_norm = ConvFeedForward(width), nn.LayerNorm(width, 1e-6)

    def forward(self, spatial: Tensor, sizes: list[Size], patches: Tensor, grid: Size) -> Tensor:
        """spatial tokens [S,C], patches [P,C] -> spatial tokens."""
        spatial = spatial + self.read(spatial, sizes, patches, [grid])
        out: Tensor = spatial + self.ffn(self.ffn_norm(spatial), sizes)
        return out


class Interaction(nn.Module):
    """Inject, some blocks of the transformer, extract."""

    def __init__(self, width: int, extra: int) -> None:
        super().__init__()
        self.injector, self.extractor = Injector(width), Extractor(width)
        if extra:
            self.extra_extractors = nn.ModuleList([Extractor(width) for _ in range(extra)])
        self.extra = extra

    def forward(
        self, x: Tensor, spatial: Tensor, blocks: nn.ModuleList, rotary: Rotary, grid: Size, sizes: list[Size]
    ) -> tuple[Tensor, Tensor]:
        """All tokens of the transformer [T,C] (the patches last) and of the convolutions [S,C] -> the same."""
        leading = len(x) - grid[0] * grid[1]
        patches = self.injector(x[leading:], grid, spatial, sizes)
        x = torch.cat([x[:leading], patches])[None]
        for block in blocks:
            x = block(x, rotary)
        x = x[0]
        spatial = self.extractor(spatial, sizes, x[leading:], grid)
        for extractor in self.extra_extractors if self.extra else ():
            spatial = extractor(spatial, sizes, x[leading:], grid)
        return x, spatial


class VitAdapter(nn.Module):
    """The transformer and its adapter; names as in the published checkpoint."""

    def __init__(self, config: VitConfig, interactions: int) -> None:
        super().__init__()
        width = config.width
        self.dinov3 = Vit(config)
        self.level_embed = nn.Parameter(torch.randn(3, width) * 0.02)
        self.spm = SpatialPrior(width)
        last = interactions - 1
        self.interactions = nn.ModuleList([Interaction(width, 2 if i == last else 0) for i in range(interactions)])
        self.up = nn.ConvTranspose2d(width, width, 2, 2)
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.BatchNorm2d(width) for _ in range(4))

    def forward(self, image: Tensor) -> Tensor:
        """image [1,3,H,W], normalised, sides multiples of 32 -> tokens [S,C] at strides 4, 8, 16, 32."""
        size = (image.shape[-2], image.shape[-1])
        patch = self.dinov3.config.patch
        seen = vit_size(size, patch)
        grid = (seen[0] // patch, seen[1] // patch)
        sizes = map_sizes(size)[1:]
        finest, *coarser = self.spm(image)
        spatial = torch.cat([tokens + level for tokens, level in zip(coarser, self.level_embed, strict=True)])
        x = self.dinov3.embed(F.interpolate(image, seen, mode="bilinear", align_corners=False))[0]
        rotary = self.dinov3.rotary(grid)
        each = len(self.dinov3.layer) // len(self.interactions)
        for number, interaction in enumerate(self.interactions):
            blocks = self.dinov3.layer[number * each : (number + 1) * each]
            x, spatial = interaction(x, spatial, blocks, rotary, grid, sizes)
        coarser = list(torch.split(spatial, cells(sizes)))
        finest = finest + self._enlarged(coarser[0], sizes[0])
        norms = (self.norm1, self.norm2, self.norm3, self.norm4)
        return torch.cat([normalise(tokens, norm) for tokens, norm in zip([finest, *coarser], norms, strict=True)])

    def _enlarged(self, tokens: Tensor, size: Size) -> Tensor:
        """The transposed convolution of 2x2 and stride 2 on tokens [h*w,C] -> [4*h*w,C]: one product of matrices."""
        weight = self.up.weight  # [C,C',2,2]
        height, width = size
        product = tokens.to(weight.dtype) @ weight.permute(0, 2, 3, 1).flatten(1)
        parts = product.view(height, width, 2, 2, -1).transpose(1, 2).reshape(4 * height * width, -1)
        assert self.up.bias is not None
        return parts.float() + self.up.bias


class Pyramid(nn.Module):
    """Maps of all strides fused at the finest one (Lin et al., "Feature Pyramid Networks", CVPR 2017)."""

    def __init__(self, width: int) -> None:
        super().__init__()

        def lateral() -> nn.Sequential:
            return nn.Sequential(Conv2d(width, width, 1), nn.GroupNorm(32, width), nn.ReLU())

        self.lateral32, self.lateral16, self.lateral8 = lateral(), lateral(), lateral()
        last = WinogradConv2d(width, width)
        self.output = nn.Sequential(WinogradConv2d(width, width), nn.GroupNorm(32, width), nn.ReLU(), last)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """maps [1,C,h,w] at strides 4, 8, 16, 32 -> [1,C,h,w] at stride 4."""
        finest, *coarser = maps
        fused: Tensor | None = None
        for lateral, level in zip((self.lateral32, self.lateral16, self.lateral8), reversed(coarser), strict=True):
            own = _run(lateral, level)
            fused = own if fused is None else own + _doubled(fused)
        assert fused is not None
        return _run(self.output, finest + _doubled(fused))


def _doubled(maps: Tensor) -> Tensor:
    return F.interpolate(maps, scale_factor=2.0, mode="nearest")


class Backbone(nn.Module):
    """A frame's tokens at four strides, projected, with learned position codes."""

    def __init__(self, config: VitConfig, interactions: int, width: int, grid: Size) -> None:
        super().__init__()
        self.vit_encoder = VitAdapter(config, interactions)
        self.projections = nn.ModuleList([nn.Sequential(MixedLinear(config.width, width)) for _ in STRIDES])
        self.pos_embedding = nn.Parameter(torch.randn(1, width, *grid) * 0.02)

    def positions(self, size: Size) -> Tensor:
        """Position codes [S,C] of the maps of an image of `size` (those stored are of stride 4 of the trained size)."""
        finest, *coarser = map_sizes(size)
        stored: Tensor = self.pos_embedding
        if stored.shape[-2:] != finest:
            stored = F.interpolate(stored, finest, mode="bilinear", align_corners=False)
        maps = [stored, *(F.interpolate(stored, s, mode="bilinear", align_corners=False) for s in coarser)]
        return torch.cat([as_tokens(level) for level in maps])

    def forward(self, image: Tensor, positions: Tensor) -> Tensor:
        """image [1,3,H,W], normalised -> float32 tokens [S,width]."""
        sizes = map_sizes((image.shape[-2], image.shape[-1]))
        parts = torch.split(self.vit_encoder(image), cells(sizes))
        projected = [project(part) for project, part in zip(self.projections, parts, strict=True)]
        return torch.cat(projected).float() + positions

"""TAPIR and BootsTAPIR: a first guess in every frame by global matching, then refinement of the whole track.

C. Doersch et al., TAPIR: Tracking Any Point with per-frame Initialization and temporal Refinement, ICCV 2023
(arXiv:2306.08637); C. Doersch et al., BootsTAP, ACCV 2024 (arXiv:2402.00847). Points are independent of each other.
Coordinates in here are raster (corner origin), in pixels of the initial resolution R_0 unless said otherwise; tokens
of the mixer are laid out [T,N,C]. The network's tensors carry the names of the released PyTorch checkpoints.
`causal` runs the same network frame by frame, `tracker` makes trackers of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit.constants import constant_like
from tapkit.nn.exporting import exporting
from tapkit.nn.global_matching import Size, resize_bilinear, sample_trilinear, soft_argmax
from tapkit.nn.packed import Conv2d, Linear, Packable, can_pack, onednn
from tapkit.nn.resnet import ResNet, l2_normalize
from tapkit.nn.winograd import WinogradConv2d

HIRES, LOWRES = 128, 256
"""Channels of the maps at stride 4 and stride 8."""
HIDDEN = 512
"""Width of the mixer."""
EXPAND = 4
"""By how much its inner layers are wider."""
RADIUS = 3
"""Local correlations reach so many cells from the position."""
TAPS = (2 * RADIUS + 1) ** 2
SMALL_MAP = 2048
"""On maps of at most so many cells the products with all of them cost less than fetching the 64 around a point."""
GATHERED_AT_ONCE = 64
MATCHED_AT_ONCE = 64
"""Cost maps, or neighbourhoods, that exist at the same time: they stay in a CPU's cache."""


@dataclass(frozen=True)
class TapirConfig:
    """What differs between the released models."""

    pyramid_level: int = 0
    """Correlation maps beyond strides 4 and 8, each a 2x2 mean of the one before."""
    extra_convs: bool = False
    """Five residual convolution blocks on the stride-8 map (BootsTAPIR)."""
    causal: bool = False
    """Whether the mixer's temporal convolutions see the past only."""
    softmax_temperature: float = 20.0
    """Factor on the heat map before the soft argmax."""
    initial_resolution: Size = (256, 256)
    """R_0, (height, width): where global matching takes place."""
    iterations: int = 4
    """Refinement steps at each resolution."""
    blocks: int = 12
    """Mixer blocks."""

    @property
    def token_channels(self) -> int:
        """Width of a mixer input: two unused, two logits, the features, the correlations."""
        return 4 + HIRES + LOWRES + (2 + self.pyramid_level) * TAPS


class Maps(NamedTuple):
    """Unit feature maps of some frames at one resolution."""

    hires: Tensor
    """[B,H/4,W/4,128]"""
    lowres: Tensor
    """[B,H/8,W/8,256]"""


class QueryFeatures(NamedTuple):
    """What is known of N points: the features at their queries, for each resolution. May be used on any video."""

    hires: tuple[Tensor, ...]
    """Each [N,128]."""
    lowres: tuple[Tensor, ...]
    """Each [N,256]."""


class Estimate(NamedTuple):
    """Where N points are on T frames."""

    xy: Tensor
    """float32 [T,N,2], pixels of R_0."""
    occlusion: Tensor
    """float32 [T,N], logit."""
    expected_dist: Tensor
    """float32 [T,N], logit of "further than 6 px off"."""


class ExtraBlock(nn.Module):
    """n + conv(gelu(conv(n))) with n = LayerNorm(x): the skip starts at the normalised input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(channels)
        self.conv = WinogradConv2d(channels, EXPAND * channels)
        self.conv_1 = WinogradConv2d(EXPAND * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """x [B,C,h,w], channels_last."""
        normed = self.layer_norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        out: Tensor = self.conv_1(self.conv(normed, activation="gelu_tanh"), residual=normed)
        return out


class ExtraConvs(nn.Module):
    """BootsTAPIR's five blocks between the backbone and the stride-8 map."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([ExtraBlock(LOWRES) for _ in range(5)])

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class TemporalConv(Packable):
    """Depth-wise convolution over time, kernel 3, of 4 x `channels` channels.

    Channel 4c+m belongs to *part* m of channel c (the released order). A part maps [T,N,C] to [T,N,C], so that
    neither the expansion to 4C channels nor the sum back to C ever moves data.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.weight = nn.Parameter(torch.randn(EXPAND * channels, 1, 3) / 3**0.5)
        self.bias = nn.Parameter(torch.zeros(EXPAND * channels))
        self.packed: tuple[Tensor, ...] | None = None

    def kernels(self) -> Tensor:
        """[3,4,C]: taps from past to future, parts, channels."""
        return self.weight.view(self.channels, EXPAND, 3).permute(2, 1, 0)

    def biases(self) -> Tensor:
        """[4,C]"""
        return self.bias.view(self.channels, EXPAND).T

    def _kernel(self, part: int) -> Tensor:
        return self.weight[part::EXPAND].unsqueeze(-1)

    def pack(self) -> None:
        """Keep copies of the (small) weights in the layout of oneDNN's kernels."""
        if self.packed is None and can_pack(self.weight):
            shape = ([1, 0], [1, 1], [1, 1], self.channels)
            with torch.no_grad():
                kernels = [self._kernel(part).contiguous() for part in range(EXPAND)]
                self.packed = tuple(onednn("_reorder_convolution_weight", k, *shape, None) for k in kernels)

    def unpack(self) -> None:
        """Forget these copies."""
        self.packed = None

    def part(self, x: Tensor, part: int, bias: Tensor | None, past: int, gelu: bool, onto: Tensor | None) -> Tensor:
        """One part of the convolution of x [T,N,C], added to `onto` (which it may overwrite) if given.

        past: zeros put before the first frame: 1 sees one frame of the past and one of the future, 2 two of the past.
        """
        frames = x.shape[0]
        image = x.permute(2, 0, 1).unsqueeze(0)  # [1,C,T,N], channels_last
        shape = ([past, 0], [1, 1], [1, 1], self.channels)
        if self.packed is None:
            y = F.conv2d(image, self._kernel(part), bias, (1, 1), (past, 0), (1, 1), self.channels)
            y = y[0].permute(1, 2, 0)[:frames]
            y = F.gelu(y, approximate="tanh") if gelu else y
            return y if onto is None else onto + y
        kernel = self.packed[part]
        if onto is not None and past == 1:
            target = onto.permute(2, 0, 1).unsqueeze(0)
            onednn("_convolution_pointwise_.binary", target, image, kernel, bias, *shape, "add", 1.0, None, [], None)
            return onto
        y = onednn("_convolution_pointwise", image, kernel, bias, *shape, "gelu" if gelu else "none", [], "tanh")
        y = y[0].permute(1, 2, 0)[:frames]
        return y if onto is None else onto + y


class ChannelMixer(nn.Module):
    """The two linear layers of a mixer block."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp2_up = Linear(HIDDEN, EXPAND * HIDDEN)
        self.mlp2_down = Linear(EXPAND * HIDDEN, HIDDEN)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """residual + MLP(x), [...,512]."""
        out: Tensor = self.mlp2_down(self.mlp2_up(x, activation="gelu_tanh"), residual=residual)
        return out


class MixerBlock(nn.Module):
    """Two depth-wise temporal convolutions, then an MLP over channels, each with a norm before and a skip around."""

    def __init__(self) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(HIDDEN, bias=False)
        self.layer_norm_1 = nn.LayerNorm(HIDDEN, bias=False)
        self.mlp1_up = TemporalConv(HIDDEN)
        self.mlp1_up_1 = TemporalConv(HIDDEN)
        self.conv_channels_mixer = ChannelMixer()

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        """x [T,N,512] over a whole clip."""
        past = 2 if causal else 1
        u = self.layer_norm(x)
        biases = self.mlp1_up.biases().contiguous()
        bias = self.mlp1_up_1.biases().sum(0)
        mixed: Tensor | None = None
        for part in range(EXPAND):
            wide = self.mlp1_up.part(u, part, biases[part], past, True, None)
            mixed = self.mlp1_up_1.part(wide, part, bias if part == 0 else None, past, False, mixed)
        assert mixed is not None
        x = x + mixed
        return self._mix_channels(x)

    def _mix_channels(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv_channels_mixer(self.layer_norm_1(x), residual=x)
        return out

    def step(self, x: Tensor, past: MixerPast) -> tuple[Tensor, MixerPast]:
        """x [N,512] of one more frame, given the two before it; also what the next frame needs."""
        u = self.layer_norm(x)
        wide = F.gelu(_tap(self.mlp1_up, past.narrow_older, past.narrow, u), approximate="tanh")
        mixed = _tap(self.mlp1_up_1, past.wide_older, past.wide, wide).sum(1)
        return self._mix_channels(x + mixed), MixerPast(past.narrow, u, past.wide, wide)


class MixerPast(NamedTuple):
    """The last two inputs of the two temporal convolutions of a block. Zeros: nothing came before."""

    narrow_older: Tensor
    """[N,512]"""
    narrow: Tensor
    wide_older: Tensor
    """[N,4,512]: parts, channels."""
    wide: Tensor


def _tap(conv: TemporalConv, older: Tensor, old: Tensor, new: Tensor) -> Tensor:
    """A temporal convolution at the newest of three frames: [N,512] or [N,4,512] each -> [N,4,512]."""
    if new.ndim == 2:
        older, old, new = older[:, None], old[:, None], new[:, None]
    kernels = conv.kernels()
    return torch.addcmul(conv.biases(), new, kernels[2]).addcmul(old, kernels[1]).addcmul(older, kernels[0])


class Mixer(nn.Module):
    """The PIPs-style MLP mixer with convolutions over time, one sequence for each point."""

    def __init__(self, config: TapirConfig) -> None:
        super().__init__()
        self.causal = config.causal
        self.linear = Linear(config.token_channels, HIDDEN)
        self.blocks = nn.ModuleList([MixerBlock() for _ in range(config.blocks)])
        self.layer_norm = nn.LayerNorm(HIDDEN, bias=False)
        self.linear_1 = Linear(HIDDEN, 4 + HIRES + LOWRES)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens [T,N,token_channels] -> [T,N,388]: updates of x, y, both logits, the features."""
        x = self.linear(tokens)
        for block in self.blocks:
            x = block(x, self.causal)
        out: Tensor = self.linear_1(self.layer_norm(x))
        return out

    def step(self, tokens: Tensor, past: Sequence[MixerPast]) -> tuple[Tensor, tuple[MixerPast, ...]]:
        """As `forward`, for one more frame: tokens [N,token_channels] -> [N,388], and the past of the next frame."""
        x = self.linear(tokens)
        after = []
        for block, before in zip(self.blocks, past, strict=True):
            assert isinstance(block, MixerBlock)
            x, now = block.step(x, before)
            after.append(now)
        out: Tensor = self.linear_1(self.layer_norm(x))
        return out, tuple(after)


class MatchingHeads(nn.Module):
    """The small heads on the cost volume of global matching (TAPIR, section 3.1)."""

    def __init__(self) -> None:
        super().__init__()
        self.hid1 = Conv2d(1, 16, 3, padding=1)
        self.hid2 = Conv2d(16, 1, 3, padding=1)
        self.hid3 = Conv2d(16, 32, 3, stride=2)
        self.hid4 = Linear(32, 16)
        self.occ_out = Linear(16, 2)

    def forward(self, costs: Tensor) -> tuple[Tensor, Tensor]:
        """costs [M,h,w] -> heat maps [M,h,w], logits [M,2] (occlusion, expected distance)."""
        hidden = self.hid1(costs.unsqueeze(1), activation="relu")
        heat = self.hid2(hidden).squeeze(1)
        # The released PyTorch model pads twice on the right and below (on even sides that is "SAME" padding).
        coarse = self.hid3(F.pad(hidden, (0, 2, 0, 2)), activation="relu").mean((2, 3))
        return heat, self.occ_out(self.hid4(coarse, activation="relu"))


def local_costs(maps: Tensor, features: Tensor, centres: Tensor) -> Tensor:
    """Products of features [T,N,C] with maps [T,h,w,C] at 7x7 unit steps around centres [T,N,2] -> [T,N,49].

    Centres are in cells, corner origin; steps in y are the slow ones; outside the maps is zero. All 49 samples share
    one fractional offset, so the products are taken with 8x8 whole cells and blended bilinearly afterwards.
    """
    frames, height, width, channels = maps.shape
    index = centres - 0.5
    corner = index.floor()
    fraction = (index - corner).unsqueeze(-1).unsqueeze(-1)
    # Beyond the padding everything is zero: clamping keeps indices small, and NaN from overflowing them.
    reach = torch.arange(-RADIUS, RADIUS + 2, device=maps.device)
    x = corner[..., 0].clamp(-9, width + 9).long()[..., None] + reach
    y = corner[..., 1].clamp(-9, height + 9).long()[..., None] + reach
    inside = ((x >= 0) & (x < width))[..., None, :] & ((y >= 0) & (y < height))[..., :, None]
    cells = y.clamp(0, height - 1)[..., :, None] * width + x.clamp(0, width - 1)[..., None, :]  # [T,N,8,8]
    if not exporting() and height * width <= SMALL_MAP:
        costs = torch.matmul(features, maps.view(frames, -1, channels).transpose(1, 2))
        products = costs.gather(2, cells.flatten(2))
    else:
        products = _gathered_products(maps, features, cells.flatten(2))
    products = products.float().view(inside.shape) * inside
    rows = torch.lerp(products[..., :-1, :], products[..., 1:, :], fraction[..., 1, :, :])
    return torch.lerp(rows[..., :-1], rows[..., 1:], fraction[..., 0, :, :]).flatten(2)


def _gathered_products(maps: Tensor, features: Tensor, cells: Tensor) -> Tensor:
    """Products of features [T,N,C] with K cells each (int64 [T,N,K]: which of their map) of maps [T,h,w,C]: [T,N,K]."""
    frames, height, width, channels = maps.shape
    first = torch.arange(frames, device=maps.device)[:, None, None] * (height * width)
    index, flat = (cells + first).flatten(0, 1), maps.reshape(-1, channels)
    vectors = features.reshape(-1, channels, 1)

    def products(some: Tensor, vector: Tensor) -> Tensor:
        return torch.bmm(flat.index_select(0, some.flatten()).view(-1, some.shape[1], channels), vector)

    if maps.device.type != "cpu" or exporting():
        return products(index, vectors).view(cells.shape)
    blocks = zip(torch.split(index, GATHERED_AT_ONCE), torch.split(vectors, GATHERED_AT_ONCE), strict=True)
    return torch.cat([products(*block) for block in blocks]).view(cells.shape)


def scaled(xy: Tensor, x: float, y: float) -> Tensor:
    """xy [...,2] with both coordinates multiplied by their own factor (also for sizes unknown while exporting)."""
    return torch.stack([xy[..., 0] * x, xy[..., 1] * y], -1)


def _frames_at_once(lowres: Tensor, points: int) -> int:
    """How many frames are matched together."""
    if exporting():
        return lowres.shape[0]
    at_once = MATCHED_AT_ONCE if lowres.device.type == "cpu" else 64 * MATCHED_AT_ONCE
    return max(at_once // max(points, 1), 1)


class Tapir(nn.Module):
    """The network. Pure functions of tensors; features may be half precision, coordinates and logits are float32."""

    def __init__(self, config: TapirConfig) -> None:
        super().__init__()
        self.config = config
        self.resnet_torch = ResNet()
        self.torch_cost_volume_track_mods = MatchingHeads()
        self.torch_pips_mixer = Mixer(config)
        self.extra_convs = ExtraConvs() if config.extra_convs else None

    @property
    def dtype(self) -> torch.dtype:
        """Of features."""
        return self.torch_pips_mixer.linear_1.bias.dtype

    # -- features ---------------------------------------------------------------------------------

    def encode(self, frames: Tensor, resolution: Size) -> Maps:
        """Maps of frames [B,3,H,W] in [-1,1], resized to `resolution` first. Each frame on its own."""
        _, hires, _, lowres = self.resnet_torch(resize_bilinear(frames, resolution).to(self.dtype))
        if self.extra_convs is not None:
            lowres = self.extra_convs(lowres)
        hires, lowres = (l2_normalize(x.permute(0, 2, 3, 1), dim=-1) for x in (hires, lowres))
        return Maps(hires, lowres)

    def query_features(self, levels: Sequence[Maps], queries: Tensor) -> QueryFeatures:
        """Features of N points seen on the frames of `levels`.

        levels: maps of the same T frames, one for each resolution; queries [N,3] (t, x, y), x and y in [0,1] over the
        frame. They are sampled trilinearly, so a fractional t blends two frames.
        """

        def sample(maps: Tensor) -> Tensor:
            size = constant_like([1.0, maps.shape[2], maps.shape[1]], queries)
            return sample_trilinear(maps, queries * size)

        hires, lowres = (tuple(sample(maps[k]) for maps in levels) for k in (0, 1))
        return QueryFeatures(hires, lowres)

    # -- tracking ---------------------------------------------------------------------------------

    def match(self, lowres: Tensor, features: Tensor, initial: Size | None = None) -> Estimate:
        """Global matching in each frame: lowres maps [T,h,w,256] of R_0, query features [N,256].

        `initial` is R_0 (default: the configured one).
        """
        frames, height, width = lowres.shape[:3]
        count = features.shape[0]
        initial_height, initial_width = initial or self.config.initial_resolution
        cells, logits = [], []
        for maps in torch.split(lowres, _frames_at_once(lowres, count)):
            costs = torch.matmul(features.float(), maps.float().flatten(1, 2).transpose(1, 2))
            heat, raw = self.torch_cost_volume_track_mods(costs.view(-1, height, width))
            cells.append(soft_argmax(heat * self.config.softmax_temperature))
            logits.append(raw)
        xy = scaled(torch.cat(cells), initial_width / width, initial_height / height)
        occlusion, expected_dist = torch.cat(logits).view(frames, count, 2).unbind(-1)
        return Estimate(xy.view(frames, count, 2), occlusion, expected_dist)

    def pyramid(self, maps: Maps) -> list[Tensor]:
        """The maps that refinement looks at: strides 4 and 8, and 2x2 means of the latter."""
        levels = [maps.hires, maps.lowres]
        for _ in range(self.config.pyramid_level):
            pooled = F.avg_pool2d(levels[-1].permute(0, 3, 1, 2), 2, 2)
            levels.append(pooled.permute(0, 2, 3, 1).contiguous())
        return levels

    def tokens(self, pyramid: Sequence[Tensor], estimate: Estimate, features: Tensor, initial: Size) -> Tensor:
        """Inputs of the mixer [T,N,token_channels] for features [T,N,384]."""
        height, width = initial
        parts = [estimate.xy.new_zeros(*features.shape[:2], 2), estimate.occlusion[..., None]]
        parts += [estimate.expected_dist[..., None], features.float()]
        for number, maps in enumerate(pyramid):
            centres = scaled(estimate.xy, maps.shape[2] / width, maps.shape[1] / height)
            own = features[..., :HIRES] if number == 0 else features[..., HIRES:]
            parts.append(local_costs(maps, own.to(maps.dtype), centres))
        return torch.cat(parts, -1)

    def refine(
        self,
        start: Estimate,
        pyramids: Sequence[Sequence[Tensor]],
        resolutions: Sequence[Size],
        queries: QueryFeatures,
        mix: Callable[[int, Tensor], Tensor] | None = None,
        initial: Size | None = None,
    ) -> Iterator[Estimate]:
        """The estimates after each refinement step, `iterations` at each resolution in turn.

        Args:
            start: the result of `match`.
            pyramids: maps of the T frames, one `pyramid` for each of `resolutions`.
            queries: features of the N points at these resolutions.
            mix: step number and tokens [T,N,...] -> updates [T,N,388]; by default the mixer over the whole clip.
            initial: R_0 (default: the configured one).
        """
        if mix is None:

            def mix(step: int, tokens: Tensor) -> Tensor:
                out: Tensor = self.torch_pips_mixer(tokens)
                return out

        initial = initial or self.config.initial_resolution
        frames = start.xy.shape[0]
        estimate = start
        for number, (pyramid, size) in enumerate(zip(pyramids, resolutions, strict=True)):
            features = torch.cat([queries.hires[number], queries.lowres[number]], -1).float()
            features = features.expand(frames, -1, -1)
            # Logits start anew at every resolution, positions do not.
            estimate = Estimate(estimate.xy, start.occlusion, start.expected_dist)
            for step in range(self.config.iterations):
                tokens = self.tokens(pyramid, estimate, features, initial).to(self.dtype)
                update = mix(number * self.config.iterations + step, tokens).float()
                estimate = Estimate(
                    estimate.xy + scaled(update[..., :2], initial[1] / size[1], initial[0] / size[0]),
                    estimate.occlusion + update[..., 2],
                    estimate.expected_dist + update[..., 3],
                )
                features = features + update[..., 4:]
                yield estimate

"""The network of LocoTrack: Cho et al., Local All-Pair Correspondence for Point Tracking, ECCV 2024 (arXiv:2407.15420).

Per frame, a ResNet gives unit features at strides 8, 4 and 2. A point is first found in every frame by global matching
(section 3.2 of the paper), then refined in four steps: the 7x7 features around the query are correlated with the 7x7
features around the present position, on each map (a local *4D* correlation, section 3.3); a small encoder turns each
of the three volumes into 256 numbers; and a temporal transformer over the whole clip updates positions and logits.
Points do not influence each other.

Positions inside are (x, y) in units of a 256x256 image, corner origin, whatever the resolution of the features.
Correlations are made and encoded in blocks of at most `BLOCK` point-frames (one point in one frame), so that no array
of them is larger than such a block; the transformer is given groups of points. Results depend on neither.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit.models.base import Size
from tapkit.nn.exporting import exporting
from tapkit.nn.global_matching import sample_trilinear, soft_argmax
from tapkit.nn.packed import Conv2d, Linear, can_pack
from tapkit.nn.resnet import ResNet, l2_normalize, same_padding

UNIT = 256
"""Side of the square in whose pixels positions are counted."""
RADIUS = 3
"""Of the neighbourhoods that are correlated, in cells of each map."""
TAPS = (2 * RADIUS + 1) ** 2
STEPS = 4
"""Refinement steps."""
HEAT = 20.0
"""Factor on the heat map before its softmax."""
BLOCK = 256
"""Point-frames correlated at once: large enough for full speed, small enough to stay in cache and bound memory."""
GROUP = 2048
"""Point-frames whose tokens exist at once (one whole track at least)."""
MAPS = ("hires", "lowres", "highest")
"""The order in which the maps' encodings enter the transformer."""


@dataclass(frozen=True)
class LocoTrackConfig:
    """Sizes of a network."""

    width: int
    """Of the transformer."""
    heads: int
    encoder: tuple[tuple[int, int, int], ...]
    """Layers of the correlation encoder: (channels, kernel, stride)."""
    layers: int = 3


SMALL = LocoTrackConfig(256, 4, ((64, 5, 4), (128, 2, 2)))
BASE = LocoTrackConfig(384, 6, ((64, 3, 2), (128, 3, 2), (128, 2, 2)))


class Maps(NamedTuple):
    """Unit features of frames, channels last: [T,h,w,C]."""

    lowres: Tensor
    """Stride 8, C = 256."""
    hires: Tensor
    """Stride 4, C = 128."""
    highest: Tensor
    """Stride 2, C = 64."""


class PointFeatures(NamedTuple):
    """What is known of points: features at, and around, their queries. Good for any video."""

    low: Tensor
    """[N,256] on the maps used for global matching."""
    high: Tensor
    """[N,128]"""
    lowres: Tensor
    """[N,49,256] around the query on the maps used for refinement; rows slow, columns fast."""
    hires: Tensor
    """[N,49,128]"""
    highest: Tensor
    """[N,49,64]"""

    def rows(self, rows: slice) -> PointFeatures:
        """Some of the points."""
        return PointFeatures(*(tensor[rows] for tensor in self))


class Estimate(NamedTuple):
    """Where points are believed to be, in every frame."""

    xy: Tensor
    """float32 [N,T,2], units of the 256x256 image."""
    occluded: Tensor
    """Logits [N,T]."""
    uncertain: Tensor
    """Logits [N,T] of an error above 6 pixels at 256x256 ("expected distance")."""


class CellConv(nn.Conv2d):
    """A convolution with "SAME" padding over very few cells, channels last: x [B,n,n,C] -> [B,m,m,C'].

    Nearly every window hangs over the border, so on a CPU one matrix product for each output cell, with only those
    weights that meet real cells, beats a convolution; `prepare` lays the weights out for that.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, side: int) -> None:
        super().__init__(inputs, outputs, kernel, stride)
        self.before = same_padding(side, kernel, stride)
        self.side = -(-side // stride)
        starts = [i * stride - self.before[0] for i in range(self.side)]
        self.windows = [(start, max(start, 0), min(start + kernel, side)) for start in starts]
        self.cells: list[Linear] = []

    def prepare(self) -> None:
        """Lay out the weights for inference on a CPU; any later change of the weights needs this again."""
        self.cells = []
        if not can_pack(self.weight):
            return
        for top, y0, y1 in self.windows:
            for left, x0, x1 in self.windows:
                part = self.weight[:, :, y0 - top : y1 - top, x0 - left : x1 - left].permute(0, 2, 3, 1)
                cell = Linear(part[0].numel(), self.out_channels, dtype=part.dtype)
                cell.load_state_dict({"weight": part.flatten(1), "bias": self.bias})
                cell.pack()
                self.cells.append(cell)

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`; training works on the weights themselves."""
        if mode:
            self.cells = []
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self.cells = []
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def forward(self, x: Tensor) -> Tensor:
        """x [B,n,n,C] -> [B,m,m,C']."""
        if not self.cells:
            x = F.pad(x.permute(0, 3, 1, 2), self.before * 2)
            out: Tensor = super().forward(x)
            return out.permute(0, 2, 3, 1)
        out = x.new_empty(len(x), len(self.cells), self.out_channels)
        places = [(rows, columns) for rows in self.windows for columns in self.windows]
        for number, (cell, ((_, y0, y1), (_, x0, x1))) in enumerate(zip(self.cells, places, strict=True)):
            out[:, number] = cell(x[:, y0:y1, x0:x1].flatten(1))
        return out.view(-1, self.side, self.side, self.out_channels)


class EncoderLayer(nn.Sequential):
    """Convolution, group norm, ReLU; channels last."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B,n,n,C] -> [B,m,m,C']."""
        convolved: Tensor = self[0](x)
        return F.relu(self[1](convolved.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)


class CorrelationEncoder(nn.Module):
    """Turns a local 4D correlation into 256 numbers, half of them from each of its two sides (section 3.3)."""

    def __init__(self, config: LocoTrackConfig) -> None:
        super().__init__()
        layers, inputs, side = [], TAPS, 2 * RADIUS + 1
        for outputs, kernel, stride in config.encoder:
            conv = CellConv(inputs, outputs, kernel, stride, side)
            layers.append(EncoderLayer(conv, nn.GroupNorm(outputs // 16, outputs)))
            inputs, side = outputs, conv.side
        self.conv = nn.ModuleList(layers)

    def forward(self, volume: Tensor) -> Tensor:
        """volume [B,49,49] (cells around the position, cells around the query) -> float32 [B,256]."""
        side = 2 * RADIUS + 1
        x = torch.cat([volume, volume.transpose(1, 2)]).view(
            -1, side, side, TAPS
        )  # now one, now the other side as image
        for layer in self.conv:
            x = layer(x)
        codes, count = x.mean((1, 2)).float(), volume.shape[0]
        return torch.cat([codes[:count], codes[count:]], 1)


class Attention(nn.Module):
    """Attention over time, half of the heads into the past and half into the future, fading with distance."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.final_proj = Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x [N,T,C] -> [N,T,C]."""
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # each [N,heads,T,c]
        if exporting():
            bias = time_bias(self.heads, torch.arange(x.shape[1], device=x.device), x.shape[1]).to(q.dtype)
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        else:  # in pieces, since the bias grows with the square of the clip's length
            pieces = []
            for rows in torch.split(torch.arange(x.shape[1], device=x.device), GROUP):
                bias = time_bias(self.heads, rows, x.shape[1]).to(q.dtype)
                queries = q[:, :, rows[0] : rows[-1] + 1]
                pieces.append(F.scaled_dot_product_attention(queries, k, v, attn_mask=bias))
            out = torch.cat(pieces, 2)
        mixed: Tensor = self.final_proj(out.transpose(1, 2).flatten(2))
        return mixed


def time_bias(heads: int, rows: Tensor, frames: int) -> Tensor:
    """What is added to the scores [heads,len(rows),frames] of the frames `rows` with all frames (after ALiBi).

    The first half of the heads sees only frames up to its own, the second half only from its own on.
    """
    half = heads // 2
    slopes = 24.0 ** (-(torch.arange(half, device=rows.device) + 1.0) / half)
    back = (rows[:, None] - torch.arange(frames, device=rows.device)).float()  # frames back to the key
    past = torch.where(back >= 0, -slopes[:, None, None] * back, -1e9)
    future = torch.where(back <= 0, slopes[:, None, None] * back, -1e9)
    return torch.cat([past, future])


class Layer(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = Attention(width, heads)
        self.dense = nn.ModuleDict({"0": Linear(width, 4 * width), "2": Linear(4 * width, width)})
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """x float32 [N,T,C]."""
        dtype = self.attn.qkv.weight.dtype
        x = x + self.attn(self.layer_norm1(x).to(dtype))
        out: Tensor = x + self.dense["2"](self.dense["0"](self.layer_norm2(x).to(dtype), "gelu"))
        return out


class Transformer(nn.Module):
    """The layers, then a norm."""

    def __init__(self, config: LocoTrackConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Layer(config.width, config.heads) for _ in range(config.layers)])
        self.ln_out = nn.LayerNorm(config.width)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        out: Tensor = self.ln_out(x)
        return out


class Mixer(nn.Module):
    """Tokens of one point over time -> updates."""

    INPUTS = 2 + 3 * 256 + 84
    OUTPUTS = 4 + 384
    """Position, two logits, and an update of the query feature that the released network computes and never reads."""

    def __init__(self, config: LocoTrackConfig) -> None:
        super().__init__()
        self.input_proj = Linear(self.INPUTS, config.width)
        self.transformer = Transformer(config)
        self.output_proj = nn.Linear(config.width, self.OUTPUTS)

    def hidden(self, tokens: Tensor) -> Tensor:
        """tokens float32 [N,T,854] -> float32 [N,T,width]."""
        x: Tensor = self.input_proj(tokens.to(self.input_proj.weight.dtype)).float()
        out: Tensor = self.transformer(x)
        return out

    def output_rows(self, count: int) -> tuple[Tensor, Tensor]:
        """Weight and bias of the first outputs."""
        return self.output_proj.weight[:count], self.output_proj.bias[:count]

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens float32 [N,T,854] -> float32 [N,T,4], the outputs that are read."""
        return F.linear(self.hidden(tokens), *self.output_rows(4))


def displacement_code(xy: Tensor, scale: Tensor) -> Tensor:
    """How a point moves: xy [N,T,2] -> [N,T,84], from the differences to the next and to the frame before."""
    after, before = torch.cat([xy[:, 1:], xy[:, -1:]], 1), torch.cat([xy[:, :1], xy[:, :-1]], 1)  # 0 at the ends
    r = torch.cat([(xy - after) * scale, (xy - before) * scale], -1)
    waves = (r[..., None, :] * 2.0 ** torch.arange(10, device=xy.device)[:, None]).flatten(-2)
    return torch.cat([r, waves.sin(), (waves + math.pi / 2).sin()], -1)


def per_axis(like: Tensor, x: float, y: float) -> Tensor:
    """The pair (x, y) in the dtype and place of `like`; in an exported graph they may depend on sizes."""
    one = like.new_ones(1)
    return torch.cat([one * x, one * y])


def products(patches: Tensor, queries: Tensor) -> Tensor:
    """patches [P,M,C] times queries [P,K,C] -> [P,M,K]."""
    if exporting() or torch.is_grad_enabled() or not can_pack(patches):
        return patches @ queries.transpose(1, 2)
    # oneDNN is twice as fast as the batched product of torch for these shapes.
    linear = torch.ops.mkldnn._linear_pointwise.default
    return torch.stack([linear(m, q, None, "none", [], "") for m, q in zip(patches, queries, strict=True)])


def correlate(level: Tensor, queries: Tensor, xy: Tensor) -> Tensor:
    """Local 4D correlations: of the cells around positions with those around the queries.

    level [T,h,w,C]; queries [P,49,C]; xy float32 [P,T,2] in cells of the level, corner origin. Returns
    [P*T,49,49]: (cell around the position, cell around the query), each row by row. Cells outside the map count as 0.

    The 49 samples around a position share their fractional offset, so the products are taken with the 8x8 whole cells
    around it and blended afterwards, which is the same by linearity.
    """
    frames, height, width, channels = level.shape
    side = 2 * RADIUS + 2
    reach = torch.arange(side, device=xy.device) - RADIUS
    # Far outside, everything is 0: cut off there to keep the indices small.
    x, y = ((xy[..., axis].flatten() - 0.5).clamp(-side, size + side) for axis, size in ((0, width), (1, height)))
    columns, rows = x.floor().long()[:, None] + reach, y.floor().long()[:, None] + reach
    first = torch.arange(frames, device=xy.device).repeat(xy.shape[0])[:, None] * height
    cells = ((first + rows.clamp(0, height - 1)) * width)[:, :, None] + columns.clamp(0, width - 1)[:, None, :]
    patches = level.flatten(0, 2).index_select(0, cells.flatten()).view(xy.shape[0], -1, channels)
    volume = products(patches, queries).view(-1, side, side, TAPS)
    volume = _blend(volume, x - x.floor(), (columns >= 0) & (columns < width), 2)
    return _blend(volume, y - y.floor(), (rows >= 0) & (rows < height), 1).flatten(1, 2)


def _blend(values: Tensor, fraction: Tensor, inside: Tensor, axis: int) -> Tensor:
    """Linear blends of neighbours along an axis of values [B,8|7,8|7,49]; those not `inside` [B,8] count as 0."""
    shape = [-1, 1, 1, 1]
    shape[axis] = inside.shape[1] - 1
    near = ((1 - fraction)[:, None] * inside[:, :-1]).to(values.dtype).view(shape)
    far = (fraction[:, None] * inside[:, 1:]).to(values.dtype).view(shape)
    count = values.shape[axis] - 1
    return torch.addcmul(values.narrow(axis, 0, count) * near, values.narrow(axis, 1, count), far)


class LocoTrackNetwork(nn.Module):
    """The network. Module names are those of the released checkpoints."""

    def __init__(self, config: LocoTrackConfig) -> None:
        super().__init__()
        self.config = config
        self.resnet_torch = ResNet()
        self.cost_conv = Conv2d(2, 1, 3, padding=1)
        self.occ_linear = nn.Linear(6, 2)
        self.cmdtop = nn.ModuleList([CorrelationEncoder(config) for _ in MAPS])
        self.torch_pips_mixer = Mixer(config)

    def prepare(self) -> None:
        """Lay out small convolutions for inference where the weights are."""
        for module in self.cmdtop.modules():
            if isinstance(module, CellConv):
                module.prepare()

    def maps(self, frames: Tensor) -> Maps:
        """Unit features of frames [B,3,H,W] in [-1,1], H and W multiples of 8."""
        frames = frames.to(self.resnet_torch.initial_conv.weight.dtype)
        highest, hires, _, lowres = self.resnet_torch(frames)
        return Maps(*(l2_normalize(x).permute(0, 2, 3, 1).contiguous() for x in (lowres, hires, highest)))

    def point_features(self, initial: Maps, refined: Maps, queries: Tensor) -> PointFeatures:
        """Features at queries [N,3] (t, x, y), x and y in 256-units, read from the maps of their clip."""
        offsets = torch.arange(-RADIUS, RADIUS + 1, device=queries.device, dtype=torch.float32)
        around = torch.cartesian_prod(offsets, offsets).flip(-1)  # row by row, (x, y)
        around = F.pad(around, (1, 0))

        def at(level: Tensor) -> Tensor:
            height, width = level.shape[1:3]
            return queries * torch.cat([queries.new_ones(1), per_axis(queries, width / UNIT, height / UNIT)])

        patches = [sample_trilinear(level, at(level)[:, None] + around) for level in refined]
        low, high = (sample_trilinear(level, at(level)) for level in (initial.lowres, initial.hires))
        return PointFeatures(low, high, *patches)

    def locate(self, lowres: Tensor, hires: Tensor, low: Tensor, high: Tensor) -> Estimate:
        """Global matching of features low, high [N,C] with maps lowres, hires [T,h,w,C] (each frame for itself)."""
        stacked = self.costs(lowres, hires, low, high)  # [N*T,2,h4,w4]
        height, width = stacked.shape[-2:]
        heat = self.heat(stacked)
        scale = per_axis(heat, UNIT / width, UNIT / height)
        xy = soft_argmax(HEAT * heat[:, 0]) * scale
        flat = stacked.flatten(2)
        pooled = torch.cat([flat.mean(-1), flat.amax(-1), flat.amin(-1)], -1)
        occluded, uncertain = self.occ_linear(pooled).unbind(-1)
        shape = (low.shape[0], -1)
        return Estimate(xy.view(*shape, 2), occluded.view(shape), uncertain.view(shape))

    def costs(self, lowres: Tensor, hires: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Correlations of points with whole maps, float32 [N*T,2,h4,w4]: stride 8 (enlarged), stride 4."""
        parts = []
        for level, vectors in ((lowres, low), (hires, high)):
            # in full precision always: the heat is 20 times as sharp as this
            cost = vectors.float() @ level.flatten(0, 2).float().T
            parts.append(cost.view(-1, 1, *level.shape[1:3]))
        enlarged = F.interpolate(parts[0], size=parts[1].shape[-2:], mode="bilinear", align_corners=False)
        return torch.cat([enlarged, parts[1]], 1)

    def heat(self, stacked: Tensor) -> Tensor:
        """The heat map [B,1,h,w] of costs [B,2,h,w]."""
        out: Tensor = self.cost_conv(stacked)
        return out

    def encodings(self, maps: Maps, points: PointFeatures, xy: Tensor) -> Tensor:
        """Encoded local correlations around xy [N,T,2] (256-units) in the frames of `maps` -> float32 [N,T,768]."""
        parts = []
        for name, encoder in zip(MAPS, self.cmdtop, strict=True):
            level, queries = getattr(maps, name), getattr(points, name)
            scale = per_axis(xy, level.shape[2] / UNIT, level.shape[1] / UNIT)
            parts.append(encoder(correlate(level, queries, xy * scale)))
        return torch.cat(parts, 1).view(*xy.shape[:2], -1)

    def tokens(self, maps: Maps, points: PointFeatures, now: Estimate) -> Tensor:
        """What the transformer is shown, float32 [N,T,854]."""
        count, frames = now.occluded.shape
        codes = now.xy.new_empty(count, frames, len(MAPS) * 256)
        for rows in slices(count, frames, BLOCK):
            for part in slices(frames, 1, BLOCK):
                seen = Maps(*(level[part] for level in maps))
                codes[rows, part] = self.encodings(seen, points.rows(rows), now.xy[rows, part])
        height, width = _refined_size(maps)
        scale = per_axis(now.xy, width / UNIT**2, height / UNIT**2)
        logits = torch.stack([now.occluded, now.uncertain], -1)
        return torch.cat([logits, codes, displacement_code(now.xy, scale)], -1)

    def update(self, tokens: Tensor, now: Estimate, size: Size) -> Estimate:
        """The estimate after a step; `size` is that of the images whose maps were read."""
        change = self.torch_pips_mixer(tokens)
        scale = per_axis(now.xy, UNIT / size[1], UNIT / size[0])
        return Estimate(now.xy + change[..., :2] * scale, now.occluded + change[..., 2], now.uncertain + change[..., 3])

    def match(self, initial: Maps, points: PointFeatures, known: Tensor | None = None) -> Estimate:
        """The first estimate, by global matching (the map `highest` of `initial` is not used).

        `known` [N,3] (t, x, y in 256-units): where the points were asked, if in this clip; it overrules the matching.
        """
        frames, count = initial.hires.shape[0], points.low.shape[0]
        blocks = [
            self.locate(initial.lowres[part], initial.hires[part], points.low, points.high)
            for part in slices(frames, count, BLOCK)
        ]
        now = Estimate(*(torch.cat(tensors, 1) for tensors in zip(*blocks, strict=True)))
        if known is None:
            return now
        at = torch.arange(frames, device=known.device) == known[:, :1].round()
        return now._replace(xy=torch.where(at[..., None], known[:, None, 1:], now.xy))

    def step(self, maps: Maps, points: PointFeatures, now: Estimate) -> Estimate:
        """The estimate after one refinement step."""
        return self.update(self.tokens(maps, points, now), now, _refined_size(maps))

    def refine(self, maps: Maps, points: PointFeatures, now: Estimate) -> Iterator[Estimate]:
        """The estimates after each refinement step."""
        for _ in range(STEPS):
            now = self.step(maps, points, now)
            yield now


def groups(points: int, frames: int) -> list[slice]:
    """Points to be refined together, so that `GROUP` point-frames are not exceeded (one point at least)."""
    return slices(points, frames, GROUP)


def slices(count: int, each: int, limit: int) -> list[slice]:
    """range(count) in pieces of as many as fit into `limit` at `each` (one at least); in one if a graph is exported."""
    if exporting():
        return [slice(None)]
    size = max(limit // max(each, 1), 1)
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _refined_size(maps: Maps) -> Size:
    """Size of the images that maps were made from."""
    height, width = maps.highest.shape[1:3]
    return 2 * height, 2 * width

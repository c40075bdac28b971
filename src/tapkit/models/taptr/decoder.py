"""The decoder of TAPTR (H. Li et al., ECCV 2024, arXiv:2403.13042, section 3): six layers over a window of frames.

Each layer fuses the correlation around the point into its content, attends along time, among points and to the
frame, and moves the box. (Paper and released code differ in places; what is here is the code's, see the model's page.)
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from tapkit.constants import constant_like
from tapkit.models.taptr.parts import (
    HEADS,
    LEVELS,
    POINTS,
    WIDTH,
    Head,
    Layer,
    Mlp,
    SelfAttention,
    as_linear,
    box_code,
    inverse_sigmoid,
    run,
)
from tapkit.models.taptr.window import Decoded, LayerResult, Window
from tapkit.nn.deformable_attention import Corners, attend_sampled_tokens, gather_sum
from tapkit.nn.packed import Linear
from tapkit.nn.sampling import sample

LAYERS = 6
RADIUS = 3
AT_ONCE = 256
"""Queries that attend to the frames together."""


class FrameAttention(nn.Module):
    """Deformable attention of points to the frames they are on (names as in Deformable DETR)."""

    def __init__(self) -> None:
        super().__init__()
        samples = HEADS * LEVELS * POINTS
        self.sampling_offsets = Linear(WIDTH, 2 * samples)
        self.attention_weights = Linear(WIDTH, samples)
        self.value_proj = nn.Linear(WIDTH, WIDTH)  # mostly used as a matrix, so not packed
        self.output_proj = Linear(WIDTH, WIDTH)

    def forward(self, query: Tensor, xy: Tensor, window: Window) -> Tensor:
        """Queries [F,N,C] at normalised positions xy [F,N,2] -> [F,N,C]."""
        base, rows = window.base(xy).flatten(0, 1), query.flatten(0, 1)
        values = None
        if window.many(4 * LEVELS * POINTS):
            values = self.value_proj(window.table).view(-1, WIDTH // HEADS)
        read = [
            self._read(some, at, frame, window, values)
            for some, at, frame in zip(*(torch.split(p, AT_ONCE) for p in (rows, base, window.frame_of)), strict=True)
        ]
        return run(self.output_proj, torch.cat(read)).view_as(query)

    def _read(self, query: Tensor, base: Tensor, frame: Tensor, window: Window, values: Tensor | None) -> Tensor:
        offsets = run(self.sampling_offsets, query).float().view(-1, HEADS, LEVELS, POINTS, 2)
        weights = run(self.attention_weights, query).float().view(-1, HEADS, LEVELS * POINTS).softmax(-1)
        read = window.read(base, offsets, weights.view(-1, HEADS, LEVELS, POINTS), frame)
        return read_values(read, window.table, values, self.value_proj)


def read_values(read: Corners, table: Tensor, values: Tensor | None, project: nn.Linear) -> Tensor:
    """Sums of values of tokens: read [P,H,K], table [V,C]; `values` [V*H,c] if they have been projected -> [P,H*c]."""
    if values is None:
        matrix = project.weight.view(HEADS, -1, WIDTH)
        return attend_sampled_tokens(table, read, matrix, project.bias.view(HEADS, -1))
    heads = torch.arange(HEADS, dtype=torch.int32, device=read.token.device).view(-1, 1)
    return gather_sum(values, read.token * HEADS + heads, read.weight).flatten(1)


class Layer1(Layer):
    """One layer of TAPTR."""

    def __init__(self) -> None:
        super().__init__()
        self.temp_self_attn, self.norm_temp = SelfAttention(), nn.LayerNorm(WIDTH)
        self.cross_attn = FrameAttention()
        self.corr_fuser = Mlp("02", WIDTH + LEVELS * (2 * RADIUS + 1) ** 2, WIDTH, WIDTH)

    def forward(self, x: Tensor, position: Tensor, xy: Tensor, correlation: Tensor, window: Window) -> Tensor:
        """Content and position codes [F,N,C], positions [F,N,2], correlation [F,N,196] -> content."""
        z = self.corr_fuser(torch.cat([x, correlation], -1))
        along, code = z.transpose(0, 1), position.transpose(0, 1)
        z = self.norm_temp(along + self.temp_self_attn(along, code, window.along_time)).transpose(0, 1)
        z = self.among_points(z, position, window.among_points)
        z = self.norm1(z + self.cross_attn(z + position, xy, window))
        return self.feed_forward(z)


class CorrelationMaps(nn.Module):
    """Holds the projections of the frames that content is compared with (1x1 convolutions)."""

    def __init__(self) -> None:
        super().__init__()
        self.fmap_mappers = nn.ModuleList([nn.Conv2d(WIDTH, WIDTH, 1) for _ in range(LEVELS)])


class Decoder1(nn.Module):
    """All layers, and what they share. The heads belong to the network."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Layer1() for _ in range(LAYERS)])
        self.ref_point_head = Head(2 * WIDTH, WIDTH, WIDTH)
        self.query_updater = Mlp("02", 2 * WIDTH, WIDTH, WIDTH)
        self.corr_query_proj = Mlp("02", WIDTH, WIDTH, WIDTH)
        self.corr_block = CorrelationMaps()

    def forward(
        self, window: Window, content: Tensor, boxes: Tensor, box_heads: nn.ModuleList, class_heads: nn.ModuleList
    ) -> Decoded:
        """Content [F,N,256] and box logits [F,N,4] at the window's start; heads of all layers."""
        results = list(self.each_layer(window, content, boxes, box_heads))
        logits = torch.where(window.update[..., None], results[-1].logits, boxes)
        classes = run(as_linear(class_heads[-1]), results[-1].content)
        return Decoded(logits, classes.float(), results[-1].content)

    def each_layer(self, window: Window, content: Tensor, boxes: Tensor, heads: nn.ModuleList) -> Iterator[LayerResult]:
        """The layers, one after the other; `heads` move the boxes."""
        volume = self.correlations(window, content)
        x, update = content, window.update[..., None]
        box = boxes.sigmoid()
        for layer, head in zip(self.layers, heads, strict=True):
            position = self.ref_point_head(box_code(box))
            z = x + self.query_updater(torch.cat([x, content], -1))
            near = self.near(volume, box[..., :2], window)
            x = layer(z, position, box[..., :2], near, window)
            before, logits = box, inverse_sigmoid(box) + update * head(x)
            box = logits.sigmoid()
            yield LayerResult(x, logits, box, before)

    def correlations(self, window: Window, content: Tensor) -> list[Tensor]:
        """Products of the content with all of its frame, over 16: for each level [F*N,1,h,w].

        <q, W m + b> = <W'q, m> + <q, b>, so that not the frame is projected but the points.
        """
        query = self.corr_query_proj(content)
        volume = []
        for tokens, mapper in zip(window.pyramid.split(window.tokens), self.corr_block.fmap_mappers, strict=True):
            assert isinstance(mapper, nn.Conv2d) and mapper.bias is not None
            turned = (query @ mapper.weight.flatten(1)) / WIDTH**0.5
            shift = (query @ mapper.bias)[..., None] / WIDTH**0.5
            products = torch.baddbmm(shift, turned, tokens.flatten(1, 2).transpose(1, 2))
            volume.append(products.view(-1, 1, *tokens.shape[1:3]))
        return volume

    def near(self, volume: list[Tensor], xy: Tensor, window: Window) -> Tensor:
        """Samples of the products around normalised positions xy [F,N,2] -> [F,N,196], x the slow index of a level.

        The released code multiplies x by the height and y by the width; a level has half the pixels of the one before.
        """
        height, width = window.pyramid.sizes[0]
        centre = xy.flatten(0, 1) * constant_like([height - 1, width - 1], xy)
        steps = torch.arange(-RADIUS, RADIUS + 1, device=xy.device, dtype=xy.dtype)
        around = torch.cartesian_prod(steps, steps)
        near = [sample(level, centre[:, None] / 2**number + around) for number, level in enumerate(volume)]
        return torch.cat([level.flatten(1) for level in near], 1).view(*xy.shape[:2], -1)

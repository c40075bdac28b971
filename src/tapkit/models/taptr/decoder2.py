"""The decoder of TAPTRv2 (H. Li et al., NeurIPS 2024, arXiv:2407.16291, section 3): attention that moves the point.

No correlation volume: a point's query is compared with the tokens that it samples, and from these comparisons come
both what is read and a first update of the position. (As in the released code; see the model's page.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tapkit.models.taptr.decoder import read_values
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
    sine,
)
from tapkit.models.taptr.window import Decoded, LayerResult, Window
from tapkit.nn.deformable_attention import Corners, gather_sum
from tapkit.nn.packed import Linear

LAYERS = 5
SAMPLES = HEADS * LEVELS * POINTS
CHANNELS = WIDTH // HEADS
AT_ONCE = 64
"""Queries whose samples are held together."""


class Read(NamedTuple):
    """What points read from their frames."""

    content: Tensor
    """[F,N,C]"""
    logits: Tensor
    """How like each sample is [F,N,H*L*K]."""
    offsets: Tensor
    """Where the samples lie beside the point, pixels of their level [F,N,H*L*K,2]."""


class KeyAwareAttention(nn.Module):
    """Deformable attention whose weights are products of the query with keys at the samples."""

    def __init__(self) -> None:
        super().__init__()
        self.sampling_offsets = Linear(WIDTH, 2 * SAMPLES)
        self.query_proj = Linear(WIDTH, WIDTH)
        # Mostly used as matrices, so not packed.
        self.key_proj, self.value_proj = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.output_proj = Linear(WIDTH, WIDTH)

    def forward(self, query: Tensor, xy: Tensor, window: Window) -> Read:
        """Queries [F,N,C] at normalised positions xy [F,N,2]."""
        base, rows = window.base(xy).flatten(0, 1), query.flatten(0, 1)
        tables = None
        if window.many(4 * LEVELS * POINTS):
            tables = [part(window.table).view(-1, CHANNELS) for part in (self.key_proj, self.value_proj)]
        read = [
            self._read(some, at, frame, window, tables)
            for some, at, frame in zip(*(torch.split(p, AT_ONCE) for p in (rows, base, window.frame_of)), strict=True)
        ]
        content, logits, offsets = (
            torch.cat(parts).view(*window.shape, *parts[0].shape[1:]) for parts in zip(*read, strict=True)
        )
        return Read(run(self.output_proj, content).float(), logits, offsets)

    def _read(self, query: Tensor, base: Tensor, frame: Tensor, window: Window, tables: list[Tensor] | None) -> Read:
        offsets = run(self.sampling_offsets, query).float().view(-1, HEADS, LEVELS, POINTS, 2)
        found = window.samples(base, offsets, frame)
        asked = run(self.query_proj, query).float().view(-1, HEADS, CHANNELS)
        if tables is None:
            content, logits = self._at_samples(asked, found, window.table)
        else:
            content, logits = self._of_projected(asked, found, tables)
        return Read(content, logits.flatten(1), offsets.flatten(1, 3))

    def _of_projected(self, asked: Tensor, found: Corners, tables: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Keys and values of all tokens are there: tables [V*H,c]."""
        heads = torch.arange(HEADS, dtype=torch.int32, device=asked.device).view(-1, 1, 1)
        keys = gather_sum(tables[0], found.token * HEADS + heads, found.weight)
        logits = (keys @ asked[..., None])[..., 0] / CHANNELS**0.5
        share = (found.weight * logits.softmax(-1)[..., None]).flatten(2)
        return read_values(Corners(found.token.flatten(2), share), tables[1], tables[1], self.value_proj), logits

    def _at_samples(self, asked: Tensor, found: Corners, table: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens are sampled as they are: <q, W m + b> = <W'q, m> + <q, b>, and values are projected last."""
        turned = torch.einsum("phd,hdc->phc", asked, self.key_proj.weight.view(HEADS, CHANNELS, WIDTH))
        shift = (asked * self.key_proj.bias.view(HEADS, CHANNELS)).sum(-1, keepdim=True)
        samples = gather_sum(table, found.token, found.weight)  # [P,H,K,C]
        inside = found.weight.sum(-1)
        logits = ((samples @ turned[..., None])[..., 0] + inside * shift) / CHANNELS**0.5
        share = logits.softmax(-1)
        sums = (share[:, :, None] @ samples)[:, :, 0]
        values = torch.einsum("phc,hdc->phd", sums, self.value_proj.weight.view(HEADS, CHANNELS, WIDTH))
        total = (share * inside).sum(-1, keepdim=True)
        return (values + total * self.value_proj.bias.view(HEADS, CHANNELS)).flatten(1), logits


class UpdatingLayer(Layer):
    """What layers of TAPTRv2 and v3 share: attention to the frame, and the position update that follows from it."""

    def __init__(self) -> None:
        super().__init__()
        self.caupdate_weight_normalizer = Mlp("02", SAMPLES, WIDTH, WIDTH)
        self.caupdate_weight_regressor = Mlp("0", WIDTH, SAMPLES)
        self.update_pos_embed_head = Head(2 * WIDTH, WIDTH, WIDTH)

    def moved(self, box: Tensor, read: Read, window: Window) -> Tensor:
        """The boxes [F,N,4] after the attention-based position update.

        New weights are made of all logits of a point together, and the offsets summed with them. The released code
        divides x by the height of a level and y by its width.
        """
        logits = self.caupdate_weight_regressor(self.caupdate_weight_normalizer(read.logits, last="relu"))
        scale = window.pyramid.extents(box).flip(-1)[None, :, None].expand(HEADS, -1, POINTS, -1).flatten(0, 2)
        shift = (logits.softmax(-1)[..., None] * read.offsets / scale).sum(-2)
        xy = inverse_sigmoid(box[..., :2] + shift).sigmoid()
        return torch.cat([torch.where(window.update[..., None], xy, box[..., :2]), box[..., 2:]], -1)


class Layer2(UpdatingLayer):
    """One layer of TAPTRv2."""

    def __init__(self) -> None:
        super().__init__()
        self.cross_attn = KeyAwareAttention()
        self.temp_self_attn, self.norm_temp = SelfAttention(), nn.LayerNorm(WIDTH)

    def forward(self, z: Tensor, position: Tensor, box: Tensor, window: Window) -> tuple[Tensor, Tensor]:
        """Content and position codes [F,N,C], boxes [F,N,4] -> content, boxes."""
        read = self.cross_attn(z + position, box[..., :2], window)
        z = self.norm1(z + read.content)
        box = self.moved(box, read, window)
        position = self.update_pos_embed_head(box_code(box))
        along, code = z.transpose(0, 1), position.transpose(0, 1)
        z = self.norm_temp(along + self.temp_self_attn(along, code, window.along_time)).transpose(0, 1)
        z = self.among_points(z, position, window.among_points)
        return self.feed_forward(z), box


class UpdatingDecoder(nn.Module):
    """What the decoders of TAPTRv2 and v3 share: layers, codes, and how a layer's result moves the box."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.ref_point_head = Head(2 * WIDTH, WIDTH, WIDTH)
        self.query_updater = Mlp("02", 2 * WIDTH, WIDTH, WIDTH)
        self.ca_update_fuser = Mlp("024", 2 * WIDTH, WIDTH, WIDTH, WIDTH)

    def layer_input(self, number: int, x: Tensor, content: Tensor) -> Tensor:
        """What layer `number` starts from: what came before, reminded of the content at the beginning."""
        if number == 0:
            return content
        out: Tensor = x + self.query_updater(torch.cat([x, content], -1))
        return out

    def result(self, x: Tensor, box: Tensor, moved: Tensor, head: nn.Module, window: Window) -> LayerResult:
        """What follows from a layer's content and from the boxes before and after its attention.

        Only the heads are given the content together with by how much attention has moved the box.
        """
        fused = self.ca_update_fuser(torch.cat([x, sine((moved - box)[..., :2].flip(-1))], -1))
        logits = inverse_sigmoid(moved) + window.update[..., None] * head(fused)
        return LayerResult(fused, logits, logits.sigmoid(), moved)

    def decoded(self, results: list[LayerResult], window: Window, boxes: Tensor, class_heads: nn.ModuleList) -> Decoded:
        """What the window's result is, of the layers' results."""
        logits = torch.where(window.update[..., None], results[-1].logits, boxes)
        classes = run(as_linear(class_heads[-1]), results[-1].content)
        return Decoded(logits, classes.float(), results[-1].content)


class Decoder2(UpdatingDecoder):
    """All layers, and what they share."""

    def __init__(self) -> None:
        super().__init__([Layer2() for _ in range(LAYERS)])

    def forward(
        self, window: Window, content: Tensor, boxes: Tensor, box_heads: nn.ModuleList, class_heads: nn.ModuleList
    ) -> Decoded:
        """Content [F,N,256] and box logits [F,N,4] at the window's start; heads of all layers."""
        return self.decoded(list(self.each_layer(window, content, boxes, box_heads)), window, boxes, class_heads)

    def each_layer(self, window: Window, content: Tensor, boxes: Tensor, heads: nn.ModuleList) -> Iterator[LayerResult]:
        """The layers, one after the other; `heads` move the boxes."""
        x, box = content, boxes.sigmoid()
        for number, (layer, head) in enumerate(zip(self.layers, heads, strict=True)):
            position = self.ref_point_head(box_code(box))
            x, moved = layer(self.layer_input(number, x, content), position, box, window)
            result = self.result(x, box, moved, head, window)
            box = result.box
            yield result

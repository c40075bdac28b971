"""The decoder of TAPTRv3 (J. Qu et al., arXiv:2411.18671, section 3): one frame at a time, with a long memory.

A point looks back at what it was on all past frames, as far as it was visible there; and it compares not features but
patches of 3x3 features with the frame. (As in the released code; see the model's page.)
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tapkit.models.taptr.decoder import read_values
from tapkit.models.taptr.decoder2 import CHANNELS, SAMPLES, Read, UpdatingDecoder, UpdatingLayer
from tapkit.models.taptr.parts import HEADS, LEVELS, POINTS, WIDTH, Mlp, box_code, run
from tapkit.models.taptr.window import Decoded, LayerResult, Window
from tapkit.nn.deformable_attention import Corners, corners, gather_sum
from tapkit.nn.packed import Linear
from tapkit.nn.precision import widest

LAYERS = 4
PATCH = 9
"""Features of a patch: x offset -1, 0, 1 (slow), y offset."""
CENTRE = PATCH // 2
AT_ONCE = 64
"""Points whose samples are held together."""
_LEAST = 1e-7


def rotated(x: Tensor, back: Tensor) -> Tensor:
    """Rotary codes: x [...,M,C] of which entry m lies `back`[m] frames before the present.

    Pairs (2k, 2k + 1) turn by back * 10000^(-2k / C). (J. Su et al., arXiv:2104.09864.)
    """
    wide = widest(x.device)
    half = torch.arange(0, x.shape[-1], 2, dtype=wide, device=x.device)
    angle = back.to(wide)[:, None] * 10000.0 ** (-half / x.shape[-1])
    cosine, sine = angle.cos().float(), angle.sin().float()
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * cosine - b * sine, b * cosine + a * sine], -1).flatten(-2)


class Past(NamedTuple):
    """What points were on the frames before, and are taken to be on this one (the last entry)."""

    content: Tensor
    """[N,M,256]"""
    weight: Tensor
    """[N,M]: how much an entry counts, 0..1; 0 where there was no such point."""

    def turned(self) -> Tensor:
        """The content with codes of how long ago it was."""
        count = self.content.shape[1]
        return rotated(self.content, torch.arange(count - 1, -1, -1, device=self.content.device))


class LongAttention(nn.Module):
    """Attention to the past. Weights are multiplied by visibility after the softmax, and add up to 1 again.

    The past is not projected, which would cost as much for each frame as all that follows: its products with the keys'
    projection are those of the projected query, <q, W m> = <W'q, m>, and values are projected when they have been
    summed. (Codes are applied before the projection, so this is exact; the bias of keys does not matter.)
    """

    def __init__(self) -> None:
        super().__init__()
        # Used as matrices, so not packed.
        self.query_key, self.value = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.out_proj = Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, past: Past, turned: Tensor) -> Tensor:
        """x [N,C]; turned [N,M,C] is `past.turned()` -> [N,C]."""
        matrix, keys = torch.split(self.query_key.weight, WIDTH)
        query = torch.nn.functional.linear(x, matrix, self.query_key.bias[:WIDTH]).view(-1, HEADS, CHANNELS)
        query = torch.einsum("nhd,hdc->nhc", query, keys.view(HEADS, CHANNELS, WIDTH))
        logits = query @ turned.transpose(1, 2) / CHANNELS**0.5
        logits = logits.masked_fill((past.weight == 0)[:, None], -torch.inf)
        share = logits.softmax(-1) * past.weight[:, None]
        share = share / (share.sum(-1, keepdim=True) + _LEAST)
        read = torch.einsum("nhc,hdc->nhd", share @ past.content, self.value.weight.view(HEADS, CHANNELS, WIDTH))
        read = read + share.sum(-1, keepdim=True) * self.value.bias.view(HEADS, CHANNELS)
        return run(self.out_proj, read.flatten(1)).float()


class ContextAttention(nn.Module):
    """Deformable attention whose weights come from all products of two patches of 3x3 features."""

    def __init__(self) -> None:
        super().__init__()
        self.sampling_offsets = Linear(WIDTH, 2 * SAMPLES)
        self.query_proj, self.key_proj = Linear(WIDTH, WIDTH), Linear(WIDTH, WIDTH)
        self.value_proj = nn.Linear(WIDTH, WIDTH)  # mostly used as a matrix, so not packed
        self.mlp_calulate_similarity = Mlp("02", PATCH**2, PATCH, 1)
        self.output_proj = Linear(WIDTH, WIDTH)

    def forward(self, query: Tensor, context: Tensor, xy: Tensor, window: Window) -> Read:
        """Queries [1,N,C] at normalised positions xy [1,N,2], with the patches around the points' origins [N,9,C]."""
        base, rows = window.base(xy)[0], query[0]
        patches = run(self.query_proj, context).float().view(-1, PATCH, HEADS, CHANNELS).transpose(1, 2)
        keys = run(self.key_proj, window.table).float().view(-1, CHANNELS)
        values = None
        if window.many(4 * LEVELS * POINTS):
            values = self.value_proj(window.table).view(-1, CHANNELS)
        read = [
            self._read(some, patch, at, window, keys, values)
            for some, patch, at in zip(*(torch.split(p, AT_ONCE) for p in (rows, patches, base)), strict=True)
        ]
        content, logits, offsets = (torch.cat(parts)[None] for parts in zip(*read, strict=True))
        return Read(run(self.output_proj, content).float(), logits, offsets)

    def _read(
        self, query: Tensor, patches: Tensor, base: Tensor, window: Window, keys: Tensor, values: Tensor | None
    ) -> Read:
        """Points [P,C] with patches [P,H,9,c]; keys [S*H,c]."""
        offsets = run(self.sampling_offsets, query).float().view(-1, HEADS, LEVELS, POINTS, 2)
        seen = self._patches(base, offsets, window, keys)
        products = seen.flatten(2, 3) @ patches.transpose(-1, -2)
        similar = self.mlp_calulate_similarity(products.view(*products.shape[:2], -1, PATCH**2))[..., 0]
        found = window.samples(base, offsets, torch.zeros(len(base), dtype=torch.int32, device=base.device))
        share = (found.weight * similar.softmax(-1)[..., None]).flatten(2)
        content = read_values(Corners(found.token.flatten(2), share), window.table, values, self.value_proj)
        return Read(content, similar.flatten(1), offsets.flatten(1, 3))

    @staticmethod
    def _patches(base: Tensor, offsets: Tensor, window: Window, keys: Tensor) -> Tensor:
        """Patches of keys around the samples [P,H,L*K,9,c].

        Neighbours are n / (n - 1) pixels apart on a level of n: the released code takes them one pixel apart on a grid
        whose corners are pixel centres, and reads them on one whose corners are pixel corners.
        """
        extents = window.pyramid.extents(base)
        step = extents / (extents - 1).clamp(min=1)
        places = base[:, None, :, None] + offsets
        around = neighbours(base)[:, None] * step  # [9,L,2]
        found = corners(places[..., None, :] + around.transpose(0, 1)[:, None], window.pyramid, level_axis=-4)
        heads = torch.arange(HEADS, dtype=torch.int32, device=base.device).view(-1, 1, 1, 1, 1)
        return gather_sum(keys, found.token * HEADS + heads, found.weight).flatten(2, 3)


def neighbours(like: Tensor) -> Tensor:
    """Offsets of a patch's features [9,2]; the x offset is the slow index."""
    steps = torch.arange(-1, 2, device=like.device, dtype=like.dtype)
    return torch.cartesian_prod(steps, steps)


class Memory:
    """What points bring along to a frame: the patches around their origins [N,9,256], and their past."""

    def __init__(self, context: Tensor, past: Past) -> None:
        self.context, self.past = context, past

    @cached_property
    def turned(self) -> Tensor:
        """See `Past.turned`; once for all layers."""
        return self.past.turned()


class Layer3(UpdatingLayer):
    """One layer of TAPTRv3."""

    def __init__(self) -> None:
        super().__init__()
        self.ltemp_self_attn, self.norm_ltemp = LongAttention(), nn.LayerNorm(WIDTH)
        self.cross_attn = ContextAttention()

    def forward(
        self, z: Tensor, position: Tensor, box: Tensor, window: Window, memory: Memory
    ) -> tuple[Tensor, Tensor]:
        """Content and position codes [1,N,C], boxes [1,N,4] -> content, boxes."""
        z = self.norm_ltemp(z + self.ltemp_self_attn(z[0], memory.past, memory.turned))
        read = self.cross_attn(z + position, memory.context, box[..., :2], window)
        z = self.norm1(z + read.content)
        box = self.moved(box, read, window)
        position = self.update_pos_embed_head(box_code(box))
        z = self.among_points(z, position, window.among_points)
        return self.feed_forward(z), box


class Decoder3(UpdatingDecoder):
    """All layers, and what they share."""

    def __init__(self) -> None:
        super().__init__([Layer3() for _ in range(LAYERS)])

    def forward(
        self, window: Window, memory: Memory, boxes: Tensor, box_heads: nn.ModuleList, class_heads: nn.ModuleList
    ) -> Decoded:
        """A window of one frame; box logits [1,N,4] of the frame before; heads of all layers."""
        return self.decoded(list(self.each_layer(window, memory, boxes, box_heads)), window, boxes, class_heads)

    def each_layer(self, window: Window, memory: Memory, boxes: Tensor, heads: nn.ModuleList) -> Iterator[LayerResult]:
        """The layers, one after the other; `heads` move the boxes."""
        content = memory.context[None, :, CENTRE]
        x, box = content, boxes.sigmoid()
        for number, (layer, head) in enumerate(zip(self.layers, heads, strict=True)):
            position = self.ref_point_head(box_code(box))
            x, moved = layer(self.layer_input(number, x, content), position, box, window, memory)
            result = self.result(x, box, moved, head, window)
            box = result.box
            yield result

"""What strand sees around a place: products of a point's patches with the cells there, and what is made of them.

Local 4D correlation (Cho et al., LocoTrack, ECCV 2024, section 3.2) on three maps, read by two layers; the place is
corrected as in a Kalman filter, by a learned share of what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit.constants import constant, constant_like
from tapkit.models.strand.encoder import LEVEL_STRIDES, STRIDES, Maps, StrandConfig
from tapkit.models.strand.narrow import Narrow
from tapkit.models.strand.rows import LOOKS, filled, picked, rows_at_once
from tapkit.nn.mixed import plain_matmul
from tapkit.nn.packed import Linear, can_pack, onednn, packed_linear
from tapkit.nn.sampling import blend, integer_patch

SEEN = 1 / 16
"""Pixels: from a place that is no further away, nothing else is seen: a 64th of a cell of the finest map."""


def to_cells(xy: Tensor, stride: int) -> Tensor:
    """Pixels, corner origin -> cells of a map, whose centres are whole numbers."""
    return xy / stride - 0.5


def cut(maps: Maps, owner: Tensor, xy: Tensor, patches: tuple[int, ...]) -> tuple[Tensor, ...]:
    """Patches of all maps around xy [M,2] on frames owner [M] -> float32 [M,K,C] each, x slow."""
    result = []
    places = zip(LEVEL_STRIDES, (*patches, 0), strict=True)
    for level, (stride, radius) in zip(maps.levels, places, strict=False):
        cells, fraction = integer_patch(level, owner, to_cells(xy, stride), radius)
        result.append(blend(cells.float(), fraction).flatten(1, 2))
    return tuple(result)


def middles(patches: tuple[Tensor, ...]) -> Tensor:
    """The middle cells of patches [...,K,C] of all maps, side by side: [...,C]."""
    return torch.cat([patch[..., patch.shape[-2] // 2, :] for patch in patches], -1)


def cells_around(radius: int) -> Tensor:
    """Where the cells that are looked at lie from the middle one: float32 [(2r+1)^2,2], x slow."""
    steps = torch.arange(-radius, radius + 1, dtype=torch.float32)
    return torch.cartesian_prod(steps, steps)


class Products(NamedTuple):
    """Products of R templates with the whole cells around R places."""

    base: Tensor
    """float32 [3,R,2]: the cell of each map that the place lies behind."""
    fraction: Tensor
    """[3,R,2]: and how far."""
    values: tuple[Tensor, ...]
    """[R,(2r+2)^2,P] for each map, in the dtype of the map, x slow."""

    def first(self, count: int) -> Products:
        """Of the first rows."""
        return Products(self.base[:, :count], self.fraction[:, :count], tuple(part[:count] for part in self.values))

    def select(self, rows: Tensor) -> Products:
        """Only those rows."""
        values = tuple(picked(part, rows) for part in self.values)
        return Products(self.base.index_select(1, rows), self.fraction.index_select(1, rows), values)

    def blended(self, rows: slice = slice(None)) -> Iterator[Tensor]:
        """Products with the bilinear samples around some of the places: for each map float32 [R,(2r+1)^2,P], x slow."""
        for values, fraction in zip(self.values, self.fraction, strict=True):
            side = math.isqrt(values.shape[1])
            some = values[rows].float().view(-1, side, side, values.shape[2])
            yield blend(some, fraction[rows]).flatten(1, 2)


def correlate(maps: Maps, templates: tuple[Tensor, ...], owner: Tensor, xy: Tensor, radius: int) -> Products:
    """Products of templates [M,P,C] of each map with its cells around places xy [M,K,2] on frames owner [M]; R = M*K.

    They are taken with whole cells and blended afterwards (guides/performance.md section 7, item 4), in the dtype of
    the map: with bfloat16 they are off by 0.002 at most, which moves no maximum by more than a few hundredths of a
    cell, and are three to ten times as fast as products of converted features.
    """
    rows, count = xy.shape[:2]
    base, fraction = _split(maps, xy.flatten(0, 1))
    cells = _cells(maps, owner[:, None].expand(-1, count).flatten(), base, radius).view(len(STRIDES), rows, -1)
    values = []
    for level, template, numbers in zip(maps.learned, templates, cells, strict=True):
        products = []
        for some in rows_at_once(rows, xy.device):
            patch = level.flatten(0, 2).index_select(0, numbers[some].flatten())
            patch = patch.view(-1, numbers.shape[1], level.shape[3])
            products.append(plain_matmul(patch, template[some].to(patch.dtype).transpose(1, 2)))
        whole = products[0] if len(products) == 1 else torch.cat(products)
        values.append(whole.view(rows * count, -1, template.shape[1]))
    return Products(base, fraction, tuple(values))


def correlate_again(
    before: Products, maps: Maps, templates: tuple[Tensor, ...], owner: Tensor, xy: Tensor, radius: int
) -> Products:
    """The same, of places xy [R,1,2] most of which lie within the cells of those of `before`, which is used up.

    Only where they do not are products made anew. The host must wait for which these are, and where parts are compiled,
    each number of them would be compiled anew: there all are made.
    """
    if torch.compiler.is_compiling():
        return correlate(maps, templates, owner, xy, radius)
    base, fraction = _split(maps, xy[:, 0])
    rows = (base != before.base).flatten(2).any(-1).any(0).nonzero()[:, 0]
    if len(rows):
        rows = filled(rows)
        some = tuple(picked(template, rows) for template in templates)
        moved = correlate(maps, some, picked(owner, rows), picked(xy, rows), radius)
        for old, new in zip(before.values, moved.values, strict=True):
            old[rows] = new
    return Products(base, fraction, before.values)


def _split(maps: Maps, xy: Tensor) -> tuple[Tensor, Tensor]:
    """Places xy [R,2] in cells of three maps: whole parts and fractions [3,R,2]. Far outside, where only the border
    counts, they are cut off."""
    cells = xy / constant_like([[float(stride)] for stride in STRIDES], xy)[:, None] - 0.5
    far = float(2 * max(maps.fine.shape[1:3]))
    cells = torch.nan_to_num(cells, nan=-far, posinf=far, neginf=-far).clamp(-far, far)
    base = cells.floor()
    return base, cells - base


def _cells(maps: Maps, owner: Tensor, base: Tensor, radius: int) -> Tensor:
    """Which cells of the flattened maps lie around `base` [3,R,2] on frames owner [R]: int64 [3,R*(2r+2)^2], x slow,
    the map going on beyond its border (as `nn.sampling.integer_cells`, of three maps at once)."""
    sides = [[level.shape[2], level.shape[1]] for level in maps.learned]
    sizes = constant(sides, torch.int64, base.device)[:, None]  # [3,1,2]
    steps = torch.arange(-radius, radius + 2, device=base.device)
    place = torch.minimum((base.long()[..., None] + steps).clamp_(min=0), (sizes - 1)[..., None])  # [3,R,2,2r+2]
    row = place[:, :, 1] + (owner * sizes[..., 1])[..., None]  # of all rows of all frames
    return (place[:, :, 0, :, None] + (row * sizes[..., :1])[:, :, None]).flatten(1)


class Enter(Linear):
    """The layer that takes in products with each map, as `in_order` has them, and `more` numbers behind them; a GELU.

    In two steps, `taken_in` and `with_more`: a further look has other numbers, but mostly the same products, and these
    are twenty times as many.

    Its weights are of products patch after patch, `correlate` has them cell after cell. To turn all over takes as long
    as to blend them: where weights are packed, they are turned over instead, once.
    """

    packed_more: Tensor | None = None

    def __init__(self, patches: tuple[int, ...], cells: int, more: int, outputs: int) -> None:
        self.products, self.more = sum(patches) * cells, more
        super().__init__(self.products + more, outputs)
        self.shapes = tuple((patch, cells) for patch in patches)

    def in_order(self, products: Tensor) -> Tensor:
        """Products with one map [R,(2r+1)^2,P], in the order of the weights as they are: [R,n]."""
        return (products.transpose(1, 2) if self.packed is None else products).flatten(1)

    def forward(self, products: Tensor, more: Tensor) -> Tensor:  # type: ignore[override]
        """The answer [R,out] of all products [R,n] and the other numbers [R,more]."""
        return self.with_more(self.taken_in(products), more)

    def taken_in(self, products: Tensor) -> Tensor:
        """What all products [R,n] add up to, with the bias: [R,out]."""
        if self.packed is None:
            return F.linear(products, self.weight[:, : self.products], self.bias)
        return packed_linear(products, self.packed, self.bias)

    def with_more(self, taken: Tensor, more: Tensor) -> Tensor:
        """The answer, of that and the other numbers."""
        if self.packed_more is None:
            return F.gelu(torch.addmm(taken, more, self.weight[:, self.products :].T))
        return F.gelu(packed_linear(more, self.packed_more, None, residual=taken))

    def pack(self) -> None:
        """See `Packable`."""
        if self.packed is None and can_pack(self.weight):
            more = self.weight.detach()[:, self.products :].contiguous()
            self.packed_more = onednn("_reorder_linear_weight", more, None)
        super().pack()

    def unpack(self) -> None:
        """See `Packable`."""
        super().unpack()
        self.packed_more = None

    def _pack_weight(self) -> Tensor:
        turned = _turned(self.weight[:, : self.products], self.shapes)
        return onednn("_reorder_linear_weight", turned, None)

    def _dense(self, packed: Tensor) -> Tensor:
        assert self.packed_more is not None
        turned = _turned(packed.to_dense(), tuple((cells, patch) for patch, cells in self.shapes))
        return torch.cat([turned, self.packed_more.to_dense()], 1)


def _turned(weight: Tensor, shapes: tuple[tuple[int, int], ...]) -> Tensor:
    """Weights [out,in] whose inputs are n x m of each of `shapes` in turn, with these as m x n."""
    parts = torch.split(weight, [n * m for n, m in shapes], 1)
    turned = [part.reshape(-1, *shape).transpose(1, 2).flatten(1) for part, shape in zip(parts, shapes, strict=True)]
    return torch.cat(turned, 1)


class Reading(NamedTuple):
    """What a look at R places reads, for a further look of the same points (`Look.forward`)."""

    xy: Tensor
    """[R,2] the places."""
    products: Products
    taken: Tensor
    """[R,mixed] what the first layer makes of all products (`Enter.taken_in`)."""
    centre: Tensor
    """float32 [R,3,(2r+1)^2] products with the middle of both patches, their mean, on each map."""

    def first(self, count: int) -> Reading:
        """Of the first rows."""
        return Reading(self.xy[:count], self.products.first(count), self.taken[:count], self.centre[:count])


class Seen(NamedTuple):
    """What a look yields, R = M*K places."""

    token: Tensor
    """[R,hidden]."""
    xy: Tensor
    """[R,2] the places, corrected."""
    around: Tensor
    """[R,(2r+1)^2] logits on the fine map."""
    readings: list[Reading]
    """What it was taken from, in parts."""


class Look(nn.Module):
    """What is seen around a position, as a token, and where the point is according to it."""

    offsets: Tensor

    def __init__(self, config: StrandConfig) -> None:
        super().__init__()
        self.config = config
        self.sharpness = nn.Parameter(torch.full((3,), 2.5))
        # Which stage this is, how far the look is from where the point was expected, how good it looks there on each
        # map, and what `follow` says of the pixels that led there.
        more = config.hidden + 1 + 2 + 3 + 2
        patches = tuple(2 * (2 * patch + 1) ** 2 for patch in config.patches)
        self.enter = Enter(patches, (2 * config.radius + 1) ** 2, more, config.mixed)
        self.mix = Linear(config.mixed, config.hidden)
        self.shares = Narrow(config.hidden, 3)
        self.gain = Narrow(config.hidden, 1)
        # What pixels say is better than what features say at first; the other way round where features led here.
        # Rows: first and last look; columns: from where the pixels went, from elsewhere.
        self.trust = nn.Parameter(torch.tensor([[-4.0, 1.0], [-4.0, -1.0]]))
        self.shift = Narrow(config.hidden, 2)
        nn.init.zeros_(self.shift.weight)
        nn.init.zeros_(self.shift.bias)
        self.register_buffer("offsets", cells_around(config.radius), persistent=False)

    def forward(
        self,
        maps: Maps,
        templates: tuple[Tensor, ...],
        hidden: Tensor,
        owner: Tensor,
        xy: Tensor,
        away: Tensor,
        similarity: Tensor,
        elsewhere: Tensor,
        stage: int,
        before: list[Reading] | None = None,
    ) -> Seen:
        """Look around xy [M,K,2], which is `away` [M,K,2] pixels from where the point was expected.

        `similarity` [M,K,2]: how sure it is that the pixels there are those of the frame before (0: not known),
        `elsewhere` int64 [M,K]: 0 where the look begins where the pixels went, 1 where it does not.
        `templates` [M,P,C] for each map are the patches of the query and of the memory, `hidden` [M,hidden] the state,
        `owner` [M] the frame of each row, `stage` 0 for candidates and 1 for the last look. `before` are the readings
        of an earlier look of the same points at one place each, mostly nearby; they are used up.
        """
        own = (hidden, xy, away, similarity, elsewhere)
        found = []
        for part, rows in enumerate(rows_at_once(len(xy), xy.device, LOOKS)):
            some = tuple(template[rows] for template in templates)
            where = (maps, some, owner[rows], xy[rows])
            reading = self._read(*where) if before is None else self._read_again(before[part], *where)
            found.append(self._judge(stage, reading, *(x[rows] for x in own)))
        if len(found) == 1:
            return found[0]
        token, xy, around = (torch.cat(parts) for parts in zip(*(seen[:3] for seen in found), strict=True))
        return Seen(token, xy, around, [reading for seen in found for reading in seen.readings])

    def _read(self, maps: Maps, templates: tuple[Tensor, ...], owner: Tensor, xy: Tensor) -> Reading:
        """What is seen around places xy [M,K,2]."""
        products = correlate(maps, templates, owner, xy, self.config.radius)
        return Reading(xy.flatten(0, 1), products, *self._blended(products))

    def _read_again(
        self, before: Reading, maps: Maps, templates: tuple[Tensor, ...], owner: Tensor, xy: Tensor
    ) -> Reading:
        """The same around xy [R,1,2] where `before`, which is used up, was not taken from there (`SEEN`)."""
        if torch.compiler.is_compiling():  # each number of rows would be compiled anew
            return self._read(maps, templates, owner, xy)
        rows = (~((xy[:, 0] - before.xy).abs() <= SEEN)).any(-1).nonzero()[:, 0]
        if not len(rows):
            return before
        rows = filled(rows)
        products = correlate_again(
            before.products.select(rows),
            maps,
            tuple(picked(template, rows) for template in templates),
            picked(owner, rows),
            picked(xy, rows),
            self.config.radius,
        )
        before.taken[rows], before.centre[rows] = self._blended(products)
        return before

    def _blended(self, products: Products) -> tuple[Tensor, Tensor]:
        """`Reading.taken` and `Reading.centre`."""
        count = len(products.values[0])
        inputs = products.base.new_empty(count, self.enter.products, dtype=self.enter.weight.dtype)
        centre = products.base.new_empty(count, len(STRIDES), len(self.offsets))
        for rows in rows_at_once(count, inputs.device):
            begin = 0
            for number, volume in enumerate(products.blended(rows)):
                patch = volume.shape[2] // 2
                centre[rows, number] = (volume[..., patch // 2] + volume[..., patch + patch // 2]) / 2
                end = begin + volume.shape[1] * volume.shape[2]
                inputs[rows, begin:end] = self.enter.in_order(volume)
                begin = end
        return self.enter.taken_in(inputs), centre

    def _judge(
        self,
        stage: int,
        reading: Reading,
        hidden: Tensor,
        xy: Tensor,
        away: Tensor,
        similarity: Tensor,
        elsewhere: Tensor,
    ) -> Seen:
        """See `forward`."""
        count = xy.shape[1]
        places, centre = xy.flatten(0, 1), reading.centre
        logits = centre * self.sharpness.float().exp()[:, None]
        strides = constant_like([[float(stride)] for stride in STRIDES], logits)
        shifts = (logits.softmax(-1) @ self.offsets) * strides
        stage_mark = places.new_full((len(places), 1), float(stage))
        state = hidden[:, None].expand(-1, count, -1).flatten(0, 1)
        known = [state, stage_mark, torch.tanh(away.flatten(0, 1) / 16), centre.amax(-1), similarity.flatten(0, 1)]
        more = torch.cat(known, 1).to(reading.taken.dtype)
        token = self.mix(self.enter.with_more(reading.taken, more), "gelu").float()
        shares = self.shares(token).softmax(-1)
        correction = (shifts * shares[..., None]).sum(1) + STRIDES[0] * self.shift(token)
        # As in a Kalman filter, a measurement moves an expectation by a share of their difference.
        trust = self.trust[stage][elsewhere.flatten()]
        correction = correction * torch.sigmoid(self.gain(token) + trust[:, None])
        return Seen(token, places + correction, logits[:, 0], [reading])

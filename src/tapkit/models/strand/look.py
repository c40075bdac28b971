"""What strand sees around a place: products of a point's patches with the cells there, and what is made of them.

Local 4D correlation (`correlation`) on three maps, read by two layers; the place is corrected as in a Kalman filter, by
a learned share of what was measured.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tapkit.constants import constant_like
from tapkit.models.strand.correlation import Products, cells_around, correlate, correlate_again
from tapkit.models.strand.encoder import STRIDES, Maps, StrandConfig
from tapkit.models.strand.intake import Enter
from tapkit.models.strand.narrow import Narrow
from tapkit.models.strand.rows import LOOKS, filled, picked, rows_at_once
from tapkit.nn.packed import Linear

SEEN = 1 / 16
"""Pixels: from a place that is no further away, nothing else is seen: a 64th of a cell of the finest map."""


class Reading(NamedTuple):
    """What a look at R places reads, for a further look of the same points (`Look.forward`)."""

    xy: Tensor
    """[R,2] the places."""
    products: Products
    taken: Tensor
    """[R,mixed] what the first layer makes of all products (`Enter.taken_in`)."""
    centre: Tensor
    """float32 [R,3,(2r+1)^2] products with the middle of both patches, their mean, on each map."""
    own: tuple[Tensor, ...]
    """[R,(2r+1)^2,P] products with the query's patches alone, on each map; none where nothing asks for them."""

    def first(self, count: int) -> Reading:
        """Of the first rows."""
        own = tuple(part[:count] for part in self.own)
        return Reading(self.xy[:count], self.products.first(count), self.taken[:count], self.centre[:count], own)


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
        self.enter = Enter(patches, (2 * config.radius + 1) ** 2, config.mixed, more)
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
        return Reading(xy.flatten(0, 1).clone(), products, *self._blended(products))

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
        before.xy[rows] = picked(xy[:, 0], rows)
        before.taken[rows], before.centre[rows], own = self._blended(products)
        for old, new in zip(before.own, own, strict=True):
            old[rows] = new
        return before

    def _blended(self, products: Products) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """`Reading.taken`, `Reading.centre` and `Reading.own`."""
        count, dtype = len(products.values[0]), self.enter.weight.dtype
        inputs = products.base.new_empty(count, self.enter.products, dtype=dtype)
        centre = products.base.new_empty(count, len(STRIDES), len(self.offsets))
        queries = [part.shape[2] // 2 for part in products.values] if self.config.refine else []
        own = tuple(products.base.new_empty(count, len(self.offsets), patch, dtype=dtype) for patch in queries)
        for rows in rows_at_once(count, inputs.device):
            begin = 0
            for number, volume in enumerate(products.blended(rows)):
                patch = volume.shape[2] // 2
                centre[rows, number] = (volume[..., patch // 2] + volume[..., patch + patch // 2]) / 2
                end = begin + volume.shape[1] * volume.shape[2]
                inputs[rows, begin:end] = self.enter.in_order(volume)
                begin = end
                if own:
                    own[number][rows] = volume[..., :patch]
        return self.enter.taken_in(inputs), centre, own

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

"""What strand sees around a place: products of a point's patches with the cells there, and what is made of them.

Local 4D correlation (Cho et al., LocoTrack, ECCV 2024, section 3.2) on three maps, read by two layers; the place is
corrected as in a Kalman filter, by a learned share of what was measured.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tapkit.models.strand.encoder import STRIDES, Maps, StrandConfig
from tapkit.nn.packed import Linear
from tapkit.nn.sampling import blend, integer_patch


def to_cells(xy: Tensor, stride: int) -> Tensor:
    """Pixels, corner origin -> cells of a map, whose centres are whole numbers."""
    return xy / stride - 0.5


def cut(maps: Maps, owner: Tensor, xy: Tensor, patches: tuple[int, ...]) -> tuple[Tensor, ...]:
    """Patches of all maps around xy [M,2] on frames owner [M] -> float32 [M,K,C] each, x slow."""
    result = []
    for level, stride, radius in zip(maps, STRIDES, patches, strict=True):
        cells, fraction = integer_patch(level, owner, to_cells(xy, stride), radius)
        result.append(blend(cells.float(), fraction).flatten(1, 2))
    return tuple(result)


def correlate(level: Tensor, templates: Tensor, owner: Tensor, cells: Tensor, radius: int) -> Tensor:
    """Products of templates [M,P,C] with the cells around positions [M,K,2] -> float32 [M*K,P,(2r+1)^2], x slow.

    The products are taken with whole cells and blended afterwards (guides/performance.md section 7, item 4), in the
    dtype of the map: with bfloat16 they are off by 0.002 at most, which moves no maximum by more than a few hundredths
    of a cell, and are three to ten times as fast as products of converted features.
    """
    rows, count = cells.shape[:2]
    patch, fraction = integer_patch(level, owner.repeat_interleave(count), cells.flatten(0, 1), radius)
    side = 2 * radius + 2
    with torch.autocast(level.device.type, enabled=False):
        patch = patch.view(rows, count * side * side, patch.shape[-1])
        products = torch.matmul(patch, templates.to(patch.dtype).transpose(1, 2)).float()
    products = products.view(rows * count, side, side, products.shape[-1])
    return blend(products, fraction).flatten(1, 2).transpose(1, 2)


class Look(nn.Module):
    """What is seen around a position, as a token, and where the point is according to it."""

    offsets: Tensor

    def __init__(self, config: StrandConfig) -> None:
        super().__init__()
        self.config = config
        self.sharpness = nn.Parameter(torch.full((3,), 2.5))
        # Which stage this is, how far the look is from where the point was expected, how good it looks there on each
        # map, and what `follow` says of the pixels that led there.
        self.enter = Linear(config.volume + config.hidden + 1 + 2 + 3 + 2, config.mixed)
        self.mix = Linear(config.mixed, config.hidden)
        self.shares = Linear(config.hidden, 3)
        self.gain = Linear(config.hidden, 1)
        # What pixels say is better than what features say at first; the other way round where features led here.
        # Rows: first and last look; columns: from where the pixels went, from elsewhere.
        self.trust = nn.Parameter(torch.tensor([[-4.0, 1.0], [-4.0, -1.0]]))
        self.shift = Linear(config.hidden, 2)
        nn.init.zeros_(self.shift.weight)
        nn.init.zeros_(self.shift.bias)
        steps = torch.arange(-config.radius, config.radius + 1, dtype=torch.float32)
        self.register_buffer("offsets", torch.cartesian_prod(steps, steps), persistent=False)

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
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Look around xy [M,K,2], which is `away` [M,K,2] pixels from where the point was expected.

        `similarity` [M,K,2]: how sure it is that the pixels there are those of the frame before (0: not known),
        `elsewhere` int64 [M,K]: 0 where the look begins where the pixels went, 1 where it does not.
        `templates` [M,P,C] for each map are the patches of the query and of the memory, `hidden` [M,hidden] the state,
        `owner` [M] the frame of each row, `stage` 0 for candidates and 1 for the last look.
        Returns tokens [M*K,hidden], corrected positions [M*K,2] and the logits on the fine map [M*K,(2r+1)^2].
        """
        volumes, shifts, best, logits = [], [], [], []
        dtype = self.enter.weight.dtype
        for number, (level, stride) in enumerate(zip(maps, STRIDES, strict=True)):
            volume = correlate(level, templates[number], owner, to_cells(xy, stride), self.config.radius)
            count = volume.shape[1] // 2
            centre = (volume[:, count // 2] + volume[:, count + count // 2]) / 2
            logits.append(centre * self.sharpness[number].float().exp())
            shifts.append((logits[-1].softmax(-1)[..., None] * self.offsets).sum(1) * stride)
            best.append(centre.amax(-1))
            volumes.append(volume.to(dtype).flatten(1))
        places = xy.flatten(0, 1)
        stage_mark = places.new_full((len(places), 1), float(stage))
        known = [hidden.repeat_interleave(xy.shape[1], 0), stage_mark, torch.tanh(away.flatten(0, 1) / 16)]
        rest = torch.cat([*known, torch.stack(best, 1), similarity.flatten(0, 1)], 1)
        seen = torch.cat([*volumes, rest.to(dtype)], 1)
        token = self.mix(self.enter(seen, "gelu"), "gelu")
        shares = self.shares(token).float().softmax(-1)
        correction = (torch.stack(shifts, 1) * shares[..., None]).sum(1) + STRIDES[0] * self.shift(token).float()
        # As in a Kalman filter, a measurement moves an expectation by a share of their difference.
        trust = self.trust[stage][elsewhere.flatten()]
        correction = correction * torch.sigmoid(self.gain(token).float() + trust[:, None])
        return token.float(), places + correction, logits[0]

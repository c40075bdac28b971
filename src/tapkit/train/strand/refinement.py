"""What the refinement learns from: pairs of frames in any order, in which each point is looked for from nearby.

Nothing is tracked, so that a step has thousands of pairs, each under another view and other light (`train.cache`); the
tracker that it is for is off by as much as the places that are begun from here.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tapkit.models.strand.encoder import Maps
from tapkit.models.strand.patches import cut
from tapkit.models.strand.refinement import Refine
from tapkit.train.batch import Batch

APART = (1, 2, 3)
"""A frame's points are looked for in the frames so many places further on in the clip, cyclically."""
ROWS = 2000
"""Of so many pairs at most."""
OFF = (2.0, 5.0)
"""Pixels: standard deviations of how far off the place is that is begun from, in each direction,"""
FAR = 0.3
"""the second for this share of the pairs."""
TIMES = 2
"""Each is refined so often in a row."""
LARGEST, BEND = 24.0, 6.0
"""Pixels: errors above the first have no gradient, those above the second hardly one: what cannot be seen from where it
is begun must not count without end."""
UNSURE = 60.0
"""Pixels: larger errors tell the width nothing more."""
WIDTH = 0.3
"""Weight of how well the width is known, beside the errors."""
WITHIN = 2.0


class Pairs(NamedTuple):
    """M points, each on two frames of a batch."""

    query: Tensor
    """[M,2] pixels."""
    asked: Tensor
    """int64 [M] its frame, of all frames clip after clip."""
    target: Tensor
    """[M,2] where it is on the other one."""
    owner: Tensor
    """int64 [M] which one that is."""


def refinement_losses(
    refine: Refine, maps: Maps, batch: Batch, patches: tuple[int, ...], seed: int
) -> dict[str, Tensor]:
    """Losses of clips whose frames are in any order, whose `maps` are given clip after clip.

    "refinement", and "refined_within_2", which is no loss: the share that ends within two pixels. Both are 0 where no
    point is visible on two frames.
    """
    random = torch.Generator().manual_seed(seed)
    pairs = drawn(batch, random)
    count = len(pairs.target)
    if not count:
        zero = torch.stack([parameter.sum() * 0 for parameter in refine.parameters()]).sum()
        return {"refinement": zero, "refined_within_2": zero}
    maps = Maps(*(level.float() for level in maps))
    query = cut(maps, pairs.asked, pairs.query, patches)
    off = torch.where(torch.rand(count, 1, generator=random) < FAR, OFF[1], OFF[0])
    place = pairs.target + (off * torch.randn(count, 2, generator=random)).to(pairs.target)
    total = batch.xy.new_zeros(())
    with torch.autocast(place.device.type, enabled=False):
        for _ in range(TIMES):
            place, spread = refine.around(maps, query, pairs.owner, place.detach())
            error = ((place - pairs.target).square().sum(-1) + 1e-4).sqrt()
            bent = error.clamp(max=LARGEST) / (1 + error.detach() / BEND)
            known = error.detach().clamp(max=UNSURE) / spread.exp() + spread
            total = total + (bent + WIDTH * known).mean()
    return {"refinement": total, "refined_within_2": (error.detach() < WITHIN).float().mean()}


def drawn(batch: Batch, random: torch.Generator) -> Pairs:
    """`ROWS` pairs of a batch at most, of points that are visible on both frames."""
    clips, frames = batch.video.shape[:2]
    xy = torch.nan_to_num(batch.xy).transpose(1, 2)
    seen = (batch.visible & batch.known).transpose(1, 2)
    number = torch.arange(clips * frames, device=xy.device).view(clips, frames, 1).expand(seen.shape)
    parts = []
    for apart in (n for n in APART if n < frames):
        keep = seen.roll(apart, 1) & seen
        parts.append((xy.roll(apart, 1)[keep], number.roll(apart, 1)[keep], xy[keep], number[keep]))
    query, asked, target, owner = (torch.cat(part) for part in zip(*parts, strict=True))
    rows = torch.randperm(len(query), generator=random)[:ROWS].to(query.device)
    return Pairs(query[rows], asked[rows], target[rows], owner[rows])

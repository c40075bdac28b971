"""Whether a track is the query's own: the way back must lead to where it came from.

A point under a hand is carried off by the hand, and all that a causal tracker sees says that all is well. Followed back
from there it stays with the hand, which comes from elsewhere (forward-backward error: Kalal et al., ICPR 2010; there
from frame to frame with pixels, here over whole stretches and with all that strand knows). The clip is gone through in
blocks; in each, points run back from where they were seen last to the last frame that was found to be right.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tapkit.models.base import Size
from tapkit.models.strand.clip.film import Film
from tapkit.models.strand.clip.runs import First, Run, back
from tapkit.models.strand.frame_motion import unit_of
from tapkit.models.strand.tracker import Strand

BLOCK = 32
"""Frames: so often a way back begins."""
LONGEST = 3
"""Blocks that a way back goes through at most."""
SEEN = 0.25
"""P(visible) P(right) from which a point counts as seen; strand's own threshold."""
INSISTS = 0.4
"""And from which two runs that are apart contradict each other."""
APART = 8.0
"""Pixels of a frame of 256x256 (of that many pixels, whatever its shape): two runs are at different places."""
ARRIVED = 6.0
"""Pixels of that frame: so near must a way back come to the query."""
TOGETHER = 2.0
"""And so near is the same place."""


class Verdict(NamedTuple):
    """Of N points on T frames; neither where nothing is known."""

    refuted: Tensor
    """[N,T] bool: the way back goes through this place and does not lead to the query."""
    confirmed: Tensor
    """[N,T] bool: it goes through this place and leads there."""


def verdict(strand: Strand, film: Film, size: Size, t: Tensor, xy: Tensor, first: First) -> Verdict:
    """Go back over the `first` run from queries t int64 [N], xy [N,2]."""
    unit = unit_of(size)
    count, frames = first.run.sure.shape
    number = torch.arange(frames, device=t.device)
    result = Verdict(*(torch.zeros(count, frames, dtype=torch.bool, device=t.device) for _ in range(2)))
    right = t.clone()
    """Last frame of each point that was found to be right."""
    for begin in range(0, frames, BLOCK):
        inside = (number >= begin) & (number < begin + BLOCK)
        seen = (first.run.sure > SEEN) & inside & (number > right[:, None])
        rows = torch.nonzero(seen.any(1))[:, 0]
        if not len(rows):
            continue
        start = (seen[rows] * number).amax(1)
        stop = torch.maximum(right[rows], start - LONGEST * BLOCK)
        mine = Run(first.run.xy[rows], first.run.sure[rows])
        there = mine.xy[torch.arange(len(rows), device=t.device), start]
        way = back(strand, film, size, first.scales.select(rows), start, there, stop)
        covered = (number >= stop[:, None]) & (number <= start[:, None])
        broken, near = compared(mine, way, stop, unit)
        result.refuted[rows] = torch.where(covered, broken & (near < APART), result.refuted[rows])
        result.confirmed[rows] = torch.where(covered, ~broken & (near < TOGETHER), result.confirmed[rows])
        arrived = ~broken.gather(1, start[:, None])[:, 0]
        right[rows] = torch.where(arrived, start, right[rows])
    return result


def compared(there: Run, back_again: Run, stop: Tensor, unit: float) -> tuple[Tensor, Tensor]:
    """Two runs [M,T] over the same frames, the second of which ends on frames `stop` [M].

    Whether they contradicted each other on an earlier frame, [M,T] bool: then what comes later does not come from the
    query. And how far apart they are, [M,T] in units of `unit` pixels, infinite where one of them is not known.
    """
    number = torch.arange(there.sure.shape[1], device=stop.device)
    apart = (there.xy - back_again.xy).square().sum(-1).sqrt() / unit
    apart = apart.nan_to_num(float("inf"))
    known = back_again.xy.isfinite().all(-1)
    against = known & (apart > APART) & (there.sure > INSISTS) & (back_again.sure > INSISTS)
    against |= (number == stop[:, None]) & (apart > ARRIVED)
    counted = against.long().cumsum(1)
    return counted - against.long() > 0, apart

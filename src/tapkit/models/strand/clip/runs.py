"""Runs of strand over a clip whose features are there: from each query on, and back from where it was seen last."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.models.base import Size
from tapkit.models.strand.clip.film import Film
from tapkit.models.strand.encoder import STRIDES, Maps
from tapkit.models.strand.scales import OWN, Scales
from tapkit.models.strand.tracker import Strand, StrandState
from tapkit.nn.transfer import indices


class Run(NamedTuple):
    """Where N points were found on T frames; NaN and 0 on frames that were not gone through."""

    xy: Tensor
    """[N,T,2] pixels."""
    sure: Tensor
    """[N,T] P(visible) times P(right)."""

    @classmethod
    def empty(cls, count: int, frames: int, device: torch.device) -> Run:
        """Nothing has been gone through yet."""
        return cls(
            torch.full((count, frames, 2), float("nan"), device=device), torch.zeros(count, frames, device=device)
        )


class First(NamedTuple):
    """The run from the queries on, and how well the queries' features fit where it leads."""

    run: Run
    likely: Tensor
    """[N,T] log of the share that the place has in the whole frame, by the query's features on the two coarser maps."""
    scales: Scales
    """The N queries at all sizes, of which nothing has been seen."""


def onwards(strand: Strand, film: Film, size: Size, t: Tensor, xy: Tensor) -> First:
    """Follow points from their queries on: t int64 [N] frames, xy [N,2] pixels."""
    run = Run.empty(len(t), len(film), strand.device)
    likely = torch.zeros_like(run.sure)
    state, rows = strand.start(size), t[:0]
    starts = t.tolist()
    for frame in range(min(starts, default=0), len(film)):
        new = indices((n for n, start in enumerate(starts) if start == frame), t.device)
        features = film.at(frame)
        state, found = strand.follow(state, features, size, xy[new])
        rows = torch.cat([rows, new])
        run.xy[rows, frame], run.sure[rows, frame] = found.xy, found.visible * found.confidence
        likely[rows, frame] = share_of_frame(strand, features.maps, state.query, found.xy)
    return First(run, likely, state.scales.select(rows.argsort()).anew())


def back(strand: Strand, film: Film, size: Size, scales: Scales, start: Tensor, xy: Tensor, stop: Tensor) -> Run:
    """Follow points from xy [N,2] on frames `start` [N] back to frames `stop` [N], looking for their queries' patches.

    They begin anew: what the first run remembers of how they looked, and of where they were, is not known.
    """
    run = Run.empty(len(start), len(film), strand.device)
    starts, stops = torch.stack([start, stop]).tolist()
    state, rows, going = strand.start(size), start[:0], list[int]()  # `going`: the rows, as the host knows them
    for frame in range(max(starts, default=-1), min(stops, default=0) - 1, -1):
        on = [n for n, row in enumerate(going) if stops[row] <= frame]
        if len(on) < len(going):
            kept = indices(on, start.device)
            state, rows, going = strand.select(state, kept), rows[kept], [going[n] for n in on]
        begin = [row for row, first in enumerate(starts) if first == frame]
        going += begin
        if not going:
            continue
        new = indices(begin, start.device)
        features = film.at(frame)
        state, found = strand.follow(state, features._replace(frame=features.frame[:0]), size, xy[new])
        state = _asked_for(state, scales.select(new))
        rows = torch.cat([rows, new])
        run.xy[rows, frame], run.sure[rows, frame] = found.xy, found.visible * found.confidence
    return run


def _asked_for(state: StrandState, scales: Scales) -> StrandState:
    """The state, whose last rows look for the patches of other queries."""
    if not len(scales.chosen):
        return state  # on most frames: nothing is copied
    old = torch.arange(len(state.xy) - len(scales.chosen), device=scales.chosen.device)
    new = zip(state.query, scales.patches, strict=True)
    query = tuple(torch.cat([here[old], patch[:, OWN].float()]) for here, patch in new)
    return state._replace(query=query, scales=state.scales.select(old).joined(scales))


def share_of_frame(strand: Strand, maps: Maps, query: tuple[Tensor, ...], xy: Tensor) -> Tensor:
    """Log of how much of all likelihood in one frame lies at xy [M,2], by patches of the query's features: [M].

    By the maps of strides 8 and 16 and the temperatures of global matching; the best of the 3x3 cells counts.
    """
    total: Tensor | None = None
    for number in (1, 2):
        level, patch = maps[number], query[number]
        feature = patch[:, patch.shape[1] // 2] * strand.network.temperature[number].float().exp()
        products = F.linear(feature.to(level.dtype), level[0].flatten(0, 1)).float().view(-1, 1, *level.shape[1:3])
        if total is not None:
            products = F.interpolate(products, size=total.shape[2:], mode="bilinear", align_corners=False)
        total = products if total is None else total + products
    assert total is not None
    height, width = total.shape[2:]
    cell = (xy / STRIDES[1]).floor().long()
    steps = torch.arange(-1, 2, device=xy.device)
    x = (cell[:, :1] + steps.repeat(3)).clamp(0, width - 1)
    y = (cell[:, 1:] + steps.repeat_interleave(3)).clamp(0, height - 1)
    flat = total.flatten(1)
    return flat.gather(1, y * width + x).amax(-1) - flat.logsumexp(-1)

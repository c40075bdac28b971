"""Track-On2 with 64 points, one streamed frame of 256x256 (its network sees 384x512), full memories, no support grid.

The table of reference_cost.md has no row for it. `--set plain=true` measures the same formula with stock modules: plain
linear layers and convolutions, deformable attention by `grid_sample`, a similarity map of each point at each of four
strides, and memory tokens updated in the last layer too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from calls import HEIGHT, WIDTH, frames, queries
from tapkit.models.trackon import deformable
from tapkit.models.trackon.backbone import map_sizes
from tapkit.models.trackon.deformable import as_maps
from tapkit.models.trackon.network import FrameMaps, TrackOnNetwork
from tapkit.models.trackon.tracker import build_track_on2
from tapkit.nn.deformable_attention import by_grid_sample
from tapkit.nn.packed import unpack

REFERENCE = None


class Plain(TrackOnNetwork):
    """The network without what was worked out to make it cheaper."""

    def similarity(self, query: Tensor, maps: FrameMaps) -> Tensor:
        sizes = map_sizes(self.config.size)
        levels = []
        for level in as_maps(maps.tokens, sizes):
            cosine = F.normalize(query, dim=-1) @ F.normalize(level[0].flatten(1), dim=0)
            maps_of_points = cosine.view(len(query), 1, *level.shape[-2:])
            levels.append(F.interpolate(maps_of_points, sizes[0], mode="bilinear", align_corners=False))
        out: Tensor = self.ms_corr_proj(torch.cat(levels, 1))
        return out.flatten(1)

    def _remember(self, layer: int, tokens: Tensor, codes: Tensor, filled: Tensor | None) -> Tensor:
        block: Any = self.memory_attention[layer]
        coded = tokens + codes
        mask = None if filled is None else filled[:, None, None]
        out: Tensor = block(coded, block.mha.keys_values(coded, tokens), mask)
        return out


def reference_call(parity: Any, plain: bool = False, **options: Any) -> Callable[[], Any]:
    """One step of a stream that has held the protocol's 64 points for longer than it remembers."""
    options = {"support": 0, "memory_frames": 24} | options
    model = build_track_on2(parity.weights("trackon2"), **options)
    if plain:
        unpack(model.network)
        model.network.__class__ = Plain
        deformable.deformable_attention = by_grid_sample
    video, points = frames(parity, 2), queries(parity)[:, 1:] + 0.5
    state, _ = model.step(model.start((HEIGHT, WIDTH)), video[0], points)
    state, none = state._replace(points=state.points._replace(age=state.points.age + 23)), torch.zeros(0, 2)
    return lambda: model.step(state, video[1], none)

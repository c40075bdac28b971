"""What DOT does for each frame of a dense result: one frame encoded, and the pair that it ends refined.

The protocol's clip at the 512x512 of the published figures; 2048 sparse tracks are given: they are another tracker's.
`--set plain=true` is the yardstick: the same network with torch's own convolutions, and the spec's plain formula of
correlations (a table of all pairs, averaged over 2x2 cells, read by `grid_sample`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from calls import HEIGHT, WIDTH, frames
from tapkit.flow.dot import network
from tapkit.flow.dot.coarse import SparseTracks, unit
from tapkit.flow.dot.motion import ClipMotion
from tapkit.flow.dot.tracker import Dot, build
from tapkit.nn.packed import unpack

REFERENCE = None
TRACKS = 2048


def motion(parity: Any, count: int, **options: Any) -> tuple[Dot, ClipMotion]:
    """The model with seeded weights, and the first `count` frames with sparse tracks that wander a few pixels."""
    model = build(parity.weights("dot_refiner"), **options)
    draw = torch.Generator().manual_seed(0)
    start = torch.rand(1, TRACKS, 2, generator=draw) * torch.tensor([WIDTH - 1.0, HEIGHT - 1.0])
    xy = (
        start
        + torch.randn(count, 1, 2, generator=draw).mul(2).cumsum(0)
        + torch.randn(count, TRACKS, 2, generator=draw)
    )
    visible = torch.rand(count, TRACKS, generator=draw) < 0.8
    return model, model.motion(frames(parity, count), SparseTracks(unit(xy, (HEIGHT, WIDTH)), visible))


def reference_call(parity: Any, plain: bool = False, **options: Any) -> Callable[[], Any]:
    """The first frame's features and nearest tracks are there; the second frame is encoded, the pair refined."""
    model, clip = motion(parity, 2, **options)
    if plain:
        unpack(model.network)
        network.Correlation = PlainCorrelation  # type: ignore[misc,assignment]
    clip.matching(0), clip.context(0), clip.coarse(0, 1)

    def call() -> Any:
        clip._matching.pop(1, None)
        return clip.dense(0, 1)

    return call


class PlainCorrelation:
    """Correlations as RAFT's paper writes them, with torch's stock functions."""

    def __init__(self, first: Tensor, second: Tensor, radius: int, levels: int) -> None:
        count, channels, height, width = first.shape
        table = torch.einsum("pchw,pcij->phwij", first.float(), second.float()) / channels**0.5
        maps = table.reshape(count * height * width, 1, height, width)
        self.maps = [maps]
        for _ in range(levels - 1):
            self.maps.append(F.avg_pool2d(self.maps[-1], 2))
        self.radius = radius

    def at(self, target: Tensor) -> Tensor:
        """See `tapkit.flow.raft.correlation.Correlation.at`."""
        count, _, height, width = target.shape
        steps = torch.arange(-self.radius, self.radius + 1.0)
        window = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), -1)
        found = []
        for level, maps in enumerate(self.maps):
            at = target.permute(0, 2, 3, 1).reshape(-1, 1, 1, 2) / 2**level + window
            size = at.new_tensor([maps.shape[-1] - 1, maps.shape[-2] - 1])
            values = F.grid_sample(maps, 2 * at / size - 1, align_corners=True)
            found.append(values.view(count, height, width, -1))
        return torch.cat(found, -1).permute(0, 3, 1, 2)

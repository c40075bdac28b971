"""The networks of CoTracker2 and CoTracker3 as `Unrollable`s: the same steps as the trackers make."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from tapkit.models.cotracker.network2 import CoTracker2Network
from tapkit.models.cotracker.network2 import Maps as Maps2
from tapkit.models.cotracker.network3 import CoTracker3Network, Estimate, Pyramid
from tapkit.train.cotracker.unroll import Points, Track
from tapkit.train.features import Encode, Maps


class Unrollable3:
    """CoTracker3, online (windows) or offline (the whole clip)."""

    first_visible = 0.0

    def __init__(self, network: CoTracker3Network, window: int | None, iterations: int) -> None:
        self.network, self.window, self.iterations = network, window, iterations

    @property
    def encode(self) -> Encode:
        """See `Unrollable`."""
        return lambda frames: self.network.encode(frames.float())

    def read(self, maps: Maps, index: Tensor, xy: Tensor) -> Maps:
        """See `Unrollable`: 7x7 features on four levels."""
        return tuple(self.network.support(Pyramid(*maps), index, xy))

    def track(self, maps: Maps, start: Track, kept: Maps, points: Points, window: range) -> Iterator[Track]:
        """See `Unrollable`. Points that begin later take part, without features."""
        group = Estimate(*(part[None] for part in start))
        support = Pyramid(*(level[None] for level in kept))
        for estimate in self.network.refine(Pyramid(*maps), group, support, self.iterations):
            yield Track(*(part[0] for part in estimate))


class Unrollable2:
    """CoTracker2. It says once in a window what is visible: after the last iteration."""

    first_visible = 10.0

    def __init__(self, network: CoTracker2Network, iterations: int) -> None:
        self.network, self.iterations = network, iterations
        self.window = len(network.time_table)

    @property
    def encode(self) -> Encode:
        """See `Unrollable`."""
        return lambda frames: self.network.encode(frames.float())

    def read(self, maps: Maps, index: Tensor, xy: Tensor) -> Maps:
        """See `Unrollable`: one feature."""
        return (self.network.query_feature(Maps2(*maps), index, xy),)

    def track(self, maps: Maps, start: Track, kept: Maps, points: Points, window: range) -> Iterator[Track]:
        """See `Unrollable`. The track is asked for on new frames, from the query on."""
        frames = torch.arange(window.start, window.stop, device=points.t.device)
        mask = points.t[:, None] <= frames
        if window.start > 0:
            mask = mask & (frames >= window.stop - len(window) // 2)
        active = points.t < window.stop
        xy, visible, asked, begun, feature = (part[None] for part in (start.xy, start.visible, mask, active, kept[0]))
        steps = self.network.refine(
            Maps2(*maps), xy, visible, asked, begun, feature, self.iterations, bool(active.all())
        )
        for moved, features in steps:
            logits = self.network.visibility(features)[0]
            yield Track(moved[0], logits, logits)

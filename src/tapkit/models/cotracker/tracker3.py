"""CoTracker3: the offline model, which sees the whole clip at once, and the online one, in sliding windows.

Karaev et al., arXiv:2410.11831. The network is in `network3`; here is what drives it: frames and points in
and out as the authors' predictors do it, support points, groups, both directions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tapkit.models.base import Prediction, Size
from tapkit.models.cotracker.adapter import Adapter, CoTrackerOptions, WindowAdapter, WindowState, WindowTrack
from tapkit.models.cotracker.card import COTRACKER3_OFFLINE, COTRACKER3_ONLINE
from tapkit.models.cotracker.network3 import CoTracker3Config, CoTracker3Network, Estimate, Pyramid, no_support
from tapkit.models.cotracker.transformer import STRIDE, tokens_at_once
from tapkit.models.cotracker.weights import load_published, plain

OFFLINE_TIMES = 60
ONLINE_TIMES = 16
"""Lengths of the tables of time codes."""

_LEVELS = 1 + 1 / 4 + 1 / 16 + 1 / 64
"""Cells of a pyramid for each of its finest level."""


@dataclass(frozen=True)
class OfflineOptions(CoTrackerOptions):
    """What a user can choose of the offline model."""

    reverse_pass: bool = False
    """Track the reversed clip as well and take the frames before each query from there, as the authors' predictor does
    with `backward_tracking` (twice the time)."""


@dataclass(frozen=True)
class OnlineOptions(CoTrackerOptions):
    """What a user can choose of the online model."""

    support: str = "global:6"
    """Points tracked along, for instance "none", "global:6", "local:8"; see `Support.parse`. The authors' online
    predictor has none unless told to (`add_support_grid`), and neither has their released evaluation: "none" does as
    they do. The default is that of the offline model."""


class CoTracker3Offline(Adapter):
    """The offline model: one pass over the features of the clip tracks forwards and backwards."""

    network: CoTracker3Network
    chosen: OfflineOptions

    def __init__(self, network: CoTracker3Network, **options: Any) -> None:
        """Options: `OfflineOptions`."""
        super().__init__(network, COTRACKER3_OFFLINE, OfflineOptions.of(COTRACKER3_OFFLINE.id, options))

    def encode(self, frames: Tensor) -> Pyramid:
        """Features of frames uint8 [B,3,h,w], each for itself."""
        return self.network.encode(self.prepare_frames(frames))

    def track(self, features: Pyramid, size: Size, queries: Tensor) -> Prediction:
        """Prediction [N,T,...] for queries [N,3] (t, x, y) on all frames of the clip."""
        frames, count = len(features.level0), len(queries)
        rows = self.with_support(queries, size, 0, frames).flatten(0, 1)
        rows = torch.cat([rows, self.shared_support(size, 0, frames)])
        if not count or not frames:
            empty = torch.zeros(count, frames, device=self.device)
            return Prediction(empty[..., None].expand(-1, -1, 2), empty, empty)
        estimate = self._track(features, rows, count)
        if self.chosen.reverse_pass:
            turned = Pyramid(*(level.flip(0) for level in features))
            back = self._track(turned, torch.cat([frames - 1 - rows[:, :1], rows[:, 1:]], 1), count)
            before = torch.arange(frames, device=self.device) < queries[:, :1]
            estimate = Estimate(
                torch.where(before[..., None], back.xy.flip(1), estimate.xy),
                torch.where(before, back.visible.flip(1), estimate.visible),
                torch.where(before, back.confidence.flip(1), estimate.confidence),
            )
        xy = self.from_cells(estimate.xy, size)
        return Prediction(xy, estimate.visible.sigmoid(), estimate.confidence.sigmoid())

    def _track(self, features: Pyramid, rows: Tensor, count: int) -> Estimate:
        """The tracks of the `count` queries among all points rows [P,3] -> [count,T,...]; groups in batches."""
        groups = self.grouped(rows)
        step = max(8 * tokens_at_once(rows.device) // (groups.shape[1] * len(features.level0)), 1)
        parts = [self._groups(features, some) for some in torch.split(groups, step)]
        whole = Estimate(*(torch.cat(part) for part in zip(*parts, strict=True)))
        return Estimate(*(self.queried(part, count) for part in whole))

    def _groups(self, features: Pyramid, rows: Tensor) -> Estimate:
        """Track groups of points rows [B,N,3]."""
        frames = len(features.level0)
        flat = rows.flatten(0, 1)
        support = self.network.support(features, flat[:, 0].long(), flat[:, 1:])
        support = Pyramid(*(level.view(*rows.shape[:2], *level.shape[1:]) for level in support))
        logits = rows.new_zeros(*rows.shape[:2], frames)
        start = Estimate(rows[:, :, None, 1:].repeat(1, 1, frames, 1), logits, logits)
        estimate: Estimate = self.network(features, start, support, self.iterations)
        return estimate

    def point_bytes(self, frames: int, size: Size) -> int:
        """About how much memory one more query takes in `track` at its peak."""
        state, token = point_numbers(self.network)
        return self.own * 4 * (state + frames * token)

    def frame_bytes(self, size: Size) -> int:
        """About how much memory the features of one frame take."""
        return frame_bytes(self, size)


class CoTracker3Online(WindowAdapter):
    """The online model: windows of 16 frames, 8 of them new."""

    network: CoTracker3Network
    window = ONLINE_TIMES

    def __init__(self, network: CoTracker3Network, **options: Any) -> None:
        """Options: `OnlineOptions`."""
        super().__init__(network, COTRACKER3_ONLINE, OnlineOptions.of(COTRACKER3_ONLINE.id, options))

    def encode(self, frames: Tensor) -> Pyramid:
        """Features of frames uint8 [B,3,h,w], each for itself."""
        return self.network.encode(self.prepare_frames(frames))

    def empty_features(self, count: int) -> tuple[Tensor, ...]:
        """See `WindowAdapter`."""
        return no_support(count, self.device, self.network.config.features)

    def query_features(self, features: Pyramid, index: Tensor, xy: Tensor) -> tuple[Tensor, ...]:
        """See `WindowAdapter`."""
        return self.network.support(features, index, xy)

    def track_window(self, state: WindowState, start: WindowTrack, features: Pyramid, first: int) -> WindowTrack:
        """See `WindowAdapter`. Points that begin later take part, without features, as in the authors' code."""
        support = Pyramid(*(self.grouped(level) for level in state.features))
        return WindowTrack(*self.network(features, Estimate(*start), support, self.iterations))

    def point_bytes(self, size: Size) -> int:
        """About how much memory one more query takes in `step` at its peak."""
        state, token = point_numbers(self.network)
        return self.own * 4 * (2 * state + self.window * token)

    def frame_bytes(self, size: Size) -> int:
        """About how much memory the features of one frame take."""
        return frame_bytes(self, size)


def point_numbers(network: CoTracker3Network) -> tuple[int, int]:
    """Numbers of a point's support, and of its token on a frame with what the blocks make of it."""
    return 4 * 49 * network.config.features, 2 * network.config.width


def frame_bytes(adapter: Adapter, size: Size) -> int:
    """Bytes of the pyramid of one frame of `size`."""
    height, width = adapter.network_size(size)
    network: Any = adapter.network
    numbers = int(height * width * network.config.features * _LEVELS / STRIDE**2)
    return numbers * (2 if network.fnet.conv1.weight.dtype == torch.bfloat16 else 4)


def build_offline(weights: Mapping[str, Any] | None = None, **options: Any) -> CoTracker3Offline:
    """CoTracker3 offline; weights as in scaled_offline.pth (None: untrained). Options: `OfflineOptions`."""
    return CoTracker3Offline(_network(OFFLINE_TIMES, weights, COTRACKER3_OFFLINE.id), **options)


def build_online(weights: Mapping[str, Any] | None = None, **options: Any) -> CoTracker3Online:
    """CoTracker3 online; weights as in scaled_online.pth (None: untrained). Options: `OnlineOptions`."""
    return CoTracker3Online(_network(ONLINE_TIMES, weights, COTRACKER3_ONLINE.id), **options)


def _network(times: int, weights: Mapping[str, Any] | None, model: str) -> CoTracker3Network:
    sizes = CoTracker3Config() if weights is None else CoTracker3Config.of(plain(weights))
    network = CoTracker3Network(times, sizes)
    if weights is not None:
        load_published(network, weights, model, {"time_emb": times})
    return network

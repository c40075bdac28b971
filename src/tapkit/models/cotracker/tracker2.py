"""CoTracker2 (and 2.1) as a tracker: sliding windows of 8 (16) frames. The network is in `network2`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tapkit.errors import UsageError
from tapkit.models.base import Size
from tapkit.models.cotracker.adapter import CoTrackerOptions, WindowAdapter, WindowState, WindowTrack
from tapkit.models.cotracker.card import COTRACKER2
from tapkit.models.cotracker.network2 import TOKEN, CoTracker2Network, Maps
from tapkit.models.cotracker.transformer import STRIDE, VIRTUAL
from tapkit.models.cotracker.weights import load_published
from tapkit.nn.encoder import FEATURES
from tapkit.weights import unwrap

WINDOWS = (8, 16)
"""Window lengths of cotracker2.pth and cotracker2v1.pth."""


@dataclass(frozen=True)
class CoTracker2Options(CoTrackerOptions):
    """What a user can choose."""

    window: int | None = None
    """8 (cotracker2.pth) or 16 (cotracker2v1.pth) frames; None: what the checkpoint's time table says, or 8."""

    def check(self) -> None:
        """See `Options.check`."""
        super().check()
        if self.window is not None and self.window not in WINDOWS:
            raise UsageError(f"window must be 8 (cotracker2.pth) or 16 (cotracker2v1.pth), got {self.window}")


class CoTracker2(WindowAdapter):
    """The adapter. Points that begin after a window are left out of it: the network would mask them anyway."""

    network: CoTracker2Network
    first_visible = 10.0
    float32_layers = ("input_transform", "head", "track_feat_updater", "vis_predictor")

    def __init__(self, network: CoTracker2Network, **options: Any) -> None:
        """Options: `CoTracker2Options`."""
        self.window = len(network.time_table)
        chosen = CoTracker2Options.of(COTRACKER2.id, {**options, "window": self.window})
        super().__init__(network, COTRACKER2, chosen)
        self.card = replace(self.card, latency=self.window - 1)

    def encode(self, frames: Tensor) -> Maps:
        """Features of frames uint8 [B,3,h,w], each for itself."""
        return self.network.encode(self.prepare_frames(frames))

    def empty_features(self, count: int) -> tuple[Tensor, ...]:
        """See `WindowAdapter`."""
        return (torch.zeros(count, FEATURES, device=self.device),)

    def query_features(self, features: Maps, index: Tensor, xy: Tensor) -> tuple[Tensor, ...]:
        """See `WindowAdapter`."""
        return (self.network.query_feature(features, index, xy),)

    def track_window(self, state: WindowState, start: WindowTrack, features: Maps, first: int) -> WindowTrack:
        """See `WindowAdapter`."""
        active = self.grouped(state.t < first + self.window)
        frames = torch.arange(first, first + self.window, device=self.device)
        mask = self.grouped(state.t)[..., None] <= frames
        if first > 0:
            mask = mask & (frames >= first + self.window - self.stride)
        given = (start.xy, start.visible, mask, active, self.grouped(state.features[0]))
        whole = bool(active.all())
        # With exactly 64 points the authors' masks let the inactive ones have a say, so they have to stay then.
        if active.shape[1] == VIRTUAL or len(active) != 1 or whole:
            xy, visible = self.network(features, *given, self.iterations, whole)
            return WindowTrack(xy, visible, visible)
        rows = active[0].nonzero()[:, 0]
        if not len(rows):
            return WindowTrack(start.xy, start.visible, start.visible)
        all_active = len(rows) != VIRTUAL
        if not all_active:  # not 64 points before, so not now either
            rows = torch.cat([rows, (~active[0]).nonzero()[:1, 0]])
        xy, visible = self.network(features, *(part[:, rows] for part in given), self.iterations, all_active)
        visible = start.visible.index_copy(1, rows, visible)
        return WindowTrack(start.xy.index_copy(1, rows, xy), visible, visible)

    def point_bytes(self, size: Size) -> int:
        """About how much memory one more query takes in `step` at its peak."""
        return self.own * 4 * self.window * (6 * 384 + 4 * FEATURES)

    def frame_bytes(self, size: Size) -> int:
        """About how much memory the features of one frame take."""
        height, width = self.network_size(size)
        numbers = height * width * FEATURES * 85 // (64 * STRIDE**2)
        return numbers * self.network.fnet.conv1.weight.element_size()


def build(weights: Mapping[str, Any] | None = None, **options: Any) -> CoTracker2:
    """CoTracker2; weights under the names of cotracker2.pth or cotracker2v1.pth (None: untrained).

    Options: `CoTracker2Options`.
    """
    window = CoTracker2Options.of(COTRACKER2.id, options).window
    if window is None:
        table = unwrap(weights).get("time_emb") if weights is not None else None
        window = int(table.shape[1]) if table is not None and table.ndim == 3 else WINDOWS[0]
    if window not in WINDOWS:
        raise UsageError(f"window must be 8 (cotracker2.pth) or 16 (cotracker2v1.pth), got {window}")
    network = CoTracker2Network(window)
    if weights is not None:
        load_published(network, weights, COTRACKER2.id, {"time_emb": window, "pos_emb": TOKEN})
    return CoTracker2(network, **{name: value for name, value in options.items() if name != "window"})

"""What the adapters of all CoTrackers share: input size, coordinates, support points, groups, sliding windows.

A *group* is what the network tracks together. Usually there is one, with all points; with `single=True` every query
has a group of its own with its own support points (the protocol of the papers), and the groups share the features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit import coords
from tapkit.errors import UsageError
from tapkit.models.base import Prediction, Size
from tapkit.models.cotracker.support import Support
from tapkit.models.cotracker.transformer import STRIDE
from tapkit.models.options import NetworkOptions, require_size
from tapkit.models.torch_model import TorchModel
from tapkit.types import ModelCard

LEAST_SIDE = 32
"""Pixels; below, the smallest level of the feature pyramid would be empty."""


@dataclass(frozen=True)
class CoTrackerOptions(NetworkOptions):
    """What a user can choose of any CoTracker."""

    iterations: int = 6
    """Updates of every window; trained with 4, the authors run 6."""
    support: str = "global:6"
    """Points tracked along, for instance "none", "global:6", "local:8"; see `Support.parse`."""
    support_frame: Literal["first", "query"] = "first"
    """"first": support points start on the first frame, as in the authors' code, local ones too; "query": local grids,
    and in single mode all of them, on the frame of their query, as in the paper."""
    single: bool = False
    """Every query on its own with its support (exact evaluation protocol; slow)."""
    input_size: Size | None = (384, 512)
    """(height, width) the frames are resized to; None: as they come."""

    def check(self) -> None:
        """See `Options.check`."""
        if self.iterations < 1:
            raise UsageError(f"iterations must be at least 1, got {self.iterations}")
        require_size("input_size", self.input_size, LEAST_SIDE)
        Support.parse(self.support)


class Adapter(TorchModel):
    """Frames of any size in, frames as the network wants them out; the same for points."""

    chosen: CoTrackerOptions
    # The layers that bfloat16 leaves alone: what positions go in and come out by.
    float32_layers: ClassVar[tuple[str, ...]] = ("input_transform", "head")

    def __init__(self, network: nn.Module, card: ModelCard, options: CoTrackerOptions) -> None:
        self.support = Support.parse(options.support)
        self.iterations, self.single, self.support_frame = options.iterations, options.single, options.support_frame
        self.input_size = options.input_size
        card = card if options.input_size == card.input_size else replace(card, input_size=options.input_size)
        super().__init__(network.requires_grad_(False), card, options)

    def _cast(self, dtype: torch.dtype) -> None:
        for name, module in self.network.named_modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                module.to(torch.float32 if any(part in name for part in self.float32_layers) else dtype)

    def network_size(self, size: Size) -> Size:
        """The size at which the network sees frames of `size`."""
        return self.input_size or size

    def prepare_frames(self, frames: Tensor) -> Tensor:
        """uint8 [B,3,h,w] -> float32 0..255 at the network's size (bilinear, corners aligned, no antialiasing)."""
        size = (int(frames.shape[-2]), int(frames.shape[-1]))
        wanted = self.network_size(size)
        if min(wanted) < LEAST_SIDE:
            raise UsageError(
                f"{self.card.id} needs frames of at least {LEAST_SIDE}x{LEAST_SIDE} pixels, got "
                f"{wanted[1]}x{wanted[0]}; leave input_size at its default and they are enlarged"
            )
        frames = frames.float()
        return frames if size == wanted else F.interpolate(frames, wanted, mode="bilinear", align_corners=True)

    def to_cells(self, xy: Tensor, size: Size) -> Tensor:
        """Corner-origin pixels of frames of `size` as cells of the network's feature maps."""
        return coords.resize_centers(coords.to_centers(xy), size, self.network_size(size)) / STRIDE

    def from_cells(self, xy: Tensor, size: Size) -> Tensor:
        """The inverse of `to_cells`."""
        return coords.from_centers(coords.resize_centers(xy * STRIDE, self.network_size(size), size))

    # -- points and their support -----------------------------------------------------------------

    @property
    def own(self) -> int:
        """Points that belong to one query: itself, and support points around it or (in single mode) all of them."""
        return 1 + self.support.local**2 + (self.support.whole**2 + self.support.uniform if self.single else 0)

    def with_support(self, queries: Tensor, size: Size, first: int, frames: int | None = None) -> Tensor:
        """Queries [n,3] (t, x, y) in corner-origin pixels, each with the points of its own -> [n,own,3], in cells.

        Support points start on frame `first` (or with their query); uniform ones anywhere in `frames` frames.
        """
        xy = self.to_cells(queries[:, 1:], size)
        local = self.support.around(xy * STRIDE) / STRIDE
        points = torch.cat([xy[:, None], local], 1)
        t = queries[:, :1].expand(-1, points.shape[1]).clone()
        if self.support_frame == "first":
            t[:, 1:] = first
        rows = torch.cat([t[..., None], points], -1)
        if not self.single:
            return rows
        shared = self._everywhere(size, first, frames).expand(len(rows), -1, -1)
        if self.support_frame == "query":
            shared = torch.cat([queries[:, None, :1].expand(-1, shared.shape[1], -1), shared[..., 1:]], -1)
        return torch.cat([rows, shared.to(rows)], 1)

    def shared_support(self, size: Size, first: int, frames: int | None = None) -> Tensor:
        """Support points that belong to nobody in particular [m,3] (t, x, y), in cells."""
        return self._everywhere(size, first, frames)[: 0 if self.single else None]

    def _everywhere(self, size: Size, first: int, frames: int | None) -> Tensor:
        whole = self.support.everywhere(self.network_size(size))
        rows = torch.cat([torch.full((len(whole), 1), float(first)), whole], 1)
        if self.support.uniform:
            if frames is None:
                raise UsageError(f"{self.card.id} sees no whole clip, so it cannot have uniform support points")
            rows = torch.cat([rows, self.support.anytime(frames, self.network_size(size))])
        rows[:, 1:] /= STRIDE
        return rows.to(self.device)

    def grouped(self, values: Tensor) -> Tensor:
        """A value of all points [P,...], own ones first, as groups [B,N,...]."""
        return values.reshape(-1, self.own, *values.shape[1:]) if self.single else values[None]

    def queried(self, values: Tensor, count: int) -> Tensor:
        """The entries of the `count` queries themselves, of groups [B,N,...] -> [count,...]."""
        return values.flatten(0, 1)[: count * self.own : self.own]


class WindowState(NamedTuple):
    """What a sliding-window CoTracker carries on: all points, own ones of the queries first, shared support last."""

    size: Tensor
    """[2] int64: (height, width) of the frames."""
    t: Tensor
    """[P] int64: the frame of each query."""
    xy: Tensor
    """[P,2]: its position, cells."""
    begun: Tensor
    """[P] bool: its features have been read."""
    carried: Tensor
    """[P] bool: it was tracked in the last window."""
    tail_xy: Tensor
    """[P,o,2]: its track on the frames that the next window shares with the last, cells."""
    tail_visible: Tensor
    """[P,o]: logits."""
    tail_confidence: Tensor
    """[P,o]: logits."""
    features: tuple[Tensor, ...]
    """Features around (or at) the query, each [P,...]; zeros before it has begun."""


class WindowTrack(NamedTuple):
    """A track over a window for groups of points: [B,N,S,2] cells, logits [B,N,S]."""

    xy: Tensor
    visible: Tensor
    confidence: Tensor


class WindowAdapter(Adapter):
    """Sliding windows of `window` frames, half of which overlap; a subclass tracks one window."""

    window: int
    first_visible: ClassVar[float] = 0.0
    """Visibility logit of a point that has not been tracked yet."""

    def empty_features(self, count: int) -> tuple[Tensor, ...]:
        """Zeros in the shapes of `query_features`."""
        raise NotImplementedError

    def query_features(self, features: Any, index: Tensor, xy: Tensor) -> tuple[Tensor, ...]:
        """Features of queries xy [P,2] (cells) on frames `index` [P] of a window, each [P,...]."""
        raise NotImplementedError

    def track_window(self, state: WindowState, start: WindowTrack, features: Any, first: int) -> WindowTrack:
        """One window from where `start` says."""
        raise NotImplementedError

    @property
    def stride(self) -> int:
        """Frames from one window to the next."""
        return self.window // 2

    def start(self, size: Size) -> WindowState:
        """No points yet, on frames of `size`."""
        device, overlap = self.device, self.window - self.stride
        none = torch.zeros(0, device=device)
        return WindowState(
            torch.tensor(size),
            none.long(),
            none.view(0, 2),
            none.bool(),
            none.bool(),
            none.view(0, 1, 2).expand(-1, overlap, -1),
            none.view(0, 1).expand(-1, overlap),
            none.view(0, 1).expand(-1, overlap),
            tuple(self.empty_features(0)),  # plain, as it is later on, so that a saved state has the same names
        )

    def select(self, state: WindowState, rows: Tensor) -> WindowState:
        """The state with only the queries `rows`; without any, support points go too."""
        if not len(rows):
            return self.start((int(state.size[0]), int(state.size[1])))
        owned = rows[:, None] * self.own + torch.arange(self.own, device=rows.device)
        shared = torch.arange(self._queries(state) * self.own, len(state.t), device=rows.device)
        return _take(state, torch.cat([owned.flatten(), shared]))

    def step(self, state: WindowState, features: Any, first: int, queries: Tensor) -> tuple[WindowState, Prediction]:
        """See `WindowModel.step`. Shared support points start with the first window that has queries."""
        count = len(queries)
        if not count:
            empty = torch.zeros(0, self.window, device=self.device)
            return state, Prediction(empty[..., None].expand(-1, -1, 2), empty, empty)
        state = self._read_features(self._join(state, queries[self._queries(state) :], first), features, first)
        track = self.track_window(state, self._start_track(state), features, first)
        tails = [part.flatten(0, 1)[:, self.stride :] for part in track]
        state = state._replace(
            carried=state.t < first + self.window, tail_xy=tails[0], tail_visible=tails[1], tail_confidence=tails[2]
        )
        xy, visible, confidence = (self.queried(part, count) for part in track)
        size = (int(state.size[0]), int(state.size[1]))
        return state, Prediction(self.from_cells(xy, size), visible.sigmoid(), confidence.sigmoid())

    def _queries(self, state: WindowState) -> int:
        """How many queries a state holds."""
        shared = 0 if self.single else self.support.whole**2
        return max(len(state.t) - shared, 0) // self.own

    def _join(self, state: WindowState, queries: Tensor, first: int) -> WindowState:
        """The state with new queries, between the old ones and the shared support."""
        if not len(queries):
            return state
        size = (int(state.size[0]), int(state.size[1]))
        rows = self.with_support(queries, size, first).flatten(0, 1)
        old = self._queries(state) * self.own
        if not len(state.t):
            rows = torch.cat([rows, self.shared_support(size, first)])
        fresh, overlap = len(rows), self.window - self.stride
        zeros = torch.zeros(fresh, overlap, device=self.device)
        new = WindowState(
            state.size,
            rows[:, 0].long(),
            rows[:, 1:],
            zeros[:, 0].bool(),
            zeros[:, 0].bool(),
            zeros[..., None].expand(-1, -1, 2),
            zeros,
            zeros,
            self.empty_features(fresh),
        )
        return _insert(state, new, old)

    def _read_features(self, state: WindowState, features: Any, first: int) -> WindowState:
        """Read the features of queries that begin in this window."""
        due = (~state.begun & (state.t < first + self.window)).nonzero()[:, 0]
        if not len(due):
            return state
        read = self.query_features(features, (state.t[due] - first).clamp(min=0), state.xy[due])
        stored = tuple(old.index_copy(0, due, new) for old, new in zip(state.features, read, strict=True))
        return state._replace(begun=state.begun.index_fill(0, due, True), features=stored)

    def _start_track(self, state: WindowState) -> WindowTrack:
        """Where the window starts from: the last window's end, held; or the query."""
        rest = self.stride
        known = state.carried[:, None]
        xy = torch.where(known[..., None], state.tail_xy, state.xy[:, None])
        visible = torch.where(known, state.tail_visible, self.first_visible)
        confidence = torch.where(known, state.tail_confidence, 0.0)
        held = (torch.cat([part, part[:, -1:].repeat_interleave(rest, 1)], 1) for part in (xy, visible, confidence))
        return WindowTrack(*(self.grouped(part) for part in held))


def _take(state: WindowState, rows: Tensor) -> WindowState:
    return _each(lambda part: part[rows], state)


def _insert(state: WindowState, new: WindowState, at: int) -> WindowState:
    """`state` with the points of `new` before its row `at`."""

    return _each(lambda old, fresh: torch.cat([old[:at], fresh, old[at:]]), state, new)


def _each(function: Callable[..., Tensor], *states: WindowState) -> WindowState:
    """`function` of what states say of their points, field by field."""
    fields = {
        name: function(*(getattr(state, name) for state in states))
        for name in WindowState._fields
        if name not in ("size", "features")
    }
    features = tuple(function(*parts) for parts in zip(*(state.features for state in states), strict=True))
    return WindowState(size=states[0].size, features=features, **fields)

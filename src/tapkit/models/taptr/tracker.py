"""TAPTR and TAPTRv2 as trackers: windows of eight frames, the last of which ends with the clip."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tapkit.errors import QueryError
from tapkit.models.base import Prediction, Size
from tapkit.models.options import NetworkOptions, require_least, require_size
from tapkit.models.taptr.adapter import LEAST_SIDE, Adapter, Tokens
from tapkit.models.taptr.card import TAPTR, TAPTRV2
from tapkit.models.taptr.encoder import pyramid_of
from tapkit.models.taptr.network import CLASSES, WindowNetwork, taptr_network, taptrv2_network
from tapkit.models.taptr.parts import HEADS, HIDDEN, LEVELS, POINTS, WIDTH, inverse_sigmoid
from tapkit.models.taptr.support import Support
from tapkit.models.taptr.weights import load_released
from tapkit.models.taptr.window import Window
from tapkit.models.torch_model import check_queries
from tapkit.types import ModelCard

WINDOW, STRIDE = 8, 4
TRAINED = 24
"""Frames of the clips in training."""
VISIBLE = 1
"""The class that is thresholded."""


@dataclass(frozen=True)
class TaptrOptions(NetworkOptions):
    """What a user can choose."""

    input_size: Size | None = (512, 512)
    """(height, width) the frames are resized to; None: as they come."""
    support: str = "random:800"
    """Points tracked along: "none", "random:N" (so that there are N with those asked for, as the authors do), "grid:G"
    (G x G over the frame), "local:G" (G x G around every query), or some of these joined by "+"."""
    hand_on_every: int | None = None
    """Every how many windows a point's content is handed on to the frames to come. None: as released, once for each 24
    frames of the clip's length, and always where that is not known (live)."""

    def check(self) -> None:
        """See `Options.check`."""
        require_size("input_size", self.input_size, LEAST_SIDE)
        Support.parse(self.support)
        if self.hand_on_every is not None:
            require_least(self, hand_on_every=1)


class WindowState(NamedTuple):
    """What windows hand on: all points, queries first (each followed by its own support), shared support last.

    For each point its box, class and content on the frames of the last window; later frames are as the last of these,
    but for the content, which is not always handed on.
    """

    size: Tensor
    """[2] int64: (height, width) of the frames handed over."""
    every: Tensor
    """[] int64: every how many windows content is handed on."""
    first: Tensor
    """[] int64: the first frame of the last window."""
    shared: Tensor
    """[] int64: how many points are shared support."""
    t: Tensor
    """[P] int64: the frame of each query."""
    xy: Tensor
    """[P,2]: its position, normalised."""
    begun: Tensor
    """[P] bool: its content has been read."""
    query: Tensor
    """[P,256]: its content as read; zeros before."""
    boxes: Tensor
    """[P,8,4]: logits of (x, y, w, h)."""
    classes: Tensor
    """[P,8,3]: logits."""
    content: Tensor
    """[P,8,256]"""
    later: Tensor
    """[P,256]: content on the frames after the window."""


_PER_POINT = ("t", "xy", "begun", "query", "boxes", "classes", "content", "later")


class WindowTaptr(Adapter):
    """TAPTR or TAPTRv2 as a `WindowModel` that `EndsWithClip`. The network is in `network`."""

    network: WindowNetwork
    chosen: TaptrOptions
    window, stride = WINDOW, STRIDE

    def __init__(self, network: WindowNetwork, card: ModelCard, options: TaptrOptions) -> None:
        super().__init__(network, card, options, options.input_size, options.support)

    def start(self, size: Size) -> WindowState:
        """No points yet, on frames of `size`."""
        self.network_size(size)  # says now if they are too small
        number = torch.tensor(0)  # numbers of the host stay there: they are asked for without waiting for the device
        every = torch.tensor(self.chosen.hand_on_every or 1)
        return WindowState(torch.tensor(size), every, number, number, *self._points(None))

    def expect_frames(self, state: WindowState, frames: int) -> WindowState:
        """See `EndsWithClip`: in clips longer than those of training content is handed on less often."""
        if self.chosen.hand_on_every is not None:
            return state
        return state._replace(every=torch.full_like(state.every, max(frames // TRAINED, 1)))

    def select(self, state: WindowState, rows: Tensor) -> WindowState:
        """The state with only the queries `rows`; without any, support points go too."""
        if not len(rows):
            none = torch.zeros(0, dtype=torch.long, device=self.device)
            return _take(state, none)._replace(shared=torch.zeros_like(state.shared))
        own = rows[:, None] * self.support.own + torch.arange(self.support.own, device=rows.device)
        shared = torch.arange(len(state.t) - int(state.shared), len(state.t), device=rows.device)
        return _take(state, torch.cat([own.flatten(), shared]))

    def step(self, state: WindowState, features: Tokens, first: int, queries: Tensor) -> tuple[WindowState, Prediction]:
        """See `WindowModel.step`. Shared support points start with the first window that has queries."""
        check_queries(queries)
        count = len(queries)
        if not count:
            empty = torch.zeros(0, WINDOW, device=self.device)
            return state, Prediction(empty[..., None].expand(-1, -1, 2), empty, empty)
        state = self._join(_moved(state, first), queries[self._queries(state) :], first)
        state = self._track(self._read(state, features.tokens, first), features.tokens, first)
        own = slice(0, count * self.support.own, self.support.own)
        xy = self.pixels(state.boxes[own, :, :2].sigmoid(), _size(state))
        visible = state.classes[own, :, VISIBLE].sigmoid()
        return state, Prediction(xy, visible, visible.clone())

    def point_bytes(self, size: Size) -> int:
        """About how much memory one more query takes in `step` at its peak."""
        return self.support.own * self._one_point(size)

    def frame_bytes(self, size: Size) -> int:
        """Features of one frame, and its share of what the shared support points take."""
        shared = self.support.random + self.support.grid**2
        return super().frame_bytes(size) + shared * self._one_point(size) // WINDOW

    def _one_point(self, size: Size) -> int:
        stream = 12 * WIDTH + HIDDEN // 4 + HEADS * LEVELS * POINTS * 3
        volume = pyramid_of(self.network_size(size)).tokens if self.card.id == TAPTR.id else 0
        return 4 * WINDOW * (stream + volume)

    # -- points ------------------------------------------------------------------------------------

    def _queries(self, state: WindowState) -> int:
        """How many queries a state holds."""
        return (len(state.t) - int(state.shared)) // self.support.own

    def _points(self, rows: Tensor | None) -> tuple[Tensor, ...]:
        """The fields of new points, rows [M,3] (frame, normalised position)."""
        rows = torch.zeros(0, 3, device=self.device) if rows is None else rows
        count, xy = len(rows), rows[:, 1:]
        boxes = inverse_sigmoid(torch.cat([xy, torch.full_like(xy, 0.5)], 1))
        classes = torch.zeros(count, CLASSES, device=self.device)
        classes[:, VISIBLE] = 1.0
        zeros = torch.zeros(count, WIDTH, device=self.device)
        return (
            rows[:, 0].long(),
            xy,
            torch.zeros(count, dtype=torch.bool, device=self.device),
            zeros,
            boxes[:, None].repeat(1, WINDOW, 1),
            classes[:, None].repeat(1, WINDOW, 1),
            zeros[:, None].repeat(1, WINDOW, 1),
            zeros.clone(),
        )

    def _join(self, state: WindowState, queries: Tensor, first: int) -> WindowState:
        """The state with new queries, between the old ones and the shared support."""
        if not len(queries):
            return state
        xy = self.with_own(self.normalised(queries[:, 1:], _size(state)))
        t = queries[:, :1].repeat_interleave(self.support.own, 0)
        if not len(state.t):
            shared = self.shared_support(xy)
            shared[:, 0] += first
            state = _insert(state, self._points(shared), 0)._replace(shared=torch.full_like(state.shared, len(shared)))
        return _insert(state, self._points(torch.cat([t, xy], 1)), len(state.t) - int(state.shared))

    def _read(self, state: WindowState, tokens: Tensor, first: int) -> WindowState:
        """Read the content of points that begin in this window."""
        due = (~state.begun & (state.t < first + WINDOW)).nonzero()[:, 0]
        if not len(due):
            return state
        index = state.t[due] - first
        if int(index.min()) < 0:
            raise QueryError(f"a point starts on frame {int(state.t[due].min())}, before its first window at {first}")
        pyramid = pyramid_of(self.network_size(_size(state)))
        query = self.network.query_features(tokens, pyramid, index, state.xy[due])
        return state._replace(
            begun=state.begun.index_fill(0, due, True),
            query=state.query.index_copy(0, due, query),
            content=state.content.index_copy(0, due, query[:, None].expand(-1, WINDOW, -1)),
            later=state.later.index_copy(0, due, query),
        )

    # -- a window ----------------------------------------------------------------------------------

    def _track(self, state: WindowState, tokens: Tensor, first: int) -> WindowState:
        """One window. Points that begin after it are left out: in the original they are masked."""
        active = (state.t < first + WINDOW).nonzero()[:, 0]
        frames = torch.arange(first, first + WINDOW, device=self.device)[:, None]
        window = Window(
            tokens.contiguous(),
            pyramid_of(self.network_size(_size(state))),
            tracked=frames >= state.t[active],
            update=frames > state.t[active],
        )
        if not bool(window.update.any()):
            return state
        content, boxes = (part[active].transpose(0, 1).contiguous() for part in (state.content, state.boxes))
        decoded = self.network.decode(window, content, boxes)
        after = self.network.hand_on(state.query[active], content, decoded.content, window.update).transpose(0, 1)
        update = window.update.T[..., None]
        classes = torch.where(update, decoded.classes.transpose(0, 1), state.classes[active])
        state = state._replace(
            boxes=state.boxes.index_copy(0, active, decoded.boxes.transpose(0, 1)),
            classes=state.classes.index_copy(0, active, classes),
            content=state.content.index_copy(0, active, after),
        )
        if (first // STRIDE) % int(state.every) == 0:
            state = state._replace(later=state.later.index_copy(0, active, after[:, -1]))
        return state


def _size(state: WindowState) -> Size:
    return int(state.size[0]), int(state.size[1])


def _moved(state: WindowState, first: int) -> WindowState:
    """The state on the window that begins with frame `first`."""
    places = torch.arange(WINDOW, device=state.t.device) + (first - int(state.first))
    held, beyond = places.clamp(0, WINDOW - 1), places.clamp(0, WINDOW)
    content = torch.cat([state.content, state.later[:, None]], 1)
    return state._replace(
        first=torch.full_like(state.first, first),
        boxes=state.boxes[:, held],
        classes=state.classes[:, held],
        content=content[:, beyond],
    )


def _take(state: WindowState, rows: Tensor) -> WindowState:
    return state._replace(**{name: getattr(state, name)[rows] for name in _PER_POINT})


def _insert(state: WindowState, points: tuple[Tensor, ...], at: int) -> WindowState:
    """`state` with more points before its row `at`."""
    fields = zip(_PER_POINT, points, strict=True)
    return state._replace(**{name: _between(getattr(state, name), new, at) for name, new in fields})


def _between(old: Tensor, new: Tensor, at: int) -> Tensor:
    return torch.cat([old[:at], new, old[at:]])


def build(
    weights: Mapping[str, Any] | None = None,
    *,
    card: ModelCard = TAPTR,
    make: Callable[[], WindowNetwork] = taptr_network,
    **options: Any,
) -> WindowTaptr:
    """TAPTR; weights under the names of taptrv1.pth (None: untrained). Options: `TaptrOptions`.

    Raises `WeightsError`, `UsageError`.
    """
    chosen = TaptrOptions.of(card.id, options)
    network = make()
    if weights is not None:
        load_released(network, weights, card.id)
    return WindowTaptr(network, card, chosen)


def build_v2(weights: Mapping[str, Any] | None = None, **options: Any) -> WindowTaptr:
    """TAPTRv2; weights under the names of taptrv2.pth. As `build`."""
    return build(weights, card=TAPTRV2, make=taptrv2_network, **options)

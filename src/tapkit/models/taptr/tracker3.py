"""TAPTRv3 as a tracker: frame by frame, with what points were on the frames before as memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from tapkit.errors import WeightsError
from tapkit.models.base import Prediction, Size
from tapkit.models.options import NetworkOptions, require_least, require_size
from tapkit.models.taptr.adapter import LEAST_SIDE, Adapter
from tapkit.models.taptr.backbone import Depth
from tapkit.models.taptr.card import TAPTRV3
from tapkit.models.taptr.decoder3 import CENTRE, PATCH, Memory, Past
from tapkit.models.taptr.encoder import pyramid_of
from tapkit.models.taptr.network import FrameNetwork
from tapkit.models.taptr.parts import EPSILON, HEADS, HIDDEN, LEVELS, POINTS, WIDTH, inverse_sigmoid
from tapkit.models.taptr.support import Support
from tapkit.models.taptr.tracker import VISIBLE
from tapkit.models.taptr.weights import load_released
from tapkit.models.taptr.window import Window
from tapkit.models.torch_model import check_positions
from tapkit.nn.transfer import sent
from tapkit.weights import unwrap

Backbone = Literal["resnet50", "resnet18"]

SIZES: dict[Backbone, Size] = {"resnet50": (512, 512), "resnet18": (384, 512)}
"""At which sizes the two were published."""
UNSEEN = EPSILON
"""How much a frame counts on which nothing has been said of a point: that its last answer be visible is not known."""


@dataclass(frozen=True)
class Taptr3Options(NetworkOptions):
    """What a user can choose."""

    backbone: Backbone | None = None
    """"resnet50" or "resnet18"; None: what the weights are for, or "resnet50"."""
    input_size: Size | Literal["published"] | None = "published"
    """(height, width) the frames are resized to; "published": (512, 512) for ResNet-50, (384, 512) for ResNet-18; None:
    as they come."""
    memory: int | None = 512
    """How many frames a point remembers, 1 KiB each; the authors say that 512 are enough. None: all."""
    support: str = "grid:6"
    """Points tracked along: "none", "grid:G" (G x G over the frame), "local:G" (G x G around every query), "random:N"
    (so that there are N with those asked for), or some of these joined by "+"."""

    def check(self) -> None:
        """See `Options.check`."""
        if self.input_size != "published":
            require_size("input_size", self.input_size, LEAST_SIDE)
        Support.parse(self.support)
        if self.memory is not None:
            require_least(self, memory=1)


class FrameState(NamedTuple):
    """What is carried from frame to frame: all points, queries first (each followed by its own support points)."""

    size: Tensor
    """[2] int64: (height, width) of the frames handed over."""
    now: Tensor
    """[] int64: the number of the next frame."""
    shared: Tensor
    """[] int64: how many points are shared support; they come last."""
    t: Tensor
    """[P] int64: the frame of each query."""
    xy: Tensor
    """[P,2]: its position, normalised."""
    begun: Tensor
    """[P] bool: its frame has come."""
    context: Tensor
    """[P,9,256]: the patch of features around the query; zeros before."""
    boxes: Tensor
    """[P,4]: logits of (x, y, w, h)."""
    visible: Tensor
    """[P]: logit."""
    content: Tensor
    """[P,M,256]: what the point was on the last M frames."""
    weight: Tensor
    """[P,M]: how visible it was there; 0 before its query."""


_PER_POINT = ("t", "xy", "begun", "context", "boxes", "visible", "content", "weight")


class Taptr3(Adapter):
    """TAPTRv3 as a `CausalModel`. Memory grows to a bound (see `Taptr3Options.memory`). The network is in `network`."""

    network: FrameNetwork
    chosen: Taptr3Options

    def __init__(self, network: FrameNetwork, options: Taptr3Options) -> None:
        backbone: Backbone = "resnet50" if network.depth == 50 else "resnet18"
        size = SIZES[backbone] if options.input_size == "published" else options.input_size
        super().__init__(network, TAPTRV3, options, size, options.support)

    def start(self, size: Size) -> FrameState:
        """No points yet, on frames of `size`."""
        self.network_size(size)  # says now if they are too small
        number = torch.tensor(0)  # on the host: it is asked for without waiting for the device
        points = self._points(number[None][:0], torch.zeros(0, 2, device=self.device), 0)
        return FrameState(torch.tensor(size), number, number, *points)

    def select(self, state: FrameState, rows: Tensor) -> FrameState:
        """See `CausalModel.select`; without any query, support points go too."""
        if not len(rows):
            return self.start(_size(state))._replace(now=state.now)
        own = rows[:, None] * self.support.own + torch.arange(self.support.own, device=rows.device)
        shared = torch.arange(len(state.t) - int(state.shared), len(state.t), device=rows.device)
        return _take(state, torch.cat([own.flatten(), shared]))

    def step(self, state: FrameState, frame: Tensor, new_xy: Tensor) -> tuple[FrameState, Prediction]:
        """See `CausalModel.step`. Shared support points start with the first frame that has queries."""
        check_positions(new_xy)
        size = _size(state)
        state = self._join(state, new_xy)
        if len(state.t):
            tokens = self.encode(frame[None]).tokens
            state = self._track(self._read(state, tokens), tokens)
        own = slice(0, len(state.t) - int(state.shared), self.support.own)
        visible = state.visible[own].sigmoid()
        prediction = Prediction(self.pixels(state.boxes[own, :2].sigmoid(), size), visible, visible.clone())
        return state._replace(now=state.now + 1), prediction

    def point_bytes(self, size: Size) -> int:
        """What a point remembers, before and after a frame and turned; and the widest activations."""
        remembered = 3 * (self.chosen.memory or 512) * WIDTH
        samples = HEADS * LEVELS * POINTS * PATCH * (WIDTH // HEADS + 24)
        return self.support.own * 4 * (remembered + samples + HIDDEN + 12 * WIDTH)

    # -- points ------------------------------------------------------------------------------------

    def _points(self, t: Tensor, xy: Tensor, remembered: int) -> tuple[Tensor, ...]:
        """The fields of new points: their frames int64 [M], on the host, and normalised positions [M,2]."""
        count, device = len(xy), self.device
        sure = inverse_sigmoid(torch.ones(count, device=device))
        return (
            t,
            xy,
            torch.zeros(count, dtype=torch.bool),
            torch.zeros(count, PATCH, WIDTH, device=device),
            inverse_sigmoid(torch.cat([xy, torch.full_like(xy, 0.5)], 1)),
            sure,
            torch.zeros(count, remembered, WIDTH, device=device),
            torch.zeros(count, remembered, device=device),
        )

    def _join(self, state: FrameState, new_xy: Tensor) -> FrameState:
        """The state with new queries, between the old ones and the shared support."""
        if not len(new_xy):
            return state
        remembered, now = state.content.shape[1], int(state.now)
        xy = self.with_own(self.normalised(new_xy, _size(state)))
        if not len(state.t):
            shared = self.shared_support(xy)
            begin = shared[:, 0].cpu().long() + now
            state = _insert(state, self._points(begin, shared[:, 1:], remembered), 0)
            state = state._replace(shared=torch.full_like(state.shared, len(shared)))
        points = self._points(torch.full((len(xy),), now), xy, remembered)
        return _insert(state, points, len(state.t) - int(state.shared))

    def _read(self, state: FrameState, tokens: Tensor) -> FrameState:
        """Read the patches of points that begin now."""
        begins = ~state.begun & (state.t <= state.now)
        if not bool(begins.any()):
            return state
        due = sent(begins.nonzero()[:, 0], self.device)
        context = self.network.context(tokens, pyramid_of(self.network_size(_size(state))), state.xy[due])
        return state._replace(begun=state.begun | begins, context=state.context.index_copy(0, due, context))

    # -- a frame -----------------------------------------------------------------------------------

    def _track(self, state: FrameState, tokens: Tensor) -> FrameState:
        """One frame. Points that have not begun are left out: in the original nobody looks at them."""
        # Which those are is known on the host: nothing is sent to the device where it is all of them.
        whole = bool(state.begun.all())
        active = (
            torch.arange(len(state.t), device=self.device) if whole else sent(state.begun.nonzero()[:, 0], self.device)
        )
        before = state.t[state.begun] < state.now
        known = torch.ones(len(before), dtype=torch.bool, device=self.device)
        known = known if bool(before.all()) else sent(before, self.device)
        origin = state.context[active, CENTRE]
        weight = torch.where(known, UNSEEN, 1.0)
        past = Past(
            torch.cat([state.content[active], origin[:, None]], 1),
            torch.cat([state.weight[active], weight[:, None]], 1),
        )
        content = origin
        if bool(before.any()):
            window = Window(
                tokens, pyramid_of(self.network_size(_size(state))), torch.ones_like(known)[None], known[None]
            )
            memory = Memory(state.context[active], past)
            decoded = self.network.decode(window, memory, state.boxes[active][None])
            content = decoded.content[0]
            visible = torch.where(known, decoded.classes[0, :, VISIBLE], state.visible[active])
            weight = torch.where(known, visible.sigmoid(), 1.0)
            state = state._replace(
                boxes=state.boxes.index_copy(0, active, decoded.boxes[0]),
                visible=state.visible.index_copy(0, active, visible),
            )
        return self._remember(state, active, content, weight)

    def _remember(self, state: FrameState, active: Tensor, content: Tensor, weight: Tensor) -> FrameState:
        """The state that remembers this frame, too."""
        entry = state.content.new_zeros(len(state.t), 1, WIDTH)
        share = state.weight.new_zeros(len(state.t), 1)
        entry[active, 0], share[active, 0] = content, weight
        kept = slice(-self.chosen.memory + 1 or state.content.shape[1], None) if self.chosen.memory else slice(None)
        return state._replace(
            content=torch.cat([state.content[:, kept], entry], 1), weight=torch.cat([state.weight[:, kept], share], 1)
        )


def _size(state: FrameState) -> Size:
    return int(state.size[0]), int(state.size[1])


def _take(state: FrameState, rows: Tensor) -> FrameState:
    on_host = rows.cpu()
    fields = {name: getattr(state, name) for name in _PER_POINT}
    return state._replace(
        **{name: part[on_host if part.device.type == "cpu" else rows] for name, part in fields.items()}
    )


def _insert(state: FrameState, points: tuple[Tensor, ...], at: int) -> FrameState:
    """`state` with more points before its row `at`."""
    fields = {name: (getattr(state, name), new) for name, new in zip(_PER_POINT, points, strict=True)}
    return state._replace(**{name: torch.cat([old[:at], new, old[at:]]) for name, (old, new) in fields.items()})


def depth_of(weights: Mapping[str, Any] | None, asked: Backbone | None) -> Depth:
    """50 or 18: which backbone the weights are for. Raises `WeightsError` if that is not what was asked for."""
    if weights is None:
        return 18 if asked == "resnet18" else 50
    names = [name.removeprefix("module.") for name in unwrap(weights)]
    depth: Depth = 50 if "backbone.0.body.layer1.0.conv3.weight" in names else 18
    if asked is not None and asked != f"resnet{depth}":
        raise WeightsError(
            f"these weights are for resnet{depth}, not {asked}; the official file of {TAPTRV3.id} is resnet50: "
            "for the other, pass the path of its file as weights"
        )
    return depth


def build(weights: Mapping[str, Any] | None = None, **options: Any) -> Taptr3:
    """TAPTRv3; weights under the names of the published checkpoints (None: untrained). Options: `Taptr3Options`.

    Raises `WeightsError`, `UsageError`.
    """
    chosen = Taptr3Options.of(TAPTRV3.id, options)
    network = FrameNetwork(depth_of(weights, chosen.backbone))
    if weights is not None:
        load_released(network, weights, TAPTRV3.id)
    return Taptr3(network, chosen)

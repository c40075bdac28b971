"""AllTracker as a tracker of sliding windows that begin on each query's frame. The network is in `network`.

Points asked on one frame share the work: the network follows every pixel of that frame, and a point is a reading of its
answer. A window starts from what the one before said of the frames they share, and of its new frames what that said of
its last one (Harley et al., ICCV 2025, section 3.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit import coords
from tapkit.constants import constant_like
from tapkit.errors import UsageError
from tapkit.models.alltracker.blocks import STRIDE
from tapkit.models.alltracker.card import ALLTRACKER, ALLTRACKER_TINY
from tapkit.models.alltracker.correlation import HELD_BYTES
from tapkit.models.alltracker.graphs import graphs
from tapkit.models.alltracker.network import (
    FULL,
    HIDDEN,
    LEAST,
    MULTIPLE,
    TINY,
    TOKENS,
    WINDOW,
    AllTracker,
    AllTrackerConfig,
    Estimate,
    Field,
    Window,
    time_codes,
)
from tapkit.models.alltracker.weights import load_weights
from tapkit.models.base import Prediction, Size
from tapkit.models.graphs import Graph
from tapkit.models.options import NetworkOptions, require_least, require_size
from tapkit.models.torch_model import TorchModel, check_frames, check_queries
from tapkit.nn.packed import Packable
from tapkit.nn.sampling import sample
from tapkit.nn.transfer import sent
from tapkit.types import ModelCard

LAYERS_BYTES = 20_000
"""What is between the layers for one cell, while it is worked on (measured)."""


@dataclass(frozen=True)
class AllTrackerOptions(NetworkOptions):
    """What a user can choose. In bfloat16 are convolutions, linear layers, attention and the maps that are compared;
    motion, scores and all that is added up stay float32."""

    input_size: Size | None = (384, 512)
    """(height, width) to which frames are resized, as the authors' tests do (also 448x768 and 768x1024, for better
    figures); None: frames are taken as they are."""
    iterations: int = 4
    """Updates of a window."""
    windows: Literal["overwrite", "first"] = "overwrite"
    """Whose answer counts where two windows overlap: the later one's ("overwrite", the authors' tests of clips of up to
    128 frames), or the one's that saw the frame first ("first", their demo and longer clips)."""
    sampling: Literal["nearest", "bilinear"] = "nearest"
    """How a point reads the motion of the pixels: that of the pixel it lies in, and its position there is forgotten, as
    the authors' tests do; or between pixel centres."""
    window: int = WINDOW
    """Frames of a window, an even number; the next one begins half a window later."""

    def check(self) -> None:
        """See `Options.check`."""
        require_size("input_size", self.input_size)
        require_least(self, iterations=1, window=4)
        if self.window % 2:
            raise UsageError(f"window must be an even number of frames, got {self.window}")


class AllTrackerFeatures(NamedTuple):
    """What each frame gives on its own."""

    maps: Tensor
    """[B,h,w,C] at stride 8 of the padded frame."""


class AllTrackerState(NamedTuple):
    """A anchors (frames that points were asked on) and N points."""

    t: Tensor
    """int64 [A], on the host: their frames."""
    anchors: Tensor
    """[A,h,w,C]: their maps."""
    flow: Tensor
    """float32 [A,window/2,h,w,2]: what is known of the first half of the next window, see `Estimate`."""
    score: Tensor
    """float32 [A,window/2,h,w,2]."""
    owner: Tensor
    """int64 [N], on the host: the anchor of each point; -1: its frame has not been seen yet."""
    xy: Tensor
    """float32 [N,window/2,2]: the last window's answers for these frames, pixels of the handed frames."""
    visible: Tensor
    """float32 [N,window/2]."""
    confidence: Tensor
    """float32 [N,window/2]."""
    size: Tensor
    """int64 [2]: (height, width) of the handed frames."""


class AllTrackerModel(TorchModel):
    """AllTracker as a `WindowModel` that `BeginsOnQueries`."""

    begins_on_queries = True
    network: AllTracker
    chosen: AllTrackerOptions

    def __init__(self, network: AllTracker, card: ModelCard, options: AllTrackerOptions) -> None:
        self.window, self.stride = options.window, options.window // 2
        self._dtype = torch.float32
        super().__init__(network, card, options)

    def _cast(self, dtype: torch.dtype) -> None:
        if dtype == torch.float32:  # never back: what was rounded stays rounded
            return
        self._dtype = dtype
        last = {id(head["2"]) for head in (self.network.flow_head, self.network.visconf_head)}
        for module in self.network.modules():
            if isinstance(module, Packable) and id(module) not in last:
                module.to(dtype)

    # -- sizes ------------------------------------------------------------------------------------

    def network_size(self, size: Size) -> Size:
        """(height, width) that frames of `size` are resized to."""
        return self.chosen.input_size or size

    def padding(self, size: Size) -> tuple[int, int, int, int]:
        """(left, right, top, bottom) by which frames of `size` are padded once they are resized."""
        extra = [max(-side % MULTIPLE, LEAST - side) for side in self.network_size(size)]
        return extra[1] // 2, extra[1] - extra[1] // 2, extra[0] // 2, extra[0] - extra[0] // 2

    def map_size(self, size: Size) -> Size:
        """(h, w) of the maps of frames of `size`."""
        left, right, top, bottom = self.padding(size)
        height, width = self.network_size(size)
        return (height + top + bottom) // STRIDE, (width + left + right) // STRIDE

    # -- features ---------------------------------------------------------------------------------

    @torch.inference_mode()
    def encode(self, frames: Tensor) -> AllTrackerFeatures:
        """See `WindowModel.encode`; frames uint8 [B,3,h,w]."""
        size = check_frames(frames)
        if not len(frames):
            return AllTrackerFeatures(self._no_maps(size))
        return AllTrackerFeatures(torch.cat([self._encode(frame, size) for frame in torch.split(frames, 1)]))

    def _encode(self, frame: Tensor, size: Size) -> Tensor:
        image, inner = frame.to(self.device).float(), self.network_size(size)
        if size != inner:
            # To whole grey levels, as OpenCV's bilinear filter gives for images of 8 bits.
            image = F.interpolate(image, inner, mode="bilinear", align_corners=False).add_(0.5).floor_()
        return self.network.encode(F.pad(image, self.padding(size), mode="replicate"))

    def _no_maps(self, size: Size) -> Tensor:
        return torch.zeros(0, *self.map_size(size), self.network.config.channels, device=self.device, dtype=self._dtype)

    def frame_bytes(self, size: Size) -> int:
        """See `WindowModel.frame_bytes`: the map (held, handed over, and once more at all scales), four states, four
        estimates; and a frame's share of the table of products and of what is between the layers."""
        height, width = self.map_size(size)
        cells, itemsize = height * width, self._dtype.itemsize
        own = int(3.4 * self.network.config.channels * itemsize) + 4 * (4 * HIDDEN + 4 * 4)
        table = min(self.window * cells**2 * 4 // 3 * itemsize, HELD_BYTES)
        return cells * own + (table + max(cells, TOKENS) * LAYERS_BYTES) // self.window

    def point_bytes(self, size: Size) -> int:
        """See `WindowModel.point_bytes`: the answers of two windows, and of half a one as they are handed on."""
        return 3 * self.window * 16

    # -- windows ----------------------------------------------------------------------------------

    def start(self, size: Size) -> AllTrackerState:
        """See `WindowModel.start`."""
        maps, half = self._no_maps(size), self.stride
        none = torch.zeros(0, half, device=self.device)
        numbers = torch.zeros(0, dtype=torch.long)  # on the host, where it is asked whose a point is
        known = torch.zeros(0, half, *maps.shape[1:3], 2, device=self.device)
        handed = torch.tensor(size)  # on the host, where sizes are needed
        return AllTrackerState(
            numbers, maps, known, known, numbers, none[..., None].expand(-1, -1, 2), none, none, handed
        )

    @torch.inference_mode()
    def step(
        self, state: AllTrackerState, features: AllTrackerFeatures, first: int, queries: Tensor
    ) -> tuple[AllTrackerState, Prediction]:
        """See `WindowModel.step` and `BeginsOnQueries`: the frames may be fewer than `window`, at the clip's end."""
        check_queries(queries)
        size, maps = (int(state.size[0]), int(state.size[1])), features.maps
        queries = queries.to(self.device, torch.float32)
        held = len(state.owner)
        state, fresh = self._join(state, maps, first, queries)
        answer = _at_queries(queries, len(maps))
        flow, score = [], []
        for number in range(len(state.t)):
            own_rows = (state.owner == number).nonzero()[:, 0]
            window = self._window(state, number, maps, first, fresh)
            of_first = self.chosen.windows == "first" and number < fresh
            own_kept = own_rows[own_rows < held] if of_first else own_rows[:0]
            rows, kept = sent(own_rows, self.device), sent(own_kept, self.device)
            self._read(answer, window, rows, queries, size, self.stride if len(kept) == len(rows) else 0)
            for own, before in zip(answer, (state.xy, state.visible, state.confidence), strict=True):
                own[kept, : self.stride] = before[kept, : len(maps)]
            flow.append(_later(window.estimate.flow, self.stride))
            score.append(_later(window.estimate.score, self.stride))
        if flow:
            state = state._replace(flow=torch.stack(flow), score=torch.stack(score))
        tail = [_later(part, self.stride, 1) for part in answer]
        return state._replace(xy=tail[0], visible=tail[1], confidence=tail[2]), answer

    def _join(self, state: AllTrackerState, maps: Tensor, first: int, queries: Tensor) -> tuple[AllTrackerState, int]:
        """The state with the points that begin in this window; and how many anchors it had before."""
        t = queries[:, 0].round().long().cpu()
        owner = torch.cat([state.owner, state.owner.new_full((len(t) - len(state.owner),), -1)])
        waiting = (owner < 0) & (t >= first) & (t < first + len(maps))
        fresh = len(state.t)
        known = state.t.tolist()
        for frame in torch.unique(t[waiting]).tolist():
            if frame not in known:
                known.append(frame)
            owner[waiting & (t == frame)] = known.index(frame)
        added = torch.tensor(known[fresh:], dtype=torch.long)
        if len(added):
            begins = state.flow.new_zeros(len(added), *state.flow.shape[1:])
            state = state._replace(
                t=torch.cat([state.t, added]),
                anchors=torch.cat([state.anchors, maps[sent(added - first, maps.device)]]),
                flow=torch.cat([state.flow, begins]),
                score=torch.cat([state.score, begins]),
            )
        return state._replace(owner=owner), fresh

    def _window(self, state: AllTrackerState, number: int, maps: Tensor, first: int, fresh: int) -> Window:
        """Anchor `number` in this window. Frames that lack at the clip's end are the last one, once more."""
        anchor, count = state.anchors[number], self.window
        if number >= fresh and len(maps) <= 2 and int(state.t[number]) == first:
            return self._short(anchor, maps)
        frames = _filled(maps, count)
        if number < fresh:
            flow, score = (_filled(part[number], count) for part in (state.flow, state.score))
        else:
            flow = score = state.flow.new_zeros(count, *maps.shape[1:3], 2)
        times = _times(count, maps.device)
        return self.network.window(anchor, frames, Estimate(flow, score), times, self.chosen.iterations)

    def _short(self, anchor: Tensor, maps: Tensor) -> Window:
        """Clips of two frames: a window of the second alone, which has the code of position 1. The first frame stays
        as it is, and so does a clip that has no other."""
        begin = torch.zeros(1, *maps.shape[1:3], 2, device=maps.device)
        if len(maps) == 1:
            return Window(Estimate(begin, begin), begin.new_zeros(1, *maps.shape[1:3], HIDDEN))
        times = _times(WINDOW, maps.device)[1:2]
        window = self.network.window(anchor, maps[1:], Estimate(begin, begin), times, self.chosen.iterations)
        estimate = Estimate(*(torch.cat([begin, part]) for part in window.estimate))
        return Window(estimate, window.hidden.expand(2, -1, -1, -1))

    def select(self, state: AllTrackerState, rows: Tensor) -> AllTrackerState:
        """See `WindowModel.select`. Anchors that no point was asked on any more are forgotten."""
        owner = state.owner[rows.cpu()]
        used, renumbered = torch.unique(owner, return_inverse=True)
        waiting = int((used < 0).sum())  # comes first, and stays -1
        kept = used[waiting:]
        anchors = sent(kept, self.device)
        return AllTrackerState(
            t=state.t[kept],
            anchors=state.anchors[anchors],
            flow=state.flow[anchors],
            score=state.score[anchors],
            owner=renumbered - waiting,
            xy=state.xy[rows],
            visible=state.visible[rows],
            confidence=state.confidence[rows],
            size=state.size,
        )

    def graphs(self) -> list[Graph]:
        """See `HasGraphs`: a frame's map, one update of a window, the enlargement of one frame; at one input size."""
        if self.chosen.input_size is None:
            raise UsageError(f"graphs of {self.card.id} are of one size: choose input_size")
        size = self.chosen.input_size
        return graphs(self.network, size, self.padding(size), self.window)

    # -- readings ---------------------------------------------------------------------------------

    def field(self, window: Window, index: int, size: Size) -> Field:
        """Frame `index` of a window: motion and probabilities of every pixel of the resized anchor, unpadded."""
        left, _, top, _ = self.padding(size)
        height, width = self.network_size(size)
        part = slice(top, top + height), slice(left, left + width)
        return Field(*(values[:, *part] for values in self.network.field(window, index)))

    def _read(self, answer: Prediction, window: Window, rows: Tensor, queries: Tensor, size: Size, begin: int) -> None:
        """Fill `answer` for the points `rows` of one anchor, from the window's frame `begin` on."""
        inner = self.network_size(size)
        at = coords.resize(queries[rows, 1:], size, inner)
        if self.chosen.sampling == "nearest":
            limit = constant_like([inner[1] - 1, inner[0] - 1], at)
            at = at.floor().clamp(min=0).minimum(limit)
        else:
            at = coords.to_centers(at)
        for index in range(begin, answer.xy.shape[1]):
            field = self.field(window, index, size)
            values = self._at(torch.cat(field), at)
            answer.xy[rows, index] = coords.resize(coords.from_centers(at + values[:, :2]), inner, size)
            answer.visible[rows, index] = values[:, 2]
            answer.confidence[rows, index] = values[:, 3]

    def _at(self, field: Tensor, at: Tensor) -> Tensor:
        """Values of a field [4,H,W] at positions [N,2], pixel centres at integers -> [N,4]."""
        if self.chosen.sampling == "bilinear":
            return sample(field[None], at[None])[0]
        x, y = at.long().unbind(1)
        return field[:, y, x].T


def _at_queries(queries: Tensor, frames: int) -> Prediction:
    """What is answered for points that no window knows yet: where they were asked."""
    nothing = queries.new_zeros(len(queries), frames)
    return Prediction(queries[:, None, 1:].repeat(1, frames, 1), nothing, nothing.clone())


def _filled(values: Tensor, count: int, dim: int = 0) -> Tensor:
    """`values` with the last entry along `dim` repeated, so that there are `count`."""
    length = values.shape[dim]
    if length == count:
        return values
    shape = list(values.shape)
    shape[dim] = count - length
    return torch.cat([values, values.narrow(dim, length - 1, 1).expand(shape)], dim)


def _later(values: Tensor, half: int, dim: int = 0) -> Tensor:
    """The second half of a window along `dim`: `half` entries, the last one repeated where the clip ended before."""
    begin = min(half, values.shape[dim] - 1)
    return _filled(values.narrow(dim, begin, values.shape[dim] - begin), half, dim)


def _build(
    weights: Mapping[str, Tensor] | None, config: AllTrackerConfig, card: ModelCard, options: Mapping[str, Any]
) -> AllTrackerModel:
    chosen = AllTrackerOptions.of(card.id, options)
    with torch.device("cpu" if weights is None else "meta"):  # nothing is drawn that the weights replace
        network = AllTracker(config)
    if weights is not None:
        load_weights(network, weights, card.id, time_codes(WINDOW))
    return AllTrackerModel(network, card, chosen)


@lru_cache(maxsize=8)
def _times(count: int, device: torch.device) -> Tensor:
    """`time_codes` on a device, sent there once."""
    with torch.inference_mode(False):
        return time_codes(count).to(device)


def build(weights: Mapping[str, Tensor] | None = None, **options: Any) -> AllTrackerModel:
    """AllTracker with published weights (None: untrained). Options: fields of `AllTrackerOptions`.

    Raises `UsageError` for unknown options, `WeightsError` for weights of another model.
    """
    return _build(weights, FULL, ALLTRACKER, options)


def build_tiny(weights: Mapping[str, Tensor] | None = None, **options: Any) -> AllTrackerModel:
    """The tiny variant, as `build`."""
    return _build(weights, TINY, ALLTRACKER_TINY, options)

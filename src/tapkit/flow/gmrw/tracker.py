"""GMRW as a tracker of windows of two frames: flow from frame to frame, chained, or from the query's frame directly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit import coords
from tapkit.constants import constant_like
from tapkit.errors import UsageError
from tapkit.flow.gmrw.card import GMRW
from tapkit.flow.gmrw.matching import Matching, Method, dense_flow, flow_at
from tapkit.flow.gmrw.network import CHANNELS, MULTIPLE, STRIDE, GmrwNetwork
from tapkit.flow.gmrw.weights import plain_names
from tapkit.models.base import Prediction, Size
from tapkit.models.options import NetworkOptions, require_size
from tapkit.models.torch_model import TorchModel, check_frames, check_queries
from tapkit.nn.packed import Linear
from tapkit.nn.resize import resize_lanczos
from tapkit.weights import match

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
RETURN_PIXELS = 3.0
"""How far from its start the way forward and back may end for a point to be visible, in pixels of the frames matched
(before they are enlarged)."""


@dataclass(frozen=True)
class GmrwOptions(NetworkOptions):
    """What a user can choose."""

    resolution: Size | None = (256, 256)
    """(height, width) that frames are resized to first (Lanczos, as benchmarks do); None: the video's own size."""
    upsample: int = 2
    """Frames are enlarged by this factor before they are matched; cells are then 4 / upsample pixels wide. 4 gives the
    best published figures for 16 times the work of 2."""
    mode: Literal["chain", "direct"] = "chain"
    """"chain": flows between neighbouring frames are added up, and visible is what returns to its start; "direct":
    every frame is matched with the query's, and visible is what lies in the frame."""
    flow_method: Method = "weighted_sum"
    """What is taken from a row of the transition matrix: its mean position ("weighted_sum"), its best cell ("argmax"),
    or the mean position near the best cell ("weighted_argmax")."""
    window_threshold: float = 5.0
    """Of "weighted_argmax": cells nearer than that to the best one count."""
    pixel_range: Literal["0..255", "0..1"] = "0..255"
    """Range of pixel values before they are normalised: the authors evaluate with the first, and train with the
    second."""

    def check(self) -> None:
        """See `Options.check`."""
        require_size("resolution", self.resolution)
        if not 1 <= self.upsample <= 16:
            raise UsageError(f"upsample must be from 1 to 16, got {self.upsample}")
        if not self.window_threshold > 0:
            raise UsageError(f"window_threshold must be positive, got {self.window_threshold}")


class GmrwFeatures(NamedTuple):
    """What each frame gives on its own."""

    maps: Tensor
    """float32 [B,h,w,128], with position codes."""


class GmrwState(NamedTuple):
    """N points on the first frame of the next window."""

    xy: Tensor
    """float32 [N,2], pixels of the frames before they are enlarged, corner origin; the query until it begins."""
    asked: Tensor
    """float32 [N,2]: the query's position in the same pixels."""
    returned: Tensor
    """bool [N]: the way forward and back into this frame ended near its start."""
    source: Tensor
    """int64 [N]: which of `references` is the query's frame; -1: none yet (always, in mode "chain")."""
    references: Tensor
    """[K,h,w,128] features of the frames that points were queried on (mode "direct")."""
    size: Tensor
    """int64 [2]: (height, width) of the handed frames."""


class Gmrw(TorchModel):
    """GMRW as a `WindowModel` of two frames that advances by one."""

    window = 2
    stride = 1
    network: GmrwNetwork
    chosen: GmrwOptions

    def _cast(self, dtype: torch.dtype) -> None:
        if dtype == torch.float32:  # never back: what was rounded stays rounded
            return
        self.network.backbone.to(dtype)
        for module in self.network.transformer.modules():
            if isinstance(module, Linear):
                module.to(dtype)
        self._dtype = dtype

    _dtype = torch.float32

    @property
    def matching(self) -> Matching:
        """How rows of the matrix become positions."""
        return Matching(self.chosen.flow_method, self.chosen.window_threshold)

    def matched_size(self, size: Size) -> Size:
        """Size of the frames before they are enlarged: that in which the network's answers count pixels."""
        return self.chosen.resolution or size

    def enlarged_size(self, size: Size) -> Size:
        """Size at which the network sees frames: sides rounded to multiples of 8, which it needs."""
        height, width = (self.chosen.upsample * side for side in self.matched_size(size))
        return (max(round(height / MULTIPLE), 1) * MULTIPLE, max(round(width / MULTIPLE), 1) * MULTIPLE)

    def map_size(self, size: Size) -> Size:
        """Size of the feature maps."""
        height, width = self.enlarged_size(size)
        return height // STRIDE, width // STRIDE

    # -- features ---------------------------------------------------------------------------------

    @torch.inference_mode()
    def encode(self, frames: Tensor) -> GmrwFeatures:
        """See `WindowModel.encode`; frames uint8 [B,3,h,w]."""
        size = check_frames(frames)
        maps = [self._encode(frame, size) for frame in torch.split(frames, 1)]
        return GmrwFeatures(torch.cat(maps) if maps else self._no_maps(size))

    def _encode(self, frame: Tensor, size: Size) -> Tensor:
        small = resize_lanczos(frame.to(self.device), self.matched_size(size)).float()
        image = F.interpolate(small, self.enlarged_size(size), mode="bilinear", align_corners=True)
        if self.chosen.pixel_range == "0..1":
            image = image / 255
        image = (image - constant_like(MEAN, image)[:, None, None]) / constant_like(DEVIATION, image)[:, None, None]
        return self.network.encode(image.to(self._dtype))

    def _no_maps(self, size: Size) -> Tensor:
        return torch.zeros(0, *self.map_size(size), CHANNELS, device=self.device)

    @torch.inference_mode()
    def relate(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Features [h,w,128] of two frames, each knowing of the other."""
        one, other = self.network.relate(first[None], second[None])
        return one[0], other[0]

    @torch.inference_mode()
    def flow(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Flows float32 [2,h,w] between two frames uint8 [2,3,h,w], first -> second and back, in their pixels.

        The flow at pixel (i, j) is that of its centre.
        """
        size = check_frames(frames)
        first, second = self.relate(*self.encode(frames).maps)
        return dense_flow(first, second, size, self.matching), dense_flow(second, first, size, self.matching)

    # -- windows ----------------------------------------------------------------------------------

    def start(self, size: Size) -> GmrwState:
        """See `WindowModel.start`."""
        none = torch.zeros(0, device=self.device)
        positions, handed = none.view(0, 2), torch.tensor(size)
        return GmrwState(positions, positions, none.bool(), none.long(), self._no_maps(size), handed)

    @torch.inference_mode()
    def step(
        self, state: GmrwState, features: GmrwFeatures, first: int, queries: Tensor
    ) -> tuple[GmrwState, Prediction]:
        """See `WindowModel.step`: the frames `first` and `first + 1`. Points that begin on the second wait there."""
        check_queries(queries)
        handed = (int(state.size[0]), int(state.size[1]))
        size = self.matched_size(handed)
        state = self._join(state, queries, handed, size)
        t = queries[:, 0].round().long().to(self.device)
        state = state._replace(source=state.source.clone())  # no call changes its arguments
        move = self._chain if self.chosen.mode == "chain" else self._direct
        next_xy, returned, references = move(state, features.maps, t, first, size)
        xy = torch.stack([state.xy, next_xy], 1)
        visible = _inside(xy, size)
        if self.chosen.mode == "chain":
            visible = visible & torch.stack([state.returned & returned, returned], 1)
            visible = visible | torch.stack([t == first, t == first + 1], 1)
        answer = visible.float()
        prediction = Prediction(coords.resize(xy, size, handed), answer, answer)
        return state._replace(xy=next_xy, returned=returned, references=references), prediction

    def _join(self, state: GmrwState, queries: Tensor, handed: Size, size: Size) -> GmrwState:
        """The state with the points that are new in `queries`, each at its query."""
        new = queries[len(state.xy) :, 1:].to(self.device, torch.float32)
        if not len(new):
            return state
        new = coords.resize(new, handed, size)
        xy, asked = torch.cat([state.xy, new]), torch.cat([state.asked, new])
        returned = torch.cat([state.returned, state.returned.new_ones(len(new))])
        source = torch.cat([state.source, state.source.new_full((len(new),), -1)])
        return state._replace(xy=xy, asked=asked, returned=returned, source=source)

    def _chain(
        self, state: GmrwState, maps: Tensor, t: Tensor, first: int, size: Size
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Positions on the second frame, whether the way back ended near the start, and the references."""
        begun = t <= first
        # A GPU would have to be waited for to learn which those are: there all are moved, and what waits stays.
        moving = begun.nonzero()[:, 0] if t.device.type == "cpu" else torch.arange(len(t), device=t.device)
        next_xy, returned = state.xy.clone(), torch.ones_like(state.returned)
        if len(moving):
            one, other = self.relate(maps[0], maps[1])
            xy = state.xy[moving]
            forward = flow_at(one, other, size, xy, self.matching)
            backward = flow_at(other, one, size, xy + forward, self.matching)
            returning = (forward + backward).norm(dim=1) < RETURN_PIXELS
            next_xy[moving] = torch.where(begun[moving, None], xy + forward, xy)
            returned[moving] = returning | ~begun[moving]
        return next_xy, returned, state.references

    def _direct(
        self, state: GmrwState, maps: Tensor, t: Tensor, first: int, size: Size
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `_chain`, each query's frame being matched with the second frame. Notes in `state.source` what begins."""
        references = state.references
        begins = t == first
        if begins.any():
            state.source[begins] = len(references)
            references = torch.cat([references, maps[:1]])
        next_xy = state.xy.clone()
        for number in torch.unique(state.source).tolist():
            if number < 0:
                continue
            rows = (state.source == number).nonzero()[:, 0]
            one, other = self.relate(references[number], maps[1])
            next_xy[rows] = state.asked[rows] + flow_at(one, other, size, state.asked[rows], self.matching)
        return next_xy, torch.ones_like(state.returned), references

    def select(self, state: GmrwState, rows: Tensor) -> GmrwState:
        """See `WindowModel.select`. Frames that no point was queried on any more are forgotten."""
        source = state.source[rows]
        used, renumbered = torch.unique(source, return_inverse=True)
        begun = used >= 0
        source = renumbered - int((~begun).sum())  # what is not begun comes first, as -1
        return state._replace(
            xy=state.xy[rows],
            asked=state.asked[rows],
            returned=state.returned[rows],
            source=source,
            references=state.references[used[begun]],
        )

    def point_bytes(self, size: Size) -> int:
        """See `WindowModel.point_bytes`: rows of the matrix are made in blocks, so a point costs its few numbers; in
        mode "direct" it may hold the features of a frame of its own."""
        height, width = self.map_size(size)
        own = height * width * CHANNELS * 4 if self.chosen.mode == "direct" else 0
        return 4096 + own

    def frame_bytes(self, size: Size) -> int:
        """See `WindowModel.frame_bytes`: the features, and a frame's share of what a layer holds."""
        height, width = self.map_size(size)
        return 12 * height * width * CHANNELS * 4


def _inside(xy: Tensor, size: Size) -> Tensor:
    """Whether positions [...,2] lie in the frame, as the authors count: right and lower border excluded."""
    x, y = xy.unbind(-1)
    return (x >= 0) & (x < size[1]) & (y >= 0) & (y < size[0])


def build(weights: Mapping[str, Tensor] | None = None, **options: Any) -> Gmrw:
    """GMRW with published weights (None: untrained). Options: fields of `GmrwOptions`.

    Raises `UsageError` for unknown options, `WeightsError` for weights of another model.
    """
    chosen = GmrwOptions.of(GMRW.id, options)
    network = GmrwNetwork()
    if weights is not None:
        network.load_state_dict(match(plain_names(weights), network.state_dict(), GMRW.id))
    return Gmrw(network, GMRW, chosen)

"""DOT as a tracker of whole clips and as a flow model between any two of their frames (arXiv:2312.00786).

Frames are kept as they come (the tracker, the flow model and the refiner each resize them as they like). When the clip
is complete, points are drawn in all frames, half of them on motion boundaries, and tracked by the tracker that the
engine runs for it; each (first, second) pair of frames that is asked for is then interpolated and refined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from tapkit import coords
from tapkit.coords import Size
from tapkit.errors import UsageError
from tapkit.flow.base import Flow, FlowModel
from tapkit.flow.dot.boundaries import THRESHOLD, boundary_strength, draw_batches
from tapkit.flow.dot.card import DOT
from tapkit.flow.dot.coarse import SparseTracks, unit
from tapkit.flow.dot.motion import HELD, ClipMotion, read_points, whole_field
from tapkit.flow.dot.network import REFINER, Refiner
from tapkit.flow.dot.weights import refiner_state
from tapkit.flow.known import build_flow
from tapkit.models.base import Prediction, TrackPoints
from tapkit.models.options import NetworkOptions, require_least, require_size
from tapkit.models.torch_model import TorchModel, check_frames, check_queries
from tapkit.nn.packed import pack
from tapkit.nn.precision import feature_dtype
from tapkit.nn.transfer import sent

LEAST = 64
"""Pixels a side below which the coarsest level of the correlations has a single cell."""


@dataclass(frozen=True)
class DotOptions(NetworkOptions):
    """Settings of DOT."""

    tracker: str = "cotracker2"
    """The id of the tracker of sparse points, any but DOT itself; the authors use CoTracker, CoTracker2, CoTracker3,
    TAPIR and BootsTAPIR."""
    tracker_weights: str | None = None
    """Its checkpoint file; None: the official one, if it needs any."""
    tracker_options: Mapping[str, Any] = field(default_factory=dict)
    """Its options."""
    flow: str = "dot-estimator"
    """The id of the flow model that finds motion boundaries."""
    flow_weights: str | None = None
    """Its checkpoint file; None: the official one, if it needs any."""
    flow_options: Mapping[str, Any] = field(default_factory=dict)
    """Its options."""
    tracks: int = 8192
    """How many sparse tracks; the authors take 8192, and 2048 for a single pair of frames (CVO)."""
    batch: int = 2048
    """How many of them the tracker follows together."""
    sampling: Literal["all", "first", "last"] = "all"
    """On which frames sparse tracks begin: "all", or only the first or the last, for motion from that frame alone."""
    seed: int = 0
    """Of the random numbers by which points are drawn."""
    iterations: int = 4
    """Refinements of every pair."""
    resolution: Size | None = (512, 512)
    """(height, width) of the frames that the refiner sees, multiples of 4; None: about the clip's own. The authors take
    512x512 on TAP-Vid and 480x856 in their demonstration."""
    max_side: int | None = 960
    """Longer frames are handed over at this length of their longer side; None: at their own."""

    def check(self) -> None:
        """See `Options.check`."""
        require_least(self, tracks=1, batch=1, iterations=1)
        require_size("resolution", self.resolution, LEAST, REFINER.stride)
        if self.max_side is not None and self.max_side < 8:
            raise UsageError(f"max_side must be at least 8 pixels, got {self.max_side!r}")
        if self.tracker == DOT.id:
            raise UsageError("dot starts from the tracks of another tracker, not from its own")


class Clip(NamedTuple):
    """What is kept of frames."""

    rgb: Tensor
    """uint8 [B,3,h,w]."""


class Dot(TorchModel):
    """A `ClipModel` that `StartsFromTracks` and `GivesFlow`. Sparse points do not depend on the queries, so points do
    not influence each other."""

    network: Refiner
    chosen: DotOptions

    def __init__(self, network: Refiner, options: DotOptions) -> None:
        super().__init__(network, replace(DOT, input_size=options.resolution), options)
        self.report: Callable[[int, int], object] | None = None
        self.flow_model: FlowModel | None = None
        self._track_points: TrackPoints | None = None
        self._facts: dict[str, Any] = {}

    # -- what it starts from ------------------------------------------------------------------------

    @property
    def tracker(self) -> tuple[str, str | None, Mapping[str, Any]]:
        """See `StartsFromTracks.tracker`."""
        return self.chosen.tracker, self.chosen.tracker_weights, self.chosen.tracker_options

    def start_from(self, track: TrackPoints, facts: Mapping[str, Any]) -> None:
        """See `StartsFromTracks.start_from`. Builds the flow model, too."""
        chosen = self.chosen
        self._track_points, self._facts = track, dict(facts)
        self.flow_model = build_flow(chosen.flow, chosen.flow_weights, **chosen.flow_options).to(self.device)

    @property
    def options(self) -> Mapping[str, Any]:
        """See `Model.options`; with those in force of the tracker and of the flow model."""
        flow = {} if self.flow_model is None else {"flow_options": dict(self.flow_model.options)}
        return {**self.chosen.to_json(), **flow, **self._facts}

    def _settle(self) -> None:
        """As for RAFT, the layers of the matching maps are not packed: their sums would be rounded more coarsely."""
        self._cast(feature_dtype(self.chosen.precision, self.device))
        for name, part in self.network.named_children():
            if name != "matching":
                pack(part)
        if getattr(self, "flow_model", None) is not None:
            self.flow_model = self.flow_model.to(self.device)  # type: ignore[union-attr]

    # -- frames -------------------------------------------------------------------------------------

    def frame_size(self, size: Size) -> Size | None:
        """See `Model.frame_size`."""
        return coords.shrunk(size, self.chosen.max_side)

    def encode(self, frames: Tensor) -> Clip:
        """See `ClipModel.encode`: the frames themselves. Maps are made of them when they are needed."""
        check_frames(frames)
        return Clip(frames)

    def network_size(self, size: Size) -> Size:
        """(height, width) of what the refiner sees of frames of `size`."""
        if self.chosen.resolution is not None:
            return self.chosen.resolution
        stride = REFINER.stride
        height, width = (max(round(side / stride) * stride, LEAST) for side in size)
        return height, width

    # -- motion -------------------------------------------------------------------------------------

    def boundaries(self, frames: Tensor, frame: int) -> Tensor:
        """The mask [h,w] of the motion boundaries of a frame of a clip [T,3,h,w]: by the flow to the frame before, or
        from the first frame to the next."""
        if self.flow_model is None:
            raise UsageError("dot starts from the tracks of another tracker: load it by tapkit.load")
        size: Size = (frames.shape[-2], frames.shape[-1])
        other = frame - 1 if frame else min(1, len(frames) - 1)
        features = self.flow_model.encode(torch.stack([frames[frame], frames[other]]))
        first, second = (type(features)(*(part[i : i + 1] for part in features)) for i in (0, 1))
        return boundary_strength(self.flow_model.flow(first, second, size).xy)[0] > THRESHOLD

    def sparse_tracks(self, frames: Tensor) -> SparseTracks:
        """Tracks of the points that are drawn in a clip uint8 [T,3,h,w]."""
        if self._track_points is None:
            raise UsageError("dot starts from the tracks of another tracker: load it by tapkit.load")
        chosen, size = self.chosen, (frames.shape[-2], frames.shape[-1])
        begin = {"all": range(len(frames)), "first": [0], "last": [len(frames) - 1]}[chosen.sampling]
        full, rest = divmod(chosen.tracks, chosen.batch)
        batches = [chosen.batch] * full + [rest] * (rest > 0)
        drawn = draw_batches(lambda frame: self.boundaries(frames, frame), begin, batches, chosen.seed)
        for points in drawn:
            points[:, 1:] = coords.from_centers(points[:, 1:])
        found = self._track_points(frames, drawn)
        xy = unit(coords.to_centers(found.xy), size).transpose(0, 1).contiguous()
        return SparseTracks(xy.to(frames.device), (found.visible > 0.5).T.contiguous().to(frames.device))

    def motion(self, frames: Tensor, tracks: SparseTracks | None = None) -> ClipMotion:
        """Dense motion within a clip uint8 [T,3,h,w]; `tracks`: sparse tracks that are known already."""
        size: Size = (frames.shape[-2], frames.shape[-1])
        if tracks is None:
            tracks = self.sparse_tracks(frames)
        return ClipMotion(self.network, frames, tracks, self.network_size(size), self.chosen.iterations)

    # -- answers ------------------------------------------------------------------------------------

    def track(self, features: Clip, size: Size, queries: Tensor) -> Prediction:
        """See `ClipModel.track`."""
        check_queries(queries, len(features.rgb))
        if not len(queries):
            return self._room(features, 0)
        motion = self.motion(features.rgb)
        return self.track_with(motion, size, queries)

    def _room(self, features: Clip, count: int) -> Prediction:
        shape, device = (count, len(features.rgb)), features.rgb.device
        visible = torch.zeros(shape, device=device)
        return Prediction(torch.zeros(*shape, 2, device=device), visible, visible)

    def track_with(self, motion: ClipMotion, size: Size, queries: Tensor) -> Prediction:
        """The prediction for queries [N,3] (t, x, y) from motion that is known; pixels of frames of `size`."""
        found = self._room(Clip(motion.frames), len(queries))
        first = queries[:, 0].round().long().cpu()
        sources = sorted(set(first.tolist()))
        own = {source: sent((first == source).nonzero()[:, 0], queries.device) for source in sources}
        motion.held = min(HELD, len(sources))
        frames = len(motion.frames)
        done = 0
        # A group of first frames at a time, so that their features can be held while all others pass by.
        for begin in range(0, len(sources), HELD):
            for second in range(frames):
                for source in sources[begin : begin + HELD]:
                    rows = own[source]
                    dense = motion.dense(source, second)
                    found.xy[rows, second], found.visible[rows, second] = read_points(dense, queries[rows, 1:], size)
                    done += 1
                    if self.report is not None:
                        self.report(done, frames * len(sources))
        return found

    def flows_between(self, features: Clip, size: Size, pairs: Iterable[tuple[int, int]]) -> Iterator[Flow]:
        """See `GivesFlow.flows_between`."""
        motion = self.motion(features.rgb)
        for first, second in pairs:
            yield whole_field(motion.dense(first, second), size)

    def point_bytes(self, frames: int, size: Size) -> int:
        """See `ClipModel.point_bytes`: the answer alone."""
        return 16 * frames

    def frame_bytes(self, size: Size) -> int:
        """See `ClipModel.frame_bytes`."""
        return 3 * size[0] * size[1]


def build(weights: Mapping[str, Tensor] | None = None, **options: Any) -> Dot:
    """DOT with published weights of its refiner (None: untrained); options: `DotOptions`.

    It tracks once it has been given a tracker (`start_from`), which `tapkit.load` does.
    """
    settings = DotOptions.of(DOT.id, options)
    if weights is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = Refiner()
    else:
        with torch.device("meta"):
            network = Refiner()
        network.load_state_dict(refiner_state(weights, DOT.id), assign=True)
    return Dot(network, settings)

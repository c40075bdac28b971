"""MFT as a causal tracker: on each frame the flows from 1, 2, 4, ... frames ago and from the first frame each continue
a chain, and every pixel takes the surest of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit import coords
from tapkit.errors import UsageError
from tapkit.flow.mft import chains
from tapkit.flow.mft.card import MFT
from tapkit.flow.mft.network import MftNetwork
from tapkit.flow.mft.pairs import MftPairs
from tapkit.flow.mft.weights import converted
from tapkit.flow.raft.model import RaftFeatures, RaftOptions, lay_out
from tapkit.models.base import Prediction, Size
from tapkit.models.options import NetworkOptions, require_least, require_size
from tapkit.models.torch_model import TorchModel
from tapkit.nn.precision import feature_dtype

RADIUS = 8.0
"""`confidence` is P(error < this), pixels of the frames tracked."""
LEAST = 8
"""Pixels a side that `resolution` must have."""


@dataclass(frozen=True)
class MftOptions(NetworkOptions):
    """Settings of MFT."""

    resolution: Size | None = (512, 512)
    """(height, width) at which frames are tracked; None: the video's own."""
    deltas: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """How many frames ago the chains end that are tried. The features of as many frames as the largest are held."""
    from_start: bool = True
    """Whether the flow straight from the point's first frame is tried too (the authors' delta "inf")."""
    occlusion_threshold: float = 0.02
    """P(hidden) above which a chain is taken only if there is no other. (Not the threshold of the answer.)"""
    iterations: int = 12
    """Refinements of each flow."""
    whole_pixels: bool = False
    """Whether queries are cut to whole pixels of the frames tracked, as the authors' evaluation does."""

    def check(self) -> None:
        """See `Options.check`."""
        require_size("resolution", self.resolution, LEAST)
        require_least(self, iterations=1)
        if any(delta < 1 for delta in self.deltas) or len(set(self.deltas)) < len(self.deltas):
            raise UsageError(f"deltas must be different numbers of at least 1, got {list(self.deltas)}")
        if not self.from_start and 1 not in self.deltas:
            raise UsageError("deltas must have 1 where from_start is false, or a point's second frame has no flow")
        if not 0 <= self.occlusion_threshold <= 1:
            raise UsageError(f"occlusion_threshold must be from 0 to 1, got {self.occlusion_threshold:g}")


class MftState(NamedTuple):
    """N points, answered by K pixels that began on M frames; L is the largest delta. The shapes of what belongs to a
    frame that is not held are [0]."""

    features: tuple[RaftFeatures, ...]
    """L: of the last frames, the latest first, leading axis 1."""
    starts: RaftFeatures
    """Of the frames on which pixels began, leading axis M (without channels if `from_start` is false)."""
    age: Tensor
    """int64 [M]: how many frames ago those were, seen from the last frame."""
    history: tuple[Tensor, ...]
    """L: float32 [K,4] results (see `chains`) on the last frames, the latest first."""
    pixel: Tensor
    """float32 [K,2] (x, y) where each began, pixels of the frames tracked, centres at integers."""
    start: Tensor
    """int64 [K]: on which of the M frames."""
    corner: Tensor
    """int64 [N,4]: the pixels around each point's query,"""
    share: Tensor
    """float32 [N,4]: and their parts in its answer."""
    asked: Tensor
    """float32 [N,2]: the query in pixels of the frames tracked, corner origin."""


class Mft(TorchModel):
    """A `CausalModel`; points do not influence each other."""

    network: MftNetwork
    chosen: MftOptions

    def __init__(self, network: MftNetwork, options: MftOptions) -> None:
        self.pairs = MftPairs(network, RaftOptions(iterations=options.iterations), MFT)
        self.deltas = sorted(options.deltas)
        self.reach = max(options.deltas, default=0)
        super().__init__(network, MFT, options)

    def _settle(self) -> None:
        self.network.to(feature_dtype(self.chosen.precision, self.device))
        lay_out(self.network)

    def work_size(self, size: Size) -> Size:
        """At which size frames of `size` are tracked."""
        return self.chosen.resolution or size

    def start(self, size: Size) -> MftState:
        """See `CausalModel.start`."""
        device = self.device

        def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        return MftState(
            features=self._no_features(),
            starts=RaftFeatures(empty(0), empty(0)),
            age=torch.zeros(0, dtype=torch.long),
            history=tuple(empty(0, 4) for _ in range(self.reach)),
            pixel=empty(0, 2),
            start=torch.zeros(0, dtype=torch.long),
            corner=empty(0, 4, dtype=torch.long),
            share=empty(0, 4),
            asked=empty(0, 2),
        )

    def _no_features(self) -> tuple[RaftFeatures, ...]:
        def empty() -> Tensor:
            return torch.zeros(0, device=self.device)

        return tuple(RaftFeatures(empty(), empty()) for _ in range(self.reach))

    def select(self, state: MftState, rows: Tensor) -> MftState:
        """See `CausalModel.select`. Pixels and first frames that no point needs any more are forgotten."""
        pixels, corner = torch.unique(state.corner[rows], return_inverse=True)
        starts, start = torch.unique(state.start[pixels.cpu()], return_inverse=True)
        kept = starts.to(self.device)
        return state._replace(
            starts=RaftFeatures(*(part[kept] for part in state.starts)),
            age=state.age[starts],
            history=tuple(result[pixels] for result in state.history),
            pixel=state.pixel[pixels],
            start=start,
            corner=corner,
            share=state.share[rows],
            asked=state.asked[rows],
        )

    def point_bytes(self, size: Size) -> int:
        """See `CausalModel.point_bytes`: the results of the four pixels around it."""
        return 4 * (16 * self.reach + 256)

    def step(self, state: MftState, frame: Tensor, new_xy: Tensor) -> tuple[MftState, Prediction]:
        """See `CausalModel.step`. Without points nothing is computed."""
        size = (frame.shape[-2], frame.shape[-1])
        work = self.work_size(size)
        if not len(state.pixel) and not len(new_xy):
            state = self.start(size)
            return state, self._answer(state, state.pixel.new_zeros(0, 4), size)
        features = self.pairs.encode(_resized(frame[None].to(self.device), work))
        if len(state.pixel):
            result = self._advanced(state, features, work)
            held = (features, *state.features[:-1]) if self.reach else ()
        else:
            state = self.start(size)
            result = state.pixel.new_zeros(0, 4)
            held = (features, *self._no_features()[:-1]) if self.reach else ()
        history = (result, *state.history[:-1]) if self.reach else ()
        state = state._replace(features=held, history=history, age=state.age + 1)
        if len(new_xy):
            state = self._join(state, features, new_xy.to(self.device, torch.float32), size)
            result = torch.cat([result, result.new_zeros(len(state.pixel) - len(result), 4)])
        return state, self._answer(state, result, size)

    def _advanced(self, state: MftState, features: RaftFeatures, work: Size) -> Tensor:
        """The results [K,4] of all pixels on the frame whose features are given."""
        age = state.age + 1
        of_pixel = age[state.start]
        maps = self._maps(state, features, age, work)
        result = torch.zeros_like(state.pixel).repeat(1, 2)
        known = torch.full_like(of_pixel, self.chosen.from_start, dtype=torch.bool)
        if self.chosen.from_start:
            for number, distance in enumerate(age.tolist()):
                rows = self._rows(state.start == number)
                result[rows] = chains.extended(result[rows], state.pixel[rows], maps[distance])
        for delta in self.deltas:
            reaches = self._reaches(of_pixel, delta)
            if bool(reaches.any()):
                rows = self._rows(reaches)
                other = chains.extended(state.history[delta - 1][rows], state.pixel[rows], maps[delta])
                best = chains.preferred(result[rows], other, self.chosen.occlusion_threshold)
                before = known[reaches]
                if bool(before.all()):
                    result[rows] = best
                else:
                    some = bool(before.any())
                    result[rows] = torch.where(before.to(self.device)[:, None], best, other) if some else other
                known = known | reaches
        return chains.hidden_outside(result, state.pixel, work)

    def _rows(self, mask: Tensor) -> slice | Tensor:
        """The rows of a mask of the host, on the device; where they follow one another nothing is sent there."""
        rows = mask.nonzero()[:, 0]
        if len(rows) and int(rows[-1] - rows[0]) + 1 == len(rows):
            return slice(int(rows[0]), int(rows[-1]) + 1)
        return rows.to(self.device)

    def _reaches(self, age: Tensor, delta: int) -> Tensor:
        """Whether a chain may end `delta` frames ago, for what began `age` frames ago. Where it is just as old the flow
        straight from its first frame is the same, and counts as that."""
        return age > delta if self.chosen.from_start else age >= delta

    def _maps(self, state: MftState, features: RaftFeatures, age: Tensor, work: Size) -> dict[int, Tensor]:
        """The flows that are needed to the frame whose features are given, by how many frames ago they begin."""
        sources = {delta: state.features[delta - 1] for delta in self.deltas if bool(self._reaches(age, delta).any())}
        if self.chosen.from_start:
            for number, distance in enumerate(age.tolist()):
                sources.setdefault(distance, RaftFeatures(*(part[number : number + 1] for part in state.starts)))
        found = self.pairs.maps(list(sources.values()), features, work)
        return dict(zip(sources, found, strict=True))

    def _join(self, state: MftState, features: RaftFeatures, new_xy: Tensor, size: Size) -> MftState:
        """The state with points that begin on the last frame."""
        work = self.work_size(size)
        asked, centre = chains.to_work(new_xy, size, work, self.chosen.whole_pixels)
        pixel, corner, share = chains.around(centre, work)
        kept = features if self.chosen.from_start else RaftFeatures(*(part[:, :0] for part in features))
        if len(state.age):
            kept = RaftFeatures(*(torch.cat(parts) for parts in zip(state.starts, kept, strict=True)))
        zeros = state.pixel.new_zeros(len(pixel), 4)
        return state._replace(
            starts=RaftFeatures(*(part.contiguous() if len(state.age) else part.clone() for part in kept)),
            age=torch.cat([state.age, state.age.new_zeros(1)]),
            history=tuple(torch.cat([result, zeros]) for result in state.history),
            pixel=torch.cat([state.pixel, pixel]),
            start=torch.cat([state.start, state.start.new_full((len(pixel),), len(state.age))]),
            corner=torch.cat([state.corner, corner + len(state.pixel)]),
            share=torch.cat([state.share, share]),
            asked=torch.cat([state.asked, asked]),
        )

    def _answer(self, state: MftState, result: Tensor, size: Size) -> Prediction:
        """What is said of the points, given the pixels' results [K,4]."""
        values = (state.share[:, :, None] * result[state.corner]).sum(1)
        xy = coords.resize(state.asked + values[:, :2], self.work_size(size), size)
        confidence = 1 - torch.exp(-(RADIUS**2) / (2 * values[:, 3].square()))
        return Prediction(xy, (1 - values[:, 2]).clamp(0, 1), confidence)


def _resized(frames: Tensor, size: Size) -> Tensor:
    """uint8 frames [B,3,h,w] at `size`, bilinear, averaged where they shrink."""
    if frames.shape[-2:] == size:
        return frames
    resized = F.interpolate(frames.float(), size, mode="bilinear", antialias=True)
    return resized.round_().clamp_(0, 255).to(torch.uint8)


def build(weights: Mapping[str, Tensor] | None = None, **options: object) -> Mft:
    """MFT with published weights (None: untrained). Options are the fields of `MftOptions`.

    Raises `UsageError` for unknown options, `WeightsError` for weights of another model.
    """
    chosen = MftOptions.of(MFT.id, options)
    if weights is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = MftNetwork()
    else:
        with torch.device("meta"):
            network = MftNetwork()
        network.load_state_dict(converted(weights, MFT.id), assign=True)
    return Mft(network, chosen)

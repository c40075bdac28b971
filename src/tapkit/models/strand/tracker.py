"""strand: the tracker that comes with tapkit. Ours: architecture, data, training and weights are Apache-2.0.

Causal, without delay, constant memory; points are independent and may be added on any frame. The network and where its
parts come from: `network`. How it was trained and what each choice brought: docs/models/strand.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tapkit.errors import ShapeError, UsageError
from tapkit.models.base import Prediction, Size
from tapkit.models.fixed_step import IndependentSteps
from tapkit.models.options import MEASURED, NetworkOptions, Precision
from tapkit.models.strand.anchor import SIZE
from tapkit.models.strand.card import STRAND
from tapkit.models.strand.encoder import STRIDES, Maps, config_of
from tapkit.models.strand.frame_motion import between
from tapkit.models.strand.narrow import Narrow
from tapkit.models.strand.network import Network, Points, Step, follow
from tapkit.models.strand.scales import SCALES, Scales, views
from tapkit.models.strand.surroundings import Kept, asked, held, led
from tapkit.models.torch_model import TorchModel
from tapkit.nn.alignment import grey_pyramid
from tapkit.weights import match

WORTH_ENLARGING = 1.25
"""Frames that lack less than this factor of their side are not enlarged: it costs more than it brings."""


class StrandFeatures(NamedTuple):
    """What is seen on a frame: the encoder's maps in the order of their strides, and the `grey_pyramid`."""

    maps: Maps
    grey: tuple[Tensor, ...]
    frame: Tensor
    """uint8 [1,3,H,W], from which queries are made at other sizes; [0,3,H,W]: they are not."""


class Compared(NamedTuple):
    """The same, and how the frame as a whole moved there (`frame_motion.between`)."""

    maps: Maps
    grey: tuple[Tensor, ...]
    frame: Tensor
    since: tuple[Tensor, ...]
    """The `grey_pyramid` of the frame before."""
    motion: Tensor
    """[3,3]."""


class StrandState(NamedTuple):
    """State of N points between frames: `network.Points` as plain tensors, maps in the order of its strides,
    what is known of their queries at other sizes and of their surroundings, and the `grey_pyramid` of the frame before,
    from which pixels are followed."""

    query: tuple[Tensor, ...]
    memory: tuple[Tensor, ...]
    hidden: Tensor
    xy: Tensor
    motion: Tensor
    seen: Tensor
    template: Tensor
    scales: Scales
    kept: Kept
    grey: tuple[Tensor, ...]


@dataclass(frozen=True)
class StrandOptions(NetworkOptions):
    """What a user can choose."""

    precision: Precision = MEASURED
    """Of features and layers: "auto" (bfloat16 where the processor multiplies in it), "float32" or "bfloat16".
    Coordinates are float32 always."""
    resolution: int = 512
    """Frames with more pixels than a square of this side are shrunk to about as many."""
    enlarge: float = 2.0
    """Frames with clearly fewer are enlarged to about as many, to at most so many times their side; 1: they are not,
    which is faster and less exact."""
    surroundings: bool = True
    """Points that have kept with the frame's motion are not carried off by what covers them (`surroundings`)."""
    scales: bool = True
    """The frame of a query is looked at in five sizes, so that points that come nearer or go away are known
    (`scales`). False: a new point costs five times less, and is tracked less exactly."""

    def check(self) -> None:
        """See `Options.check`."""
        if self.resolution < 64:
            raise UsageError(f"resolution must be at least 64, got {self.resolution}")
        if not 1 <= self.enlarge <= 4:
            raise UsageError(f"enlarge must be from 1 to 4, got {self.enlarge:g}")


class Strand(TorchModel, IndependentSteps):
    """The network as a `CausalModel`."""

    network: Network
    chosen: StrandOptions

    @property
    def device(self) -> torch.device:
        """See `Model.device`."""
        return self.network.temperature.device

    def _cast(self, dtype: torch.dtype) -> None:
        self.network.to(dtype)
        for part in filter(None, (self.network.look, self.network.refine)):
            part.offsets = part.offsets.float()
        for module in self.network.modules():
            if isinstance(module, Narrow):
                module.float()

    def frame_size(self, size: Size) -> Size | None:
        """See `Model.frame_size`: as many pixels as a square of side `resolution` in the shape of the video (squeezed
        into a square, a wide one is tracked clearly worse), sides multiples of 16. A frame that is nearly as
        large is taken as it is, a small one enlarged by `enlarge` at most."""
        height, width = size
        scale = min(self.chosen.resolution / (height * width) ** 0.5, self.chosen.enlarge)
        if 1 < scale < WORTH_ENLARGING:
            scale = 1.0
        return max(round(height * scale / 16), 4) * 16, max(round(width * scale / 16), 4) * 16

    def start(self, size: Size) -> StrandState:
        """See `CausalModel.start`."""
        config = self.network.config

        def empty(*shape: int) -> Tensor:
            return torch.zeros(0, *shape, device=self.device)

        patches = tuple(empty(cells, channels) for cells, channels in config.templates)
        grey = grey_pyramid(torch.zeros(1, 3, *size, device=self.device))
        points = Points(patches, patches, empty(config.hidden), empty(2), empty(2), empty(), empty(SIZE))
        scales = Scales.begin([patches], self.network.look.enter.weight.dtype)
        return StrandState(*points, scales, Kept.nothing(size, self.device), grey)

    def step(self, state: StrandState, frame: Tensor, new_xy: Tensor) -> tuple[StrandState, Prediction]:
        """See `CausalModel.step`. On its own frame a new point is answered with its query, visible for certain."""
        if frame.ndim != 3:
            raise ShapeError(f"a frame must be [3,h,w], got {list(frame.shape)}")
        if not len(state.xy) and not len(new_xy):
            nothing = torch.zeros(0, device=self.device)
            return state, Prediction(nothing.reshape(0, 2), nothing, nothing)
        return self.follow(state, self.encode(frame[None]), (frame.shape[-2], frame.shape[-1]), new_xy)

    @torch.inference_mode()
    def encode(self, frames: Tensor) -> StrandFeatures:
        """See `EncodesFrames.encode`."""
        frames = frames.to(self.device)
        return StrandFeatures(self.network.encode(frames), grey_pyramid(frames), frames)

    @torch.inference_mode()
    def compare(self, features: Sequence[StrandFeatures]) -> list[StrandFeatures | Compared]:
        """See `ComparesFrames.compare`."""
        if not self._surrounded or len(features) < 2:
            return list(features[1:])
        # Levels of one size side by side; the whole size is not compared.
        levels = [torch.cat(level) for level in zip(*(one.grey[1:] for one in features), strict=True)]
        motions = between([level[:-1] for level in levels], [level[1:] for level in levels])
        found = zip(features[1:], features, motions, strict=False)
        return [Compared(*after, before.grey, motion) for after, before, motion in found]

    @property
    def _surrounded(self) -> bool:
        """Whether points are held to their surroundings, by the pixels of their queries."""
        return self.network.config.evidence and self.chosen.surroundings

    @torch.inference_mode()
    def follow(
        self, state: StrandState, features: StrandFeatures | Compared, size: Size, new_xy: Tensor
    ) -> tuple[StrandState, Prediction]:
        """See `EncodesFrames.follow`."""
        maps, grey = features[:2]
        image = grey[0] if self.network.config.evidence else None
        points, scales, kept = Points(*state[:-3]), state.scales, state.kept
        xy, visible, confidence = state.xy, state.xy[:, 0], state.xy[:, 0]
        if len(state.xy):
            where = follow(state.grey, grey, state.xy)
            if image is not None and self._surrounded:
                kept = kept.moved_on(_motion(state, features), size)
                points = led(points, kept)
                also = asked(kept, points, where[0], size)
                after, found = self.network.step(maps, points, *where, image, also)
                after, scales = self._sized(after, scales, found)
                kept, points, found = held(kept, points, after, found, image, size, also)
            else:
                points, found = self.network.step(maps, points, *where, image)
                points, scales = self._sized(points, scales, found)
            xy, visible, confidence = found.xy, torch.sigmoid(found.visible), torch.sigmoid(found.confidence)
        if len(new_xy):
            # A copy: what is asked from outside may have been made outside inference mode, or be changed later.
            new_xy = new_xy.to(self.device, torch.float32, copy=True)
            owner = torch.zeros(len(new_xy), dtype=torch.long, device=self.device)
            new = self.network.begin(maps, owner, new_xy, image)
            points, kept = join(points, new), kept.joined(Kept.begin(maps, new.query, new_xy))
            scales = scales.joined(Scales.begin(self._views(features, new), maps.fine.dtype))
            certain = new_xy.new_ones(len(new_xy))
            xy = torch.cat([xy, new_xy])
            visible, confidence = torch.cat([visible, certain]), torch.cat([confidence, certain])
        return StrandState(*points, scales, kept, grey), Prediction(xy, visible, confidence)

    def _sized(self, points: Points, scales: Scales, found: Step) -> tuple[Points, Scales]:
        """Points after a step, which are then looked for by their queries at the size that they were seen in."""
        if not self.chosen.scales:
            return points, scales
        now = scales.compared(found.here, found.visible > 0)
        return points._replace(query=now.asked(points.query, scales.chosen)), now

    def _views(self, features: StrandFeatures | Compared, new: Points) -> list[tuple[Tensor, ...]]:
        """The patches of new points at all sizes, or at that of the frame alone."""
        if not self.chosen.scales or not len(features.frame):
            return [new.query]
        return views(self.network.encode, features.frame, new.query, new.xy, self.network.config.patches)

    def select(self, state: StrandState, rows: Tensor) -> StrandState:
        """See `CausalModel.select`."""
        return StrandState(
            tuple(x[rows] for x in state.query),
            tuple(x[rows] for x in state.memory),
            state.hidden[rows],
            state.xy[rows],
            state.motion[rows],
            state.seen[rows],
            state.template[rows],
            state.scales.select(rows),
            state.kept.select(rows),
            state.grey,
        )

    def point_bytes(self, size: Size) -> int:
        """See `CausalModel.point_bytes`: both states, the look-alikes, the query at all sizes, the cells of a look on
        the widest map, and its correlations, those with the query once more for the refinement."""
        config = self.network.config
        patches = sum(cells * channels for cells, channels in config.templates)
        cells = (2 * config.radius + 2) ** 2 * max(config.features)
        height, width = self.frame_size(size) or size
        matching = 4 * (height // 4) * (width // 4)
        alike = (height // STRIDES[1]) * (width // STRIDES[1])
        item = self.network.look.enter.weight.element_size()
        scales = 2 * len(SCALES) * (item * patches + 4 * sum(channels for _, channels in config.templates))
        floats = 2 * 2 * patches + 2 * SIZE + cells + 4.5 * config.volume + matching + 4 * config.mixed
        return round(2 * alike + scales + 4 * floats)


def _motion(state: StrandState, features: StrandFeatures | Compared) -> Tensor:
    """How the frame as a whole moved since that of the state, if that was not found already."""
    if isinstance(features, Compared) and features.since[0] is state.grey[0]:
        return features.motion
    return between(state.grey[1:], features.grey[1:])[0]


def join(first: Points, second: Points) -> Points:
    """The rows of both."""
    return Points(
        tuple(torch.cat(pair) for pair in zip(first.query, second.query, strict=True)),
        tuple(torch.cat(pair) for pair in zip(first.memory, second.memory, strict=True)),
        torch.cat([first.hidden, second.hidden]),
        torch.cat([first.xy, second.xy]),
        torch.cat([first.motion, second.motion]),
        torch.cat([first.seen, second.seen]),
        torch.cat([first.template, second.template]),
    )


def build(weights: Mapping[str, Tensor] | None = None, called: str = STRAND.id, **options: Any) -> Strand:
    """strand with these weights (None: untrained, with fixed pseudo-random ones). Options: `StrandOptions`.

    `called` is the id that a wrong option is reported with.
    """
    chosen = StrandOptions.of(called, options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Network(config_of(weights or {}))
    if weights is not None:
        found = match(weights, network.state_dict(), "strand")
        network.load_state_dict({name: tensor.float() for name, tensor in found.items()})
    network.fold()
    return Strand(network, STRAND, chosen)

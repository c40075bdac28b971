"""Track-On2 as a causal tracker. The network is in `network`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit import coords
from tapkit.constants import constant_like
from tapkit.errors import ShapeError, UsageError
from tapkit.models.base import Carried, Prediction, Size
from tapkit.models.graphs import Graph
from tapkit.models.options import NetworkOptions, require_least, require_size
from tapkit.models.torch_model import TorchModel, check_positions
from tapkit.models.trackon.card import TRACK_ON2
from tapkit.models.trackon.decoder import Attention
from tapkit.models.trackon.graphs import track_on_graphs
from tapkit.models.trackon.network import Found, FrameMaps, Points, TrackOnConfig, TrackOnNetwork
from tapkit.models.trackon.weights import load_published
from tapkit.nn.mixed import MixedLinear
from tapkit.nn.packed import Conv2d
from tapkit.types import ModelCard

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
MULTIPLE = 32
LEAST = 64
"""Pixels of the smallest side that still gives every map some cells."""


@dataclass(frozen=True)
class TrackOnOptions(NetworkOptions):
    """What a user can choose. In bfloat16 are convolutions, linear layers and attention; norms, residual streams, the
    memory, heads, and the comparison with patches stay float32."""

    memory_frames: int = 72
    """Frames that a point remembers. It was trained with 24, which the authors use on DAVIS; elsewhere they extend it
    to 72 by interpolating its codes."""
    support: int = 20
    """Side of a grid of support points that are tracked along from the first frame on and left out of the answer: 20 in
    the authors' evaluation, which doubles the cost of a frame; 0: none."""
    resolution: Size = (384, 512)
    """(height, width) of the network's input, multiples of 32. The position codes were trained for 384x512 and are
    interpolated for others."""

    def check(self) -> None:
        """See `Options.check`."""
        require_least(self, memory_frames=1, support=0)
        require_size("resolution", self.resolution, LEAST, MULTIPLE)


class TrackOnState(NamedTuple):
    """State of a stream: support points first, then the points asked."""

    points: Points
    frames: Tensor
    """Frames seen, int64 [] on the CPU."""


class TrackOn(TorchModel):
    """Track-On2 as a `CausalModel`: constant memory; points may join at any frame and leave at any time."""

    network: TrackOnNetwork
    chosen: TrackOnOptions

    def __init__(self, network: TrackOnNetwork, card: ModelCard, options: TrackOnOptions) -> None:
        self.resolution, self.supporting = options.resolution, options.support**2
        self._positions: Tensor
        self._codes: Tensor
        card = card if options.resolution == card.input_size else replace(card, input_size=options.resolution)
        super().__init__(network, card, options)

    def _cast(self, dtype: torch.dtype) -> None:
        if dtype == torch.float32:  # never back: what was rounded stays rounded
            return
        for module in self.network.modules():
            if isinstance(module, (MixedLinear, Conv2d, Attention, nn.ConvTranspose2d)):
                module.to(dtype)

    def _settle(self) -> None:
        super()._settle()
        with torch.no_grad():
            self._positions = self.network.backbone.positions(self.resolution)
            self._codes = self.network.memory_codes(self.chosen.memory_frames)

    def point_bytes(self, size: Size) -> int:
        """Two memories (before and after a frame), one as it is attended to, and the similarities to all patches."""
        del size
        config = self.network.config
        memory = (self.chosen.memory_frames + 1) * config.width
        patches = self.resolution[0] * self.resolution[1] // 16
        return 4 * (6 * memory + 2 * patches + 16 * (2 * config.hidden + 8 * config.width))

    def start(self, size: Size) -> TrackOnState:
        """See `CausalModel.start`."""
        if min(size) < 1:
            raise UsageError(f"frames must have at least one pixel, got {size[1]}x{size[0]}")
        width, slots = self.network.config.width, self.chosen.memory_frames
        empty = torch.zeros(0, slots, width, device=self.device)
        none = Points(empty[:, 0], empty, torch.zeros(0, dtype=torch.long, device=self.device))
        return TrackOnState(none, torch.zeros((), dtype=torch.long))

    @torch.inference_mode()
    def step(self, state: TrackOnState, frame: Tensor, new_xy: Tensor) -> tuple[TrackOnState, Prediction]:
        """See `CausalModel.step`. Positions lie inside the frame, or less than four pixels of the input outside."""
        if frame.ndim != 3 or frame.shape[0] != 3:
            raise ShapeError(f"a frame must be [3,h,w], got {list(frame.shape)}")
        check_positions(new_xy)
        size, network, frames = (frame.shape[-2], frame.shape[-1]), self.network, state.frames + 1
        new = coords.resize(new_xy.to(self.device, torch.float32), size, self.resolution)
        if int(state.frames) == 0 and self.supporting:
            new = torch.cat([self._support(size), new])
        if not len(state.points.age) and not len(new):
            nothing = torch.zeros(0, device=self.device)
            return state._replace(frames=frames), Prediction(nothing.view(0, 2), nothing, nothing)
        maps, points = self.encode(frame), state.points
        if len(new):
            points = points.add(network.begin(maps, new, self.resolution))
        points, found = network.step(maps, points, self.resolution, self._codes)
        return TrackOnState(points, frames), self._answer(found, size)

    def _answer(self, found: Found, size: Size) -> Prediction:
        """What is said of the points asked, in pixels of `size`."""
        xy = coords.resize(found.xy, self.resolution, size)
        answer = Prediction(xy, found.visible.sigmoid(), (-found.uncertain).sigmoid())
        return Prediction(*(part[self.supporting :] for part in answer))

    def carried(self, state: TrackOnState) -> Carried | None:
        """See `FixedStep.carried`."""
        return None if int(state.frames) == 0 else Carried(state.points)

    @torch.inference_mode()
    def fixed_step(self, carried: Carried, frame: Tensor, held: Tensor) -> tuple[Points, Prediction, tuple[()]]:
        """See `FixedStep.fixed_step`: no point sees the spare ones."""
        held = F.pad(held, (self.supporting, 0), value=True)
        maps = self.encode(frame)
        points, found = self.network.step(maps, carried.tensors, self.resolution, self._codes, held)
        return points, self._answer(found, (frame.shape[-2], frame.shape[-1])), ()

    def after(self, state: TrackOnState, tensors: Points) -> TrackOnState:
        """See `FixedStep.after`."""
        return TrackOnState(tensors, state.frames + 1)

    @torch.inference_mode()
    def encode(self, frame: Tensor) -> FrameMaps:
        """What a frame uint8 [3,h,w] gives: resized bilinearly without antialiasing, as the authors do."""
        image = frame[None].to(self.device, torch.float32) / 255
        if image.shape[-2:] != self.resolution:
            image = F.interpolate(image, self.resolution, mode="bilinear", align_corners=False)
        mean, deviation = (constant_like(part, image)[:, None, None] for part in (MEAN, DEVIATION))
        return self.network.encode((image - mean) / deviation, self._positions)

    def _support(self, size: Size) -> Tensor:
        """The support grid on a frame of `size`, row by row [support^2,2], in pixels of the network's input.

        Its margin is a 64th of the width on all sides, also above and below.
        """
        height, width = size
        margin, side = width / 64, self.chosen.support
        y, x = (
            torch.tensor([length / 2]) if side == 1 else torch.linspace(margin, length - margin, side)
            for length in (height, width)
        )
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).flatten(0, 1)
        return coords.resize(grid, size, self.resolution).to(self.device)

    def select(self, state: TrackOnState, rows: Tensor) -> TrackOnState:
        """See `CausalModel.select`; support points stay."""
        first = self.supporting if int(state.frames) else 0
        kept = torch.cat([torch.arange(first, device=rows.device), rows + first])
        return state._replace(points=state.points.select(kept))

    def graphs(self) -> list[Graph]:
        """See `HasGraphs`."""
        return track_on_graphs(self.network, self.resolution, self.chosen.memory_frames)


def build_track_on2(
    weights: Mapping[str, Any] | None = None,
    *,
    card: ModelCard = TRACK_ON2,
    config: TrackOnConfig | None = None,
    **options: Any,
) -> TrackOn:
    """Track-On2 from a published checkpoint with its DINOv3 backbone, under their own names.

    None: untrained, with fixed pseudo-random weights. Options: `TrackOnOptions`. Raises `WeightsError`, `UsageError`.
    """
    chosen = TrackOnOptions.of(card.id, options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = TrackOnNetwork(config)
    if weights is not None:
        load_published(network, weights, card)
    return TrackOn(network, card, chosen)

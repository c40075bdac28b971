"""RAFT as a `FlowModel`: padding, normalising, and the choice of what is computed once for each frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.constants import constant_like
from tapkit.flow.base import Flow, Size
from tapkit.flow.raft.card import RAFT_LARGE, RAFT_SMALL
from tapkit.flow.raft.correlation import TABLE_BYTES
from tapkit.flow.raft.network import LARGE, SMALL, STRIDE, Raft, RaftConfig, Step
from tapkit.flow.raft.weights import converted
from tapkit.models.options import Options, require_least
from tapkit.nn.packed import pack
from tapkit.types import ModelCard

LEAST = 128
"""Pixels a side below which the coarsest level has a single cell, and the published network answers not-a-number."""


@dataclass(frozen=True)
class RaftOptions(Options):
    """Settings of RAFT."""

    iterations: int = 12
    """Refinements; 12 in training, 20 in the authors' demo, 32 for Sintel, 24 for KITTI."""
    pad: Literal["sintel", "kitti"] = "sintel"
    """Where the border is repeated to reach a multiple of 8: "sintel" half on each side, "kitti" all rows below."""

    def check(self) -> None:
        """See `Options.check`."""
        require_least(self, iterations=1)


class RaftFeatures(NamedTuple):
    """Of B frames, padded."""

    matching: Tensor
    """[B,C,h/8,w/8]."""
    context: Tensor
    """[B,hidden+context,h/8,w/8], needed where the frame is the first of a pair."""


class RaftModel:
    """A `FlowModel`; `flow_from` starts from an earlier result of the same first frame."""

    def __init__(self, network: Raft, options: RaftOptions, card: ModelCard) -> None:
        self.network = network
        self.settings = options
        self.options: Mapping[str, Any] = options.to_json()
        self.card = card

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def to(self, device: torch.device | str) -> Self:
        """Move the network; on a CPU its weights are packed."""
        if torch.device(device) != self.device:
            self.network.to(device)
            lay_out(self.network)
        return self

    def frame_size(self, size: Size) -> Size | None:
        """As they are: padding is all they need."""
        return None

    def padding(self, size: Size) -> tuple[int, int, int, int]:
        """(left, right, top, bottom) for frames of `size`."""
        extra = [max(-side % STRIDE, LEAST - side) for side in size]
        left = extra[1] // 2
        top = 0 if self.settings.pad == "kitti" else extra[0] // 2
        return left, extra[1] - left, top, extra[0] - top

    @torch.no_grad()
    def encode(self, frames: Tensor) -> RaftFeatures:
        """See `FlowModel.encode`."""
        x = self.prepared(frames)
        return RaftFeatures(self.network.matching(x), self.network.context(x))

    def prepared(self, frames: Tensor) -> Tensor:
        """Frames [B,3,h,w], 0..255, padded, in [-1,1]."""
        size = (frames.shape[-2], frames.shape[-1])
        return F.pad(frames.float() * (2 / 255) - 1, self.padding(size), mode="replicate")

    def flow(self, first: RaftFeatures, second: RaftFeatures, size: Size) -> Flow:
        """See `FlowModel.flow`."""
        return self.flow_from(first, second, size, None)[0]

    @torch.no_grad()
    def flow_from(
        self, first: RaftFeatures, second: RaftFeatures, size: Size, start: Tensor | None
    ) -> tuple[Flow, Tensor]:
        """The flow, refined from `start` [P,2,h/8,w/8] (cells of the padded frame; None: from zero), and that at
        stride 8, which may start the flow to the next frame from the same first one."""
        steps = self.network.iterate(first.matching, second.matching, first.context, self.settings.iterations, start)
        step: Step = deque(steps, maxlen=1)[0]
        return Flow(self.cropped(self.network.enlarge(step), size)), step.flow

    def cropped(self, flow: Tensor, size: Size) -> Tensor:
        """Without the padding."""
        left, _, top, _ = self.padding(size)
        return flow[..., top : top + size[0], left : left + size[1]].contiguous()

    def _cells(self, size: Size) -> int:
        left, right, top, bottom = self.padding(size)
        return (size[0] + top + bottom) // STRIDE * ((size[1] + left + right) // STRIDE)

    def frame_bytes(self, size: Size) -> int:
        """See `FlowModel.frame_bytes`."""
        config = self.network.config
        return 4 * self._cells(size) * (config.features + config.hidden + config.context)

    def pair_bytes(self, size: Size) -> int:
        """See `FlowModel.pair_bytes`: correlations (a table, while it is small) and the layers' outputs."""
        cells = self._cells(size)
        table = 4 * cells**2
        return (table * 4 // 3 if table <= TABLE_BYTES else 1 << 28) + 4 * cells * 6000


def warm_start(flow: Tensor) -> Tensor:
    """A start for the pair that follows: every vector of flow [2,h,w] (cells) carried along itself, each cell then
    taking the nearest one that stayed within the map (the authors' warm start on Sintel)."""
    height, width = flow.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    cells = torch.stack([x, y], -1).reshape(-1, 2).to(flow)
    vectors = flow.reshape(2, -1).T
    moved = cells + vectors
    inside = ((moved > 0) & (moved < constant_like([width, height], moved))).all(1)
    if not inside.any():
        return torch.zeros_like(flow)
    moved, vectors = moved[inside], vectors[inside]
    nearest = torch.cat([torch.cdist(part, moved).argmin(1) for part in torch.split(cells, 1024)])
    return vectors[nearest].T.reshape(2, height, width)


def lay_out(network: Raft) -> None:
    """Pack the layers for the CPU, but those of the matching maps: oneDNN's packed kernels round twice as coarsely
    there, for no gain in speed, and correlations are large sums of their products."""
    for name, part in network.named_children():
        if name != "matching":
            pack(part)


def build_variant(
    weights: Mapping[str, Tensor] | None, config: RaftConfig, card: ModelCard, **options: Any
) -> RaftModel:
    """The network of a configuration at stride 8, with weights under the authors' names (None: untrained)."""
    settings = RaftOptions.of(card.id, options)
    if weights is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = Raft(config)
    else:
        with torch.device("meta"):
            network = Raft(config)
        network.load_state_dict(converted(weights, config, card.id), assign=True)
    network.eval().requires_grad_(False)
    lay_out(network)
    return RaftModel(network, settings, card)


def build_large(weights: Mapping[str, Tensor] | None = None, **options: Any) -> RaftModel:
    """RAFT with published weights (None: untrained). Options are the fields of `RaftOptions`."""
    return build_variant(weights, LARGE, RAFT_LARGE, **options)


def build_small(weights: Mapping[str, Tensor] | None = None, **options: Any) -> RaftModel:
    """The small RAFT with published weights (None: untrained). Options are the fields of `RaftOptions`."""
    return build_variant(weights, SMALL, RAFT_SMALL, **options)

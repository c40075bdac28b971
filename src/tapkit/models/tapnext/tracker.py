"""TAPNext, BootsTAPNext and TAPNext++ as causal trackers. The network is in `network`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit import coords
from tapkit.errors import UsageError
from tapkit.models.base import Carried, Prediction, Size
from tapkit.models.options import NetworkOptions, require_size
from tapkit.models.tapnext.card import TAPNEXT, TAPNEXT_PP
from tapkit.models.tapnext.network import (
    BINS,
    PATCH,
    BlockMemory,
    Numerics,
    TapNextConfig,
    TapNextNetwork,
    TapNextState,
    certainty,
    decode,
)
from tapkit.models.tapnext.weights import from_released, shape_of
from tapkit.models.torch_model import TorchModel, check_positions
from tapkit.nn.packed import Linear
from tapkit.types import ModelCard


@dataclass(frozen=True)
class TapNextOptions(NetworkOptions):
    """What a user can choose. In bfloat16 are linear layers and attention; the residual stream, norms, memory and heads
    stay float32."""

    resolution: Size = (256, 256)
    """(height, width) of the network's input, multiples of 8: 256 squared; 512 squared for tapnextpp_512.ckpt."""
    antialias: bool = True
    """Let the decoder resize frames by area averaging (as benchmarks do, by Lanczos), rather than point-sample large
    ones as the authors' demo does. No difference for frames of the network's resolution."""
    numerics: Numerics = "torch"
    """As the released PyTorch or JAX code computes; see `TapNextConfig`."""
    support: int = 0
    """Side of a grid of support points around each point (8 in TAPNext++'s VOTSp 2026 setup); 0: none."""

    def check(self) -> None:
        """See `Options.check`."""
        require_size("resolution", self.resolution, PATCH, PATCH)
        if self.support < 0:
            raise UsageError(f"support is the side of a grid and cannot be negative, got {self.support}")


class TapNext(TorchModel):
    """TAPNext as a `CausalModel`: constant memory, points may join at any frame and leave at any time."""

    network: TapNextNetwork
    chosen: TapNextOptions

    def __init__(self, network: TapNextNetwork, card: ModelCard, options: TapNextOptions) -> None:
        self.resolution, self.antialias, self.support = options.resolution, options.antialias, options.support
        self.slots = 1 + options.support**2
        """Slots of one point: its own, then those of its support points."""
        self._positions: Tensor
        super().__init__(network, card, options)

    def _cast(self, dtype: torch.dtype) -> None:
        if dtype != torch.float32:  # never back: what was rounded stays rounded
            for module in self.network.blocks.modules():
                if isinstance(module, Linear):
                    module.to(dtype)

    def _settle(self) -> None:
        super()._settle()
        with torch.no_grad():
            self._positions = self.network.positions((self.resolution[0] // PATCH, self.resolution[1] // PATCH))

    def frame_size(self, size: Size) -> Size | None:
        """The network's own resolution; with `antialias=False` frames as they are, point-sampled as the authors do."""
        return self.resolution if self.antialias else None

    def point_bytes(self, size: Size) -> int:
        """Two states (before and after a frame) and the widest activations."""
        config = self.network.config
        return self.slots * 4 * (2 * 4 * config.depth * config.width + 3 * config.hidden + 8 * config.width)

    def start(self, size: Size) -> TapNextState:
        """No points yet: patches and the spare slot."""
        if min(size) < 1:
            raise UsageError(f"frames must have at least one pixel, got {size[1]}x{size[0]}")
        counter = torch.zeros((), dtype=torch.long)
        return TapNextState(self.network.empty_memory(len(self._positions) + 1), counter, counter)

    def expect(self, state: TapNextState, count: int) -> TapNextState:
        """The state, knowing that `count` points will join on its next frame or later (see the top of this file)."""
        return state._replace(waiting=torch.tensor(count))

    @torch.no_grad()
    def step(self, state: TapNextState, frame: Tensor, new_xy: Tensor) -> tuple[TapNextState, Prediction]:
        """See `CausalModel.step`. Outputs lie half a bin or more inside the frame, by construction."""
        size, network = (frame.shape[-2], frame.shape[-1]), self.network
        check_positions(new_xy)
        side, patches = network.config.image_size, len(self._positions)
        old = len(state.memory[0].hidden) - patches - 1
        yx = self._with_support(coords.resize(new_xy.float(), size, (side, side))).flip(-1)
        tokens = torch.cat(
            [
                network.patch_tokens(self._prepare(frame), self._positions),
                network.mask_token.expand(old, -1),
                network.query_tokens(yx),
                network.unknown_token[None],
            ]
        )
        waiting = (state.waiting - len(new_xy)).clamp(min=0)
        memory = _grow(state.memory, len(yx))
        points = slice(patches, len(tokens) - 1, self.slots)
        x, memory, _ = network(tokens, memory, int(state.step) == 0, int(waiting) * self.slots, points)
        return TapNextState(memory, state.step + 1, waiting), self._read(x, size)

    def carried(self, state: TapNextState) -> Carried | None:
        """See `FixedStep.carried`: memory, and how many tokens the spare slot stands for."""
        return None if int(state.step) == 0 else Carried(state.memory, int(state.waiting) * self.slots)

    @torch.no_grad()
    def fixed_step(
        self, carried: Carried, frame: Tensor, held: Tensor
    ) -> tuple[tuple[BlockMemory, ...], Prediction, tuple[()]]:
        """See `FixedStep.fixed_step`: no token sees those of spare rows."""
        network, patches = self.network, len(self._positions)
        assert isinstance(carried.facts, int)
        points = held.repeat_interleave(self.slots)
        added = F.pad(torch.zeros_like(points, dtype=torch.float32).masked_fill(~points, -math.inf), (patches, 0))
        added = F.pad(added, (0, 1), value=math.log(carried.facts) if carried.facts else -math.inf)
        tokens = torch.cat(
            [
                network.patch_tokens(self._prepare(frame), self._positions),
                network.mask_token.expand(len(held) * self.slots, -1),
                network.unknown_token[None],
            ]
        )
        wanted = slice(patches, len(tokens) - 1, self.slots)
        x, memory, _ = network(tokens, carried.tensors, False, added, wanted)
        return memory, self._read(x, (frame.shape[-2], frame.shape[-1])), ()

    def after(self, state: TapNextState, tensors: tuple[BlockMemory, ...]) -> TapNextState:
        """See `FixedStep.after`."""
        return state._replace(memory=tensors, step=state.step + 1)

    def _read(self, x: Tensor, size: Size) -> Prediction:
        """The answers of all points from the outputs of their slots [N,C], in pixels of `size`."""
        logits, visible = self.network.read(x)
        decoded = decode(logits)
        xy = coords.resize(decoded.flip(-1), (BINS, BINS), size)
        return Prediction(xy, visible.sigmoid(), certainty(logits, decoded).clamp(0, 1))

    def _with_support(self, xy: Tensor) -> Tensor:
        """Each point of xy [M,2] (pixels of the `image_size` square), followed by its support points [M*slots,2].

        They are the cell centres of a grid over the square that spans an eighth of the frame around the point, kept
        inside the frame (the setup of TAPNext++ at VOTSp 2026, there 8 x 8).
        """
        if self.support == 0:
            return xy
        side, half = float(self.network.config.image_size), self.network.config.image_size / 16
        ticks = (torch.arange(self.support, device=xy.device) + 0.5) * (2 * half / self.support) - half
        offsets = torch.cartesian_prod(ticks, ticks).view(-1, 2).flip(-1)  # row by row, (x, y)
        around = (xy[:, None] + offsets).clamp(0.0, side)
        return torch.cat([xy[:, None], around], 1).flatten(0, 1)

    def _prepare(self, frame: Tensor) -> Tensor:
        """uint8 [3,h,w] -> [-1,1] at the network's resolution (bilinear, half-pixel centres, no antialiasing)."""
        image = frame.to(self._positions.dtype) / 255 * 2 - 1
        if image.shape[-2:] == self.resolution:
            return image
        return F.interpolate(image[None], size=self.resolution, mode="bilinear", align_corners=False)[0]

    def select(self, state: TapNextState, rows: Tensor) -> TapNextState:
        """See `CausalModel.select`."""
        patches, last = len(self._positions), len(state.memory[0].hidden) - 1
        own = rows[:, None] * self.slots + torch.arange(self.slots, device=rows.device)
        around = torch.arange(patches, device=rows.device), torch.arange(last, last + 1, device=rows.device)
        kept = torch.cat([around[0], own.flatten() + patches, around[1]])
        return state._replace(memory=tuple(past.map(lambda slots: slots[kept]) for past in state.memory))


def _grow(memory: tuple[BlockMemory, ...], new: int) -> tuple[BlockMemory, ...]:
    """`new` more point slots before the spare one, which remember what that does."""
    if new == 0:
        return memory
    return tuple(past.map(lambda slots: torch.cat([slots, slots[-1:].expand(new, -1)])) for past in memory)


def build_tapnext(
    weights: Mapping[str, Tensor] | None = None,
    *,
    card: ModelCard = TAPNEXT,
    **options: Any,
) -> TapNext:
    """TAPNext, BootsTAPNext or TAPNext++ from a released checkpoint.

    `weights`: the tensors of the released PyTorch file or JAX .npz, under their own names; sizes are read off them.
    None: the published size, untrained. Options: `TapNextOptions`.
    Raises `WeightsError`, `UsageError`.
    """
    chosen = TapNextOptions.of(card.id, options)
    if weights is None:
        network = TapNextNetwork(TapNextConfig(numerics=chosen.numerics))
    else:
        tensors = from_released(weights)
        network = TapNextNetwork(TapNextConfig(**shape_of(tensors), numerics=chosen.numerics))
        network.load_state_dict(tensors)
    network.eval().requires_grad_(False)
    return TapNext(network, card, chosen)


def build_tapnext_pp(weights: Mapping[str, Tensor] | None = None, **options: Any) -> TapNext:
    """TAPNext++: as `build_tapnext`, under its own card."""
    return build_tapnext(weights, card=TAPNEXT_PP, **options)

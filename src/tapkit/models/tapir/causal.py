"""Online TAPIR and Online BootsTAPIR: the TAPIR network frame by frame, at constant memory and without delay.

M. Vecerik et al., RoboTAP, ICRA 2024 (arXiv:2308.15975), section on Online TAPIR; the released live demos. The past
lives in the inputs of the mixer's temporal convolutions and nowhere else: positions, logits and features start anew
from the cost volume of each frame, and what is known of a point is what was seen at its query, for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tapkit.errors import ShapeError
from tapkit.models.base import Prediction, Size
from tapkit.models.fixed_step import IndependentSteps
from tapkit.models.graphs import Graph
from tapkit.models.tapir.card import BOOTSTAPIR_CAUSAL, TAPIR_CAUSAL
from tapkit.models.tapir.graphs import tapir_graphs
from tapkit.models.tapir.network import (
    EXPAND,
    HIDDEN,
    HIRES,
    LOWRES,
    Estimate,
    MixerBlock,
    MixerPast,
    QueryFeatures,
    TapirConfig,
)
from tapkit.models.tapir.tracker import Features, TapirBase, choose_rows, make


class TapirState(NamedTuple):
    """What is carried from frame to frame for N points."""

    query: QueryFeatures
    """Features at the queries, for each resolution."""
    past: tuple[tuple[MixerPast, ...], ...]
    """For each refinement step (all resolutions in turn) and each mixer block, its last two inputs."""


class CausalTapir(TapirBase, IndependentSteps):
    """Causal TAPIR as a `CausalModel`. States share tensors with their predecessors, none is ever written to."""

    def compile(self, backend: str = "inductor") -> None:
        """See `TorchModel.compile`; frame by frame it is the steps of the mixer's blocks that are called."""
        super().compile(backend)
        for block in self.network.torch_pips_mixer.blocks:
            assert isinstance(block, MixerBlock)
            compiled: Any = torch.compile(block.step, backend=backend)
            block.step = compiled  # type: ignore[method-assign]

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(*shape, dtype=self.network.dtype, device=self.device)

    def start(self, size: Size) -> TapirState:
        """See `CausalModel.start`."""
        levels = self.levels(size)
        none = QueryFeatures(
            tuple(self._zeros(0, HIRES) for _ in levels.maps), tuple(self._zeros(0, LOWRES) for _ in levels.maps)
        )
        steps = len(levels.refined) * self.network.config.iterations
        return TapirState(none, tuple(self._no_past(0) for _ in range(steps)))

    def _no_past(self, count: int) -> tuple[MixerPast, ...]:
        narrow, wide = self._zeros(count, HIDDEN), self._zeros(count, EXPAND, HIDDEN)
        return tuple(MixerPast(narrow, narrow, wide, wide) for _ in range(self.network.config.blocks))

    def add(self, state: TapirState, of_query: QueryFeatures) -> TapirState:
        """The state with more points, known by their features (see `features_at`); no past yet."""
        query = QueryFeatures(
            *(
                tuple(torch.cat(pair) for pair in zip(old, new, strict=True))
                for old, new in zip(state.query, of_query, strict=True)
            )
        )
        new = self._no_past(len(of_query.lowres[0]))
        past = tuple(
            tuple(
                MixerPast(*(torch.cat(pair) for pair in zip(old, zero, strict=True)))
                for old, zero in zip(step, new, strict=True)
            )
            for step in state.past
        )
        return TapirState(query, past)

    def select(self, state: TapirState, rows: Tensor) -> TapirState:
        """See `CausalModel.select`."""
        past = tuple(tuple(MixerPast(*(x[rows] for x in block)) for block in step) for step in state.past)
        return TapirState(choose_rows(state.query, rows), past)

    def step(self, state: TapirState, frame: Tensor, new_xy: Tensor) -> tuple[TapirState, Prediction]:
        """See `CausalModel.step`. As in the released demos the first answer is near the query, not the query itself."""
        if frame.ndim != 3 or frame.shape[0] != 3:
            raise ShapeError(f"a frame must be [3,h,w], got {list(frame.shape)}")
        size = (frame.shape[-2], frame.shape[-1])
        if not len(state.query.lowres[0]) and not len(new_xy):
            nothing = torch.zeros(0, device=self.device)
            return state, Prediction(torch.zeros(0, 2, device=self.device), nothing, nothing)
        return self.follow(state, self.encode(frame[None]), size, new_xy)

    @torch.inference_mode()
    def follow(
        self, state: TapirState, features: Features, size: Size, new_xy: Tensor
    ) -> tuple[TapirState, Prediction]:
        """See `EncodesFrames.follow`."""
        if len(new_xy):
            queries = torch.cat([new_xy.new_zeros(len(new_xy), 1), new_xy], 1)
            state = self.add(state, self.query_features(features, size, queries))
        return self.advance(state, features, size)

    @torch.inference_mode()
    def advance(self, state: TapirState, features: Features, size: Size) -> tuple[TapirState, Prediction]:
        """One frame, given as its features, for the points that the state holds."""
        past: list[tuple[MixerPast, ...]] = []
        estimate = self.estimates(state, features, size, past)[-1]
        prediction = self._prediction(size, estimate)
        return TapirState(state.query, tuple(past)), Prediction(*(field[:, 0] for field in prediction))

    def estimates(
        self, state: TapirState, features: Features, size: Size, past: list[tuple[MixerPast, ...]]
    ) -> list[Estimate]:
        """All estimates of a frame: global matching, then each step. `past` takes the new state of each step."""
        levels, maps = self.levels(size), features.levels()

        def mix(step: int, tokens: Tensor) -> Tensor:
            updates, after = self.network.torch_pips_mixer.step(tokens[0], state.past[step])
            past.append(after)
            return updates[None]

        start = self.network.match(maps[0].lowres, state.query.lowres[0])
        pyramids = [self.network.pyramid(maps[k]) for k in levels.refined]
        resolutions = [levels.maps[k] for k in levels.refined]
        queries = self._at_levels(levels, state.query)
        return [start, *self.network.refine(start, pyramids, resolutions, queries, mix)]

    def graphs(self) -> list[Graph]:
        """For `tapkit.engine.onnx_export.export`: encode a frame, update points."""
        return tapir_graphs(self.network)

    def point_bytes(self, size: Size) -> int:
        """See `CausalModel.point_bytes`: the states before and after a frame, and the widest activations."""
        steps = len(self.levels(size).refined) * self.network.config.iterations
        state = steps * self.network.config.blocks * 2 * (1 + EXPAND) * HIDDEN * self.network.dtype.itemsize
        return state * 3 // 2 + 64 * (HIRES + LOWRES) * 4 + 4 * EXPAND * HIDDEN * 4


def build_tapir_causal(weights: Mapping[str, Tensor] | None = None, **options: object) -> CausalTapir:
    """Online TAPIR with the released weights (None: untrained). Options: fields of `TapirOptions`."""
    config = TapirConfig(pyramid_level=1, causal=True)
    model: CausalTapir = make(TAPIR_CAUSAL, config, weights, options, CausalTapir)
    return model


def build_bootstapir_causal(weights: Mapping[str, Tensor] | None = None, **options: object) -> CausalTapir:
    """Online BootsTAPIR with the released weights (None: untrained). Options: fields of `TapirOptions`."""
    config = TapirConfig(pyramid_level=1, extra_convs=True, causal=True)
    model: CausalTapir = make(BOOTSTAPIR_CAUSAL, config, weights, options, CausalTapir)
    return model

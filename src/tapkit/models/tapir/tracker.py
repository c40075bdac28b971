"""The TAPIR network as a tracker of whole clips, and what its offline and causal trackers share.

Inputs are made exactly as the authors' demos and evaluation make them: the video is resized to 256x256 with a Lanczos
filter and becomes [-1, 1]; results are scaled back. Another `resolution`, or the video's own, adds levels of
refinement by the authors' rule. Visible is what passes (1 - P(occluded)) (1 - P(further than 6 px off)) > 0.5: the
two factors are our `visible` and `confidence`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tapkit import coords
from tapkit.errors import UsageError
from tapkit.jax_weights import is_jax
from tapkit.models.base import Prediction, Size
from tapkit.models.options import NetworkOptions, require_size
from tapkit.models.tapir.card import BOOTSTAPIR, TAPIR
from tapkit.models.tapir.network import (
    EXPAND,
    HIDDEN,
    HIRES,
    LOWRES,
    MATCHED_AT_ONCE,
    Estimate,
    Maps,
    QueryFeatures,
    Tapir,
    TapirConfig,
)
from tapkit.models.tapir.weights import tapir_from_jax
from tapkit.models.torch_model import TorchModel, check_frames, check_queries
from tapkit.nn.global_matching import check_resolution, refinement_resolutions, to_unit_range
from tapkit.nn.resize import resize_lanczos
from tapkit.types import ModelCard
from tapkit.weights import match

_TOKENS = {"cpu": 640}
"""Tokens (points x frames) refined together: on a CPU as many as stay in its cache."""
_TOKENS_ELSEWHERE = 65536
_PIXELS = {"cpu": 256 * 256}
"""Pixels encoded together."""
_PIXELS_ELSEWHERE = 16 * 256 * 256


@dataclass(frozen=True)
class TapirOptions(NetworkOptions):
    """What a user can choose."""

    resolution: Size | None = (256, 256)
    """(height, width) that frames are resized to first; None: the video's own size."""
    refinement_resolutions: tuple[Size, ...] | None = None
    """Where tracks are refined, in turn (multiples of 8); None: the authors' rule for `resolution`."""
    initial_resolution: Size = (256, 256)
    """Where global matching takes place (multiples of 8)."""
    softmax_temperature: float | None = None
    """Sharpness of the first guess; None: as the authors' code runs the checkpoint given."""

    def check(self) -> None:
        """See `Options.check`."""
        require_size("resolution", self.resolution)
        check_resolution(self.initial_resolution)
        if self.refinement_resolutions is not None and not self.refinement_resolutions:
            raise UsageError("refinement_resolutions needs at least one (height, width)")
        for size in self.refinement_resolutions or ():
            check_resolution(size)
        if self.softmax_temperature is not None and self.softmax_temperature <= 0:
            raise UsageError(f"softmax_temperature must be above 0, got {self.softmax_temperature:g}")


class Levels(NamedTuple):
    """The resolutions in use for frames of one size."""

    working: Size
    """What frames are resized to first."""
    maps: tuple[Size, ...]
    """All resolutions at which features are computed, each once; R_0 first."""
    refined: tuple[int, ...]
    """Which of them refinement goes through, in turn."""


class Features(NamedTuple):
    """Maps of B frames at all resolutions of `Levels.maps`."""

    hires: tuple[Tensor, ...]
    """Each [B,h,w,128], stride 4."""
    lowres: tuple[Tensor, ...]
    """Each [B,h,w,256], stride 8."""

    def levels(self) -> list[Maps]:
        """The same, resolution by resolution."""
        return [Maps(*pair) for pair in zip(self.hires, self.lowres, strict=True)]


class TapirBase(TorchModel):
    """Precision, resolutions, encoding: what both kinds of TAPIR trackers do in the same way."""

    network: Tapir
    chosen: TapirOptions

    def _cast(self, dtype: torch.dtype) -> None:
        if dtype != self.network.dtype:
            for part in (self.network.resnet_torch, self.network.extra_convs, self.network.torch_pips_mixer):
                if isinstance(part, nn.Module):
                    part.to(dtype)

    def levels(self, size: Size) -> Levels:
        """The resolutions for frames of `size`."""
        initial = self.network.config.initial_resolution
        working = self.chosen.resolution or size
        refined = self.chosen.refinement_resolutions or refinement_resolutions(working, initial)
        maps = tuple(dict.fromkeys([initial, *refined]))
        return Levels(working, maps, tuple(maps.index(resolution) for resolution in refined))

    @torch.inference_mode()
    def encode(self, frames: Tensor) -> Features:
        """Features of uint8 frames [B,3,h,w], each on its own."""
        levels = self.levels(check_frames(frames))
        frames = frames.to(self.device)
        encoded = [self._room(len(frames), size) for size in levels.maps]
        height, width = max(levels.maps)
        at_once = max(_PIXELS.get(self.device.type, _PIXELS_ELSEWHERE) // (height * width), 1)
        for start in range(0, len(frames), at_once):
            part = slice(start, start + at_once)
            images = to_unit_range(resize_lanczos(frames[part], levels.working))
            for maps, size in zip(encoded, levels.maps, strict=True):
                for whole, some in zip(maps, self.network.encode(images, size), strict=True):
                    whole[part] = some
        return Features(tuple(maps.hires for maps in encoded), tuple(maps.lowres for maps in encoded))

    def _room(self, frames: int, size: Size) -> Maps:
        """Empty maps of so many frames at a resolution."""
        height, width = size
        return Maps(
            torch.empty(frames, height // 4, width // 4, HIRES, dtype=self.network.dtype, device=self.device),
            torch.empty(frames, height // 8, width // 8, LOWRES, dtype=self.network.dtype, device=self.device),
        )

    @torch.inference_mode()
    def query_features(self, features: Features, size: Size, queries: Tensor) -> QueryFeatures:
        """Features of queries [N,3] (t, x, y): t counts the frames of `features`, x and y are pixels of `size`."""
        check_queries(queries)
        queries = queries.to(self.device, torch.float32)
        unit = torch.cat([queries[:, :1], coords.to_normalized(queries[:, 1:], size)], 1)
        return self.network.query_features(features.levels(), unit)

    def features_at(self, frames: Tensor, queries: Tensor) -> QueryFeatures:
        """Features of points in other pictures: a photograph, another clip.

        frames: uint8 [K,3,h,w]; queries [N,3] (t, x, y): which of them, and where in its pixels (corner origin). The
        result can be tracked in any video by a model with the same options and weights.
        """
        return self.query_features(self.encode(frames), (frames.shape[-2], frames.shape[-1]), queries)

    def _at_levels(self, levels: Levels, of_query: QueryFeatures) -> QueryFeatures:
        """The query features at the resolutions of refinement."""
        if len(of_query.lowres) != len(levels.maps):
            raise UsageError(
                f"these query features are of {len(of_query.lowres)} resolutions, but {len(levels.maps)} are in use; "
                "take them with the same options from pictures of the same size, or set refinement_resolutions"
            )
        return QueryFeatures(
            tuple(of_query.hires[k] for k in levels.refined), tuple(of_query.lowres[k] for k in levels.refined)
        )

    def _prediction(self, size: Size, estimate: Estimate) -> Prediction:
        """An estimate [T,N] as a prediction [N,T] in pixels of `size`."""
        xy = coords.resize(estimate.xy, self.network.config.initial_resolution, size).transpose(0, 1)
        visible, confidence = (-estimate.occlusion).sigmoid().T, (-estimate.expected_dist).sigmoid().T
        return Prediction(xy.contiguous(), visible.contiguous(), confidence.contiguous())

    def frame_bytes(self, size: Size) -> int:
        """See `ClipModel.frame_bytes`."""
        pixels = sum(height * width for height, width in self.levels(size).maps)
        return pixels * (HIRES // 16 + LOWRES // 64) * self.network.dtype.itemsize


class TapirModel(TapirBase):
    """TAPIR or BootsTAPIR as a `ClipModel`: one pass tracks forwards and backwards."""

    @torch.inference_mode()
    def track(self, features: Features, size: Size, queries: Tensor) -> Prediction:
        """See `ClipModel.track`: queries [N,3] (t, x, y) in the clip itself."""
        of_query = self.query_features(features, size, queries)
        return self._prediction(size, self.estimate(features, size, of_query, queries.to(self.device)))

    @torch.inference_mode()
    def track_features(self, features: Features, size: Size, of_query: QueryFeatures) -> Prediction:
        """Prediction [N,T,...] for points known by their features alone (see `features_at`)."""
        return self._prediction(size, self.estimate(features, size, of_query, None))

    @torch.inference_mode()
    def estimate(self, features: Features, size: Size, of_query: QueryFeatures, queries: Tensor | None) -> Estimate:
        """The final estimate: the mean over resolutions of positions and logits.

        queries [N,3] (t, x, y), pixels of `size`, if the points were seen in this very clip.
        """
        levels = self.levels(size)
        maps = features.levels()
        pyramids = [self.network.pyramid(maps[k]) for k in levels.refined]
        at_levels = self._at_levels(levels, of_query)
        frames, count = len(maps[0].lowres), len(of_query.lowres[0])
        if not count:
            nothing = torch.zeros(frames, 0, device=self.device)
            return Estimate(torch.zeros(frames, 0, 2, device=self.device), nothing, nothing)
        at_once = max(_TOKENS.get(self.device.type, _TOKENS_ELSEWHERE) // max(frames, 1), 1)
        parts = []
        for first in range(0, count, at_once):
            rows = slice(first, first + at_once)
            start = self.network.match(maps[0].lowres, of_query.lowres[0][rows])
            if queries is not None:
                start = self._pin(start, size, queries[rows])
            chosen = choose_rows(at_levels, rows)
            parts.append(self._refined(start, pyramids, [levels.maps[k] for k in levels.refined], chosen))
        return Estimate(*(torch.cat(field, 1) for field in zip(*parts, strict=True)))

    def _pin(self, start: Estimate, size: Size, queries: Tensor) -> Estimate:
        """The first guess with each point put where it was asked for, on the frame of its query."""
        xy = start.xy.clone()
        t = queries[:, 0].round().long().clamp(0, len(xy) - 1)
        points = torch.arange(len(queries), device=xy.device)
        xy[t, points] = coords.resize(queries[:, 1:].float(), size, self.network.config.initial_resolution)
        return start._replace(xy=xy)

    def _refined(
        self, start: Estimate, pyramids: list[list[Tensor]], resolutions: list[Size], of_query: QueryFeatures
    ) -> Estimate:
        """The mean over resolutions of what each ends with."""
        steps = list(self.network.refine(start, pyramids, resolutions, of_query))
        ends = steps[self.network.config.iterations - 1 :: self.network.config.iterations]
        return Estimate(*(torch.stack(field).mean(0) for field in zip(*ends, strict=True)))

    def point_bytes(self, frames: int, size: Size) -> int:
        """See `ClipModel.point_bytes`: what it returns; blocks of points bound the rest, unless one point fills one."""
        token = 4 * (EXPAND * HIDDEN * 2 + HIDDEN * 6 + 64 * (HIRES + LOWRES))
        cells = self.network.config.initial_resolution[0] * self.network.config.initial_resolution[1] // 64
        at_once = max(_TOKENS.get(self.device.type, _TOKENS_ELSEWHERE) // max(frames, 1), 1)
        fixed = frames * token * at_once + min(frames * at_once, MATCHED_AT_ONCE) * cells * 4 * 20
        return 64 * frames + fixed // 64


def choose_rows(of_query: QueryFeatures, rows: slice | Tensor) -> QueryFeatures:
    """The features of some of the points."""
    return QueryFeatures(tuple(x[rows] for x in of_query.hires), tuple(x[rows] for x in of_query.lowres))


def make(
    card: ModelCard,
    config: TapirConfig,
    weights: Mapping[str, Tensor] | None,
    options: Mapping[str, Any],
    kind: Callable[[Tapir, ModelCard, TapirOptions], Any],
) -> Any:
    """A tracker of class `kind` with these weights, in either of the released formats (None: untrained)."""
    chosen = TapirOptions.of(card.id, options)
    temperature = chosen.softmax_temperature
    if weights is not None and is_jax(weights):
        weights = tapir_from_jax(weights)
        # The authors' JAX configurations of BootsTAPIR say 10, their PyTorch code leaves its default.
        temperature = temperature or (10.0 if config.extra_convs else None)
    temperature = float(temperature or config.softmax_temperature)
    config = replace(config, initial_resolution=chosen.initial_resolution, softmax_temperature=temperature)
    if weights is None:
        network = Tapir(config)
    else:
        # Built without memory and given the checkpoint's tensors: nothing is ever there twice.
        with torch.device("meta"):
            network = Tapir(config)
        state = match(weights, network.state_dict(), card.id)
        network.load_state_dict({name: value.float() for name, value in state.items()}, assign=True)
    return kind(network.requires_grad_(False), card, replace(chosen, softmax_temperature=temperature))


def build_tapir(weights: Mapping[str, Tensor] | None = None, **options: Any) -> TapirModel:
    """TAPIR with the released weights, PyTorch or JAX (None: untrained). Options: fields of `TapirOptions`."""
    model: TapirModel = make(TAPIR, TapirConfig(), weights, options, TapirModel)
    return model


def build_bootstapir(weights: Mapping[str, Tensor] | None = None, **options: Any) -> TapirModel:
    """BootsTAPIR with the released weights, PyTorch or JAX (None: untrained). Options: fields of `TapirOptions`."""
    config = TapirConfig(pyramid_level=1, extra_convs=True)
    model: TapirModel = make(BOOTSTAPIR, config, weights, options, TapirModel)
    return model

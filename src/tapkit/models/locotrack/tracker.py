"""LocoTrack small and base as `ClipModel`s: adapter, released checkpoints, factories.

The network, and where it comes from, is in `network`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tapkit import coords
from tapkit.errors import UsageError
from tapkit.models.base import Prediction, Size
from tapkit.models.graphs import Graph
from tapkit.models.locotrack import card as cards
from tapkit.models.locotrack import network as network_
from tapkit.models.locotrack.graphs import graphs
from tapkit.models.locotrack.network import LocoTrackConfig, LocoTrackNetwork, Maps, PointFeatures, groups
from tapkit.models.locotrack.weights import load_released
from tapkit.models.options import NetworkOptions, require_size
from tapkit.models.torch_model import TorchModel, check_frames, check_queries
from tapkit.nn.global_matching import check_resolution, refinement_resolutions, resize_bilinear, to_unit_range
from tapkit.nn.packed import Linear
from tapkit.types import ModelCard

UNITS: Size = (network_.UNIT, network_.UNIT)


class ClipFeatures(NamedTuple):
    """Maps of a clip's frames, channels last [T,h,w,C]; see `Maps`."""

    lowres: Tensor
    hires: Tensor
    highest: Tensor
    initial_lowres: Tensor
    """For global matching, where it works at another resolution than refinement; else empty ([T,0,0,C])."""
    initial_hires: Tensor

    def refined(self) -> Maps:
        """The maps that refinement reads."""
        return Maps(self.lowres, self.hires, self.highest)

    def initial(self) -> Maps:
        """The maps that global matching reads."""
        if self.initial_lowres.shape[1] == 0:
            return self.refined()
        return Maps(self.initial_lowres, self.initial_hires, self.highest)


@dataclass(frozen=True)
class LocoTrackOptions(NetworkOptions):
    """What a user can choose. In bfloat16 are features and matrix products; positions, logits and norms stay
    float32."""

    resolution: Size | None = (256, 256)
    """(height, width) that frames are resized to first, as the authors' `inference()` does; None: not at all."""
    refinement_resolutions: tuple[Size, ...] | None = None
    """Resolutions of the features, (height, width): global matching works at the first, all refinement at the last.
    None: one of 256x256, or a geometric series up to the frames' own size if those (after `resolution`) are larger."""
    antialias: bool = True
    """Let the decoder resize frames to `resolution` by area averaging (as benchmarks do, by Lanczos) rather than
    point-sample large ones. No difference for frames of that size."""

    def check(self) -> None:
        """See `Options.check`."""
        require_size("resolution", self.resolution)
        if self.refinement_resolutions is not None and not self.refinement_resolutions:
            raise UsageError("refinement_resolutions must name at least one resolution, or be None")
        for size in self.refinement_resolutions or ():
            check_resolution(size)


class LocoTrack(TorchModel):
    """LocoTrack as a `ClipModel`. Points are independent and every frame gets an answer, before the query too."""

    network: LocoTrackNetwork
    chosen: LocoTrackOptions

    def _cast(self, dtype: torch.dtype) -> None:
        if dtype == torch.float32:  # never back: what was rounded stays rounded
            return
        self.network.resnet_torch.to(dtype)
        self.network.cmdtop.to(dtype)
        for module in self.network.torch_pips_mixer.modules():
            if isinstance(module, Linear):
                module.to(dtype)

    def _settle(self) -> None:
        super()._settle()
        self.network.prepare()

    def frame_size(self, size: Size) -> Size | None:
        """The option `resolution`; with `antialias=False` frames as they are, point-sampled as the authors do."""
        return self.chosen.resolution if self.chosen.antialias else None

    def resolutions(self, size: Size) -> tuple[Size, Size]:
        """At which resolutions global matching and refinement work for frames of `size`."""
        listed = self.chosen.refinement_resolutions or refinement_resolutions(self.chosen.resolution or size)
        return listed[0], listed[-1]

    def frame_bytes(self, size: Size) -> int:
        """Three maps, and two more where global matching works at its own resolution."""
        initial, refined = self.resolutions(size)
        channels = {"lowres": 256 / 64, "hires": 128 / 16, "highest": 64 / 4}  # numbers for each pixel
        numbers = refined[0] * refined[1] * sum(channels.values())
        if initial != refined:
            numbers += initial[0] * initial[1] * (channels["lowres"] + channels["hires"])
        return int(numbers) * self.network.resnet_torch.initial_conv.weight.dtype.itemsize

    def point_bytes(self, frames: int, size: Size) -> int:
        """The answer while it is put together; what refinement needs is bounded by its groups, not by the points."""
        return frames * 4 * 2 * 4

    @torch.no_grad()
    def encode(self, frames: Tensor) -> ClipFeatures:
        """Features of frames uint8 [B,3,h,w], RGB, each on its own."""
        check_frames(frames)
        at_once = 1 if self.device.type == "cpu" else 8  # a frame fills a CPU; more only cost memory
        out: list[Tensor] = []
        for start in range(0, max(len(frames), 1), at_once):
            part = self._encode(frames[start : start + at_once])
            out = out or [x.new_empty(len(frames), *x.shape[1:]) for x in part]
            for whole, piece in zip(out, part, strict=True):
                whole[start : start + at_once] = piece
        return ClipFeatures(*out)

    def _encode(self, frames: Tensor) -> ClipFeatures:
        size = (frames.shape[-2], frames.shape[-1])
        initial, refined = self.resolutions(size)
        images = to_unit_range(frames)
        images = resize_bilinear(images, self.chosen.resolution or size)
        maps = self.network.maps(resize_bilinear(images, refined))
        if initial == refined:
            return ClipFeatures(*maps, maps.lowres[:, :0, :0], maps.hires[:, :0, :0])
        coarse = self.network.maps(resize_bilinear(images, initial))
        return ClipFeatures(*maps, coarse.lowres, coarse.hires)

    @torch.no_grad()
    def point_features(self, features: ClipFeatures, size: Size, queries: Tensor) -> PointFeatures:
        """What to know of queries [N,3] (t, x, y) to find them in any clip, this one or another, with `track_points`.

        x, y in pixels of the frames (of `size`) that `features` were made from. Memory: 90 KB for each point.
        """
        check_queries(queries, len(features.hires))
        return self.network.point_features(features.initial(), features.refined(), self._in_units(queries, size))

    def _in_units(self, queries: Tensor, size: Size) -> Tensor:
        queries = queries.to(torch.float32)
        return torch.cat([queries[:, :1], coords.resize(queries[:, 1:], size, UNITS)], 1)

    @torch.no_grad()
    def track_points(
        self, features: ClipFeatures, size: Size, points: PointFeatures, known: Tensor | None = None
    ) -> Prediction:
        """Where points with these features are in a clip, [N,T,...]; `known` [N,3] (t, x, y): queries in this clip."""
        frames, count = len(features.hires), len(points.low)
        initial, refined = features.initial(), features.refined()
        xy = torch.zeros(count, frames, 2, device=self.device)
        visible, confidence = torch.zeros_like(xy[..., 0]), torch.zeros_like(xy[..., 0])
        for rows in groups(count, frames) if frames else []:
            asked = None if known is None else self._in_units(known[rows], size)
            some = points.rows(rows)
            *_, last = self.network.refine(refined, some, self.network.match(initial, some, asked))
            xy[rows] = coords.resize(last.xy, UNITS, size)
            visible[rows], confidence[rows] = (-last.occluded).sigmoid(), (-last.uncertain).sigmoid()
        return Prediction(xy, visible, confidence)

    def graphs(self) -> list[Graph]:
        """The network as graphs for export (see `locotrack_graphs.py`); one working resolution for everything."""
        return graphs(self.network)

    def track(self, features: ClipFeatures, size: Size, queries: Tensor) -> Prediction:
        """See `ClipModel.track`."""
        parts = []
        for rows in groups(len(queries), len(features.hires)) or [slice(0, 0)]:
            points = self.point_features(features, size, queries[rows])
            parts.append(self.track_points(features, size, points, queries[rows]))
        return Prediction(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def _build(
    config: LocoTrackConfig, card: ModelCard, weights: Mapping[str, Tensor] | None, options: Mapping[str, Any]
) -> LocoTrack:
    chosen = LocoTrackOptions.of(card.id, options)
    network = LocoTrackNetwork(config)
    if weights is not None:
        load_released(network, weights, card.id)
    return LocoTrack(network.requires_grad_(False), card, chosen)


def build_locotrack_small(weights: Mapping[str, Tensor] | None = None, **options: Any) -> LocoTrack:
    """LocoTrack-S (8.2 M parameters) from the released checkpoint; None: untrained.

    Options: `LocoTrackOptions`. Raises `WeightsError` and
    `UsageError`.
    """
    return _build(network_.SMALL, cards.SMALL, weights, options)


def build_locotrack_base(weights: Mapping[str, Tensor] | None = None, **options: Any) -> LocoTrack:
    """LocoTrack-B (11.5 M parameters); otherwise as `build_locotrack_small`."""
    return _build(network_.BASE, cards.BASE, weights, options)

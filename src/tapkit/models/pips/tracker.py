"""PIPs and PIPs++ as `ClipModel`s. Frames are resized and coordinates converted as the released demos and tests do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Self, cast

import torch
from torch import Tensor

from tapkit import coords
from tapkit.errors import UsageError
from tapkit.models.base import Prediction, Size
from tapkit.models.pips import network2
from tapkit.models.pips.card import PIPS, PIPS2
from tapkit.models.pips.network import TOKEN, WINDOW, Features, Pips, PipsConfig, chain, probability
from tapkit.models.pips.weights import load_weights
from tapkit.nn.encoder import FEATURES
from tapkit.nn.packed import Packable, pack
from tapkit.nn.precision import feature_dtype


class PipsAdapter:
    """What PIPs and PIPs++ share as `ClipModel`s; frames are resized bilinearly, without antialiasing."""

    network: Any
    """Has `config` (with input_size and precision), `norm` and `encode`."""

    def __init__(self, network: Any) -> None:
        self.network = network.eval()
        self.options: Mapping[str, Any] = asdict(network.config)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return cast(torch.device, self.network.norm.weight.device)

    def to(self, device: torch.device | str) -> Self:
        """The model on another device."""
        self.network.to(device)
        prepare(self.network, self.network.config.precision)
        return self

    def frame_size(self, size: Size) -> Size | None:
        """None: frames come as they are and are resized here, exactly as the authors do."""
        return None

    def _input_size(self, size: Size) -> Size:
        return self.network.config.input_size or size

    @torch.inference_mode()
    def encode(self, frames: Tensor) -> Features:
        """See `ClipModel.encode`; frames uint8 [B,3,h,w]."""
        size = self._input_size((frames.shape[-2], frames.shape[-1]))
        return cast(Features, self.network.encode(frames, size))


class PipsModel(PipsAdapter):
    """PIPs for the engine."""

    card = PIPS
    network: Pips

    @torch.inference_mode()
    def track(self, features: Features, size: Size, queries: Tensor) -> Prediction:
        """See `ClipModel.track`: from each query's frame to the clip's end; earlier frames repeat the query."""
        stride, inner = self.network.config.stride, self._input_size(size)
        start = coords.to_centers(coords.resize(queries[:, 1:].float(), size, inner)) / stride
        result = chain(self.network, features, queries[:, 0].long(), start)
        xy = coords.resize(coords.from_centers(result.xy * stride), inner, size)
        visible = probability(result.logits)
        return Prediction(xy, visible, visible)

    def point_bytes(self, frames: int, size: Size) -> int:
        """See `ClipModel.point_bytes`: eight tokens in the mixer (only a block's points at a time), and the tracks."""
        return WINDOW * 4 * (2 * TOKEN + 4 * 512 + 2048) + 64 * frames

    def frame_bytes(self, size: Size) -> int:
        """See `ClipModel.frame_bytes`: four levels of 128 channels."""
        height, width = self.network.fnet.map_size(*self._input_size(size))
        return int(height * width * FEATURES * self.network.dtype.itemsize * 4 / 3)


class Pips2Model(PipsAdapter):
    """PIPs++ for the engine."""

    card = PIPS2
    network: network2.Pips2

    @torch.inference_mode()
    def track(self, features: Features, size: Size, queries: Tensor) -> Prediction:
        """See `ClipModel.track`: from each query's frame to the clip's end; earlier frames repeat the query.

        visible and confidence are 1 where the position lies in the frame, else 0: the network says nothing of them.
        """
        inner = self._input_size(size)
        start = coords.to_centers(coords.resize(queries[:, 1:].float(), size, inner)) / network2.STRIDE
        cells = network2.chain(self.network, features, queries[:, 0].long(), start)
        xy = coords.resize(coords.from_centers(cells * network2.STRIDE), inner, size)
        visible = coords.inside(xy, size).float()
        return Prediction(xy, visible, visible)

    def point_bytes(self, frames: int, size: Size) -> int:
        """See `ClipModel.point_bytes`: a window's tokens (only a block's points at a time), and the tracks."""
        token = 4 * (3 * network2.TOKEN + 8 * network2.WIDTHS[-1])
        return min(frames, self.network.config.window) * token + 64 * frames

    def frame_bytes(self, size: Size) -> int:
        """See `ClipModel.frame_bytes`: four levels of 128 channels."""
        height, width = self.network.fnet.map_size(*self._input_size(size))
        return int(height * width * FEATURES * self.network.dtype.itemsize * 4 / 3)


def prepare(network: Pips | network2.Pips2, precision: str) -> None:
    """Bring the network's weights into the precision asked for and the layout its device likes best."""
    network.dtype = feature_dtype(precision, network.norm.weight.device)
    for module in network.modules():
        if isinstance(module, Packable):
            module.to(network.dtype)
    pack(network)


def build_pips(weights: Mapping[str, Tensor] | None = None, precision: str = "float32", **options: Any) -> PipsModel:
    """PIPs with the published weights (None: untrained). Options are the fields of `PipsConfig`."""
    config = PipsConfig(precision=precision, **options)
    if config.stride not in (4, 8):
        raise UsageError(f"PIPs works at stride 4 or 8, got {config.stride}")
    if config.iterations < 1:
        raise UsageError(f"iterations must be at least 1, got {config.iterations}")
    with torch.device("cpu" if weights is None else "meta"):  # nothing is drawn that the weights replace
        network = Pips(config)
    if weights is not None:
        load_weights(network, weights, PIPS.id)
    network.eval().requires_grad_(False)
    prepare(network, config.precision)
    return PipsModel(network)


def build_pips2(weights: Mapping[str, Tensor] | None = None, precision: str = "float32", **options: Any) -> Pips2Model:
    """PIPs++ with the published weights (None: untrained). Options are the fields of `Pips2Config`."""
    config = network2.Pips2Config(precision=precision, **options)
    if config.iterations < 1 or config.window < 2:
        raise UsageError(
            f"PIPs++ needs at least 1 iteration and windows of 2 frames, got {config.iterations} and {config.window}"
        )
    with torch.device("cpu" if weights is None else "meta"):  # nothing is drawn that the weights replace
        network = network2.Pips2(config)
    if weights is not None:
        load_weights(network, weights, PIPS2.id)
    network.eval().requires_grad_(False)
    prepare(network, config.precision)
    return Pips2Model(network)

"""PIPs as a tracker of whole clips, and what it shares with PIPs++. The network is in `network`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from tapkit import coords
from tapkit.models.base import Prediction, Size
from tapkit.models.pips.card import PIPS
from tapkit.models.pips.network import TOKEN, WINDOW, Features, Pips, PipsOptions, chain, probability
from tapkit.models.pips.weights import load_weights
from tapkit.models.torch_model import TorchModel
from tapkit.nn.encoder import FEATURES
from tapkit.nn.packed import Packable


class PipsBase(TorchModel):
    """What PIPs and PIPs++ share as `ClipModel`s; frames are resized bilinearly, without antialiasing."""

    def _cast(self, dtype: torch.dtype) -> None:
        self.network.dtype = dtype
        for module in self.network.modules():
            if isinstance(module, Packable):
                module.to(dtype)

    def _input_size(self, size: Size) -> Size:
        return cast(Size, self.network.config.input_size or size)

    @torch.inference_mode()
    def encode(self, frames: Tensor) -> Features:
        """See `ClipModel.encode`; frames uint8 [B,3,h,w]."""
        size = self._input_size((frames.shape[-2], frames.shape[-1]))
        return cast(Features, self.network.encode(frames, size))

    def frame_bytes(self, size: Size) -> int:
        """See `ClipModel.frame_bytes`: four levels of 128 channels."""
        height, width = self.network.fnet.map_size(*self._input_size(size))
        return int(height * width * FEATURES * self.network.dtype.itemsize * 4 / 3)


class PipsModel(PipsBase):
    """PIPs for the engine."""

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


def build(weights: Mapping[str, Tensor] | None = None, **options: Any) -> PipsModel:
    """PIPs with the published weights (None: untrained). Options: `PipsOptions`."""
    chosen = PipsOptions.of(PIPS.id, options)
    with torch.device("cpu" if weights is None else "meta"):  # nothing is drawn that the weights replace
        network = Pips(chosen)
    if weights is not None:
        load_weights(network, weights, PIPS.id)
    return PipsModel(network.requires_grad_(False), PIPS, chosen)

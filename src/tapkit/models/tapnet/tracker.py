"""TAP-Net as a tracker of whole clips. The network is in `network`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tapkit import coords
from tapkit.jax_weights import is_jax
from tapkit.models.base import Prediction, Size
from tapkit.models.options import NetworkOptions, require_size
from tapkit.models.tapnet.card import TAPNET
from tapkit.models.tapnet.network import TapNetNetwork
from tapkit.models.tapnet.weights import tapnet_from_jax
from tapkit.models.torch_model import TorchModel, check_frames, check_queries
from tapkit.nn.global_matching import sample_trilinear, to_unit_range
from tapkit.nn.resize import resize_lanczos
from tapkit.weights import match

_FRAMES_AT_ONCE = {"cpu": 2}
_FRAMES_ELSEWHERE = 16


@dataclass(frozen=True)
class TapNetOptions(NetworkOptions):
    """What a user can choose."""

    resolution: Size | None = (256, 256)
    """(height, width) that frames are resized to first; None: the video's own size."""

    def check(self) -> None:
        """See `Options.check`."""
        require_size("resolution", self.resolution)


class TapNetFeatures(NamedTuple):
    """What single frames give; the neighbours in time are mixed in `track`."""

    stem: Tensor
    """[B,H/4,W/4,64]"""


class TapNet(TorchModel):
    """TAP-Net as a `ClipModel`. One pass answers for all frames."""

    network: TapNetNetwork
    chosen: TapNetOptions

    def _cast(self, dtype: torch.dtype) -> None:
        if dtype != self.network.tsm_resnet_video.get_parameter("unit_0.block_0.bn_0.weight").dtype:
            self.network.tsm_resnet_video.to(dtype)

    def _at_once(self) -> int:
        return _FRAMES_AT_ONCE.get(self.device.type, _FRAMES_ELSEWHERE)

    @torch.inference_mode()
    def encode(self, frames: Tensor) -> TapNetFeatures:
        """See `ClipModel.encode`; frames uint8 [B,3,h,w]."""
        own = check_frames(frames)
        size = self.chosen.resolution or own
        images = to_unit_range(resize_lanczos(frames.to(self.device), size))
        backbone = self.network.tsm_resnet_video
        dtype = backbone.get_parameter("unit_0.block_0.bn_0.weight").dtype
        parts = [backbone(image.to(dtype)) for image in torch.split(images, self._at_once())]
        return TapNetFeatures(torch.cat(parts).permute(0, 2, 3, 1).contiguous())

    @torch.inference_mode()
    def maps(self, features: TapNetFeatures) -> Tensor:
        """The unit features [T,h,w,256] of a whole clip."""
        return self.network.features(features.stem.permute(0, 3, 1, 2), self._at_once())

    @torch.inference_mode()
    def query_features(self, maps: Tensor, size: Size, queries: Tensor) -> Tensor:
        """Features [N,256] of queries [N,3] (t, x, y) in `maps`; x and y are pixels of `size`."""
        check_queries(queries)
        queries = queries.to(self.device, torch.float32)
        cells = coords.resize(queries[:, 1:], size, (maps.shape[1], maps.shape[2]))
        return sample_trilinear(maps, torch.cat([queries[:, :1], cells], 1))

    def features_at(self, frames: Tensor, queries: Tensor) -> Tensor:
        """Features [N,256] of points in other pictures: uint8 [K,3,h,w] (a clip), queries [N,3] (t, x, y)."""
        return self.query_features(self.maps(self.encode(frames)), (frames.shape[-2], frames.shape[-1]), queries)

    @torch.inference_mode()
    def track(self, features: TapNetFeatures, size: Size, queries: Tensor) -> Prediction:
        """See `ClipModel.track`: queries [N,3] (t, x, y) in the clip itself; on their frame the answer is the query."""
        maps = self.maps(features)
        prediction = self._predict(maps, size, self.query_features(maps, size, queries))
        queries = queries.to(self.device)
        t = queries[:, 0].round().long().clamp(0, len(maps) - 1)
        prediction.xy[torch.arange(len(queries), device=t.device), t] = queries[:, 1:].float()
        return prediction

    @torch.inference_mode()
    def track_features(self, features: TapNetFeatures, size: Size, of_query: Tensor) -> Prediction:
        """Prediction [N,T,...] for points known by their features alone (see `features_at`)."""
        return self._predict(self.maps(features), size, of_query)

    def _predict(self, maps: Tensor, size: Size, of_query: Tensor) -> Prediction:
        cells, occlusion = self.network(maps, of_query)
        xy = coords.resize(cells, (maps.shape[1], maps.shape[2]), size).transpose(0, 1).contiguous()
        visible = (-occlusion).sigmoid().T.contiguous()
        return Prediction(xy, visible, visible)

    def point_bytes(self, frames: int, size: Size) -> int:
        """See `ClipModel.point_bytes`: what is returned; blocks bound the rest."""
        return 64 * frames + 4096

    def frame_bytes(self, size: Size) -> int:
        """See `ClipModel.frame_bytes`: the stem's output, and two maps while neighbours are mixed."""
        height, width = self.chosen.resolution or size
        return 3 * 4 * 4 * height * width


def build_tapnet(weights: Mapping[str, Tensor] | None = None, **options: Any) -> TapNet:
    """TAP-Net with the released weights, JAX or in our flat form (None: untrained). Options: fields of `TapNetOptions`.

    Raises `UsageError` for unknown options, `WeightsError` for weights of another model.
    """
    chosen = TapNetOptions.of(TAPNET.id, options)
    network = TapNetNetwork()
    if weights is not None:
        state = tapnet_from_jax(weights) if is_jax(weights) else weights
        network.load_state_dict(match(state, network.state_dict(), TAPNET.id))
    return TapNet(network.requires_grad_(False), TAPNET, chosen)

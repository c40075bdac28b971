"""TAP-Net, the baseline of the TAP-Vid benchmark: global matching in every frame, no refinement.

C. Doersch et al., TAP-Vid: A Benchmark for Tracking Any Point in a Video, NeurIPS 2022 (arXiv:2211.03726), section 4.
The backbone is a ResNet-18 (version 2) at stride 8 whose first two units shift an eighth of the channels from and to
the neighbouring frames, so a frame's features depend on four frames to either side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit import coords
from tapkit.errors import QueryError, ShapeError, UsageError
from tapkit.models.base import Prediction, Size
from tapkit.models.tapir.weights import is_jax, tapnet_from_jax
from tapkit.models.tapnet.card import TAPNET
from tapkit.nn.global_matching import sample_trilinear, soft_argmax, to_unit_range
from tapkit.nn.packed import Conv2d, Linear, pack
from tapkit.nn.precision import feature_dtype
from tapkit.nn.resize import resize_lanczos
from tapkit.nn.resnet import l2_normalize, pad_same
from tapkit.weights import match

UNITS = ((64, 64, 1, True), (64, 128, 2, True), (128, 256, 1, False))
"""Channels in and out, stride, whether channels are shifted in time."""
SHIFTED = 8
"""One channel in so many comes from the next frame, one from the frame before."""
TEMPERATURE = 10.0
_MATCHED_AT_ONCE = 512
_FRAMES_AT_ONCE = {"cpu": 2}
_FRAMES_ELSEWHERE = 16


@dataclass(frozen=True)
class TapNetOptions:
    """What a user can choose."""

    resolution: Size | None = (256, 256)
    """(height, width) that frames are resized to first; None: the video's own size."""
    precision: str = "float32"
    """"float32", "bfloat16" or "auto"; coordinates and logits are float32 always."""


class NormRelu(nn.Module):
    """relu(batch norm(x)) with the stored statistics."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """x [B,C,h,w]."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=1e-5).relu()


def shift(a: Tensor) -> Tensor:
    """Temporal shift of a [T+2,C,h,w] -> [T,C,h,w]: the first and last frames are neighbours only.

    The first eighth of the channels becomes the *last* eighth of the next frame, the last eighth the *first* of the
    frame before: the groups change places, and the released weights count on it.
    """
    k = a.shape[1] // SHIFTED
    return torch.cat([a[2:, -k:], a[1:-1, k:-k], a[:-2, :k]], 1).contiguous(memory_format=torch.channels_last)


class Block(nn.Module):
    """Pre-activation block; the projection sees the frame itself, only the residual branch is shifted."""

    def __init__(self, inputs: int, outputs: int, stride: int, project: bool, shifted: bool) -> None:
        super().__init__()
        self.shortcut_conv = Conv2d(inputs, outputs, 1, stride, bias=False) if project else None
        self.bn_0 = NormRelu(inputs)
        self.conv_0 = Conv2d(inputs, outputs, 3, stride, bias=False)
        self.bn_1 = NormRelu(outputs)
        self.conv_2 = Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.stride, self.shifted = stride, shifted

    def forward(self, x: Tensor, before: bool, after: bool) -> Tensor:
        """x [T',C,h,w]: T frames, and where they exist the one before and the one after -> [T,C',h',w']."""
        a = self.bn_0(x)
        here = slice(int(before), len(x) - int(after))
        shortcut = x[here] if self.shortcut_conv is None else self.shortcut_conv(a[here])
        branch = a[here]
        if self.shifted:
            branch = shift(F.pad(a, (0, 0, 0, 0, 0, 0, int(not before), int(not after))))
        y = self.bn_1(self.conv_0(pad_same(branch, 3, self.stride)))
        out: Tensor = self.conv_2(y, residual=shortcut)
        return out

    def over_clip(self, x: Tensor, at_once: int) -> Tensor:
        """x [T,C,h,w], the whole clip, a few frames at a time."""
        frames, halo = len(x), int(self.shifted)
        outs = []
        for start in range(0, frames, at_once):
            stop = min(start + at_once, frames)
            first, last = max(start - halo, 0), min(stop + halo, frames)
            outs.append(self(x[first:last], before=first < start, after=last > stop))
        return torch.cat(outs)


class Backbone(nn.Module):
    """TSM-ResNet-18 v2 up to stride 8. Names are those of the released Haiku modules."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv2d(3, 64, 7, 2, bias=False)
        for number, (inputs, outputs, stride, shifted) in enumerate(UNITS):
            unit = nn.Module()
            unit.block_0 = Block(inputs, outputs, stride, True, shifted)
            unit.block_1 = Block(outputs, outputs, 1, False, shifted)
            self.add_module(f"unit_{number}", unit)

    def forward(self, frames: Tensor) -> Tensor:
        """The part that sees single frames: [B,3,H,W] in [-1,1] -> [B,64,H/4,W/4] (sides rounded up)."""
        x = self.stem(pad_same(frames, 7, 2).contiguous(memory_format=torch.channels_last))
        return F.max_pool2d(pad_same(x, 3, 2, float("-inf")), 3, 2)

    def over_clip(self, x: Tensor, at_once: int) -> Tensor:
        """The rest: [T,64,H/4,W/4] of a whole clip -> [T,256,H/8,W/8]."""
        for number in range(len(UNITS)):
            for block in self.get_submodule(f"unit_{number}").children():
                assert isinstance(block, Block)
                x = block.over_clip(x, at_once)
        return x


class TapNetNetwork(nn.Module):
    """The network; its tensors carry the names of our flat form of the released checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.tsm_resnet_video = Backbone()
        self.cost_volume_regression_1 = Conv2d(1, 16, 3, padding=1)
        self.cost_volume_regression_2 = Conv2d(16, 1, 3, padding=1)
        self.cost_volume_occlusion_1 = Conv2d(16, 32, 3, 2)
        self.cost_volume_occlusion_2 = Linear(32, 16)
        self.occlusion_out = Linear(16, 1)

    def features(self, stem: Tensor, at_once: int = 2) -> Tensor:
        """Unit features [T,h,w,256] of a clip from `tsm_resnet_video(frames)` [T,64,2h,2w]."""
        maps = self.tsm_resnet_video.over_clip(stem, at_once)
        return l2_normalize(maps.permute(0, 2, 3, 1), dim=-1)

    def heads(self, costs: Tensor) -> tuple[Tensor, Tensor]:
        """costs [M,h,w] -> positions [M,2] in cells (corner origin), occlusion logits [M]."""
        hidden = self.cost_volume_regression_1(costs.unsqueeze(1), activation="relu")
        heat = self.cost_volume_regression_2(hidden).squeeze(1)
        coarse = self.cost_volume_occlusion_1(pad_same(hidden, 3, 2)).mean((2, 3))
        logits = self.occlusion_out(self.cost_volume_occlusion_2(coarse, activation="relu"))
        return soft_argmax(heat * TEMPERATURE), logits[:, 0]

    def forward(self, maps: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Where query features [N,256] are on the maps [T,h,w,256]: positions [T,N,2] in cells, occlusion [T,N]."""
        cells, logits = [], []
        for part in torch.split(maps, max(_MATCHED_AT_ONCE // max(len(queries), 1), 1)):
            costs = torch.matmul(queries.float(), part.float().flatten(1, 2).transpose(1, 2))
            position, occlusion = self.heads(costs.view(-1, *part.shape[1:3]))
            cells.append(position)
            logits.append(occlusion)
        shape = (len(maps), len(queries))
        return torch.cat(cells).view(*shape, 2), torch.cat(logits).view(shape)


class TapNetFeatures(NamedTuple):
    """What single frames give; the neighbours in time are mixed in `track`."""

    stem: Tensor
    """[B,H/4,W/4,64]"""


class TapNet:
    """TAP-Net as a `ClipModel`. One pass answers for all frames."""

    card = TAPNET

    def __init__(self, network: TapNetNetwork, options: TapNetOptions) -> None:
        self.network, self.chosen = network.eval(), options
        self.options: Mapping[str, Any] = asdict(options)
        self._settle()

    def _settle(self) -> None:
        """Bring the backbone into the precision asked for, and weights into the layout the device likes best."""
        dtype = feature_dtype(self.chosen.precision, self.device)
        if dtype != self.network.tsm_resnet_video.get_parameter("unit_0.block_0.bn_0.weight").dtype:
            self.network.tsm_resnet_video.to(dtype)
        pack(self.network)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.network.occlusion_out.bias.device

    def to(self, device: torch.device | str) -> Self:
        """The model, moved to another device."""
        self.network.to(device)
        self._settle()
        return self

    def frame_size(self, size: Size) -> Size | None:
        """None: frames come as they are and are resized here, exactly as the authors do."""
        return None

    def _at_once(self) -> int:
        return _FRAMES_AT_ONCE.get(self.device.type, _FRAMES_ELSEWHERE)

    @torch.inference_mode()
    def encode(self, frames: Tensor) -> TapNetFeatures:
        """See `ClipModel.encode`; frames uint8 [B,3,h,w]."""
        if frames.ndim != 4 or frames.shape[1] != 3:
            raise ShapeError(f"frames must be [B,3,h,w], got {list(frames.shape)}")
        size = self.chosen.resolution or (frames.shape[-2], frames.shape[-1])
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
        if queries.ndim != 2 or queries.shape[1] != 3:
            raise ShapeError(f"queries must be [N,3] (t, x, y), got {list(queries.shape)}")
        if not torch.isfinite(queries).all():
            raise QueryError("query positions must be finite numbers")
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
    known = TapNetOptions.__dataclass_fields__
    if unknown := [name for name in options if name not in known]:
        raise UsageError(f"there is no option {unknown[0]!r}; known are {', '.join(known)}")
    chosen = TapNetOptions(**options)
    feature_dtype(chosen.precision, torch.device("cpu"))
    if chosen.resolution is not None:
        if min(chosen.resolution) < 1:
            raise UsageError(f"resolution must be (height, width), got {chosen.resolution}")
        chosen = replace(chosen, resolution=(int(chosen.resolution[0]), int(chosen.resolution[1])))
    network = TapNetNetwork()
    if weights is not None:
        state = tapnet_from_jax(weights) if is_jax(weights) else weights
        network.load_state_dict(match(state, network.state_dict(), TAPNET.id))
    return TapNet(network.requires_grad_(False), chosen)

"""What the adapters of all TAPTRs share: frames, coordinates, support points."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit import coords
from tapkit.constants import constant_like
from tapkit.errors import UsageError
from tapkit.models.base import Size
from tapkit.models.options import NetworkOptions
from tapkit.models.taptr.encoder import Features, pyramid_of
from tapkit.models.taptr.parts import WIDTH
from tapkit.models.taptr.support import SIDE, Support
from tapkit.models.torch_model import TorchModel, check_frames
from tapkit.nn.packed import Conv2d, Linear
from tapkit.nn.transfer import sent
from tapkit.types import ModelCard

LEAST_SIDE = 64
"""Pixels; below, the coarsest level of the pyramid would have a single cell."""
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_UNIT: Size = (2, 2)
"""A frame in which pixel indices run from 0 to 1."""


class Tokens(NamedTuple):
    """What is kept of frames."""

    tokens: Tensor
    """float32 [B,S,256]: all levels of the pyramid, see `tapkit.nn.deformable_attention.Pyramid`."""


class Adapter(TorchModel):
    """Frames of any size in, frames as the network wants them out; the same for points."""

    network: Any
    # The layers that bfloat16 leaves alone: what positions go in and come out by.
    float32_layers: ClassVar[tuple[str, ...]] = (
        "bbox_embed",
        "class_embed",
        "sampling_offsets",
        "ref_point_head",
        "caupdate",
        "update_pos_embed_head",
        "ca_update_fuser",
        "mlp_calulate_similarity",
    )

    def __init__(self, network: Features, card: ModelCard, options: NetworkOptions, size: Size | None, support: str):
        self.input_size, self.support = size, Support.parse(support)
        card = card if size == card.input_size else replace(card, input_size=size)
        super().__init__(network, card, options)

    def _cast(self, dtype: torch.dtype) -> None:
        for name, module in self.network.named_modules():
            if isinstance(module, (Linear, Conv2d)):
                module.to(torch.float32 if any(part in name for part in self.float32_layers) else dtype)

    def network_size(self, size: Size) -> Size:
        """The size at which the network sees frames of `size`. Raises `UsageError` for frames that are too small."""
        wanted = self.input_size or size
        if min(wanted) < LEAST_SIDE:
            raise UsageError(
                f"{self.card.id} needs frames of at least {LEAST_SIDE}x{LEAST_SIDE} pixels, got "
                f"{wanted[1]}x{wanted[0]}; leave input_size at its default and they are enlarged"
            )
        return wanted

    def prepare(self, frames: Tensor) -> Tensor:
        """uint8 [B,3,h,w] -> normalised float32 at the network's size.

        Bilinear, pixel centres at halves. The authors only ever enlarge frames (256 to 512 pixels); where they are made
        smaller they are low-pass filtered, too.
        """
        size = check_frames(frames)
        wanted = self.network_size(size)
        image = frames.float() / 255
        if size != wanted:
            shrinks = wanted[0] < size[0] or wanted[1] < size[1]
            image = F.interpolate(image, wanted, mode="bilinear", align_corners=False, antialias=shrinks)
        mean, deviation = (constant_like(part, image)[:, None, None] for part in (_MEAN, _DEVIATION))
        return (image - mean) / deviation

    def encode(self, frames: Tensor) -> Tokens:
        """Features of frames uint8 [B,3,h,w], each for itself."""
        return Tokens(self.network.encode(self.prepare(frames)))

    def normalised(self, xy: Tensor, size: Size) -> Tensor:
        """Corner-origin pixels of frames of `size` as pixel index over (side - 1)."""
        return coords.resize_centers(coords.to_centers(xy.float()), size, _UNIT)

    def pixels(self, xy: Tensor, size: Size) -> Tensor:
        """The inverse of `normalised`."""
        return coords.from_centers(coords.resize_centers(xy, _UNIT, size))

    def with_own(self, xy: Tensor) -> Tensor:
        """Normalised positions [M,2], each followed by its own support points, kept inside the frame [M*own,2]."""
        offsets = constant_like(self.support.around().tolist(), xy) / (SIDE - 1)
        rows = xy[:, None] + offsets
        rows[:, 1:] = rows[:, 1:].clamp(0, 1)
        return rows.flatten(0, 1)

    def shared_support(self, xy: Tensor) -> Tensor:
        """Support points of nobody in particular [M,3]: frames from the first on, normalised positions."""
        rows = self.support.shared(xy * (SIDE - 1))
        rows[:, 1:] /= SIDE - 1
        return sent(rows.to(xy.dtype), xy.device)

    def frame_bytes(self, size: Size) -> int:
        """About how much memory the features of one frame take."""
        return pyramid_of(self.network_size(size)).tokens * WIDTH * 4

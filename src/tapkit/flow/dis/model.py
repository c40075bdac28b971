"""DIS: optical flow by dense inverse search (Kroeger et al., ECCV 2016), as OpenCV computes it.

Patches are registered from coarse to fine, their displacements are blended into a dense field, which a few variational
iterations smooth. It needs no weights, and takes tens of milliseconds for a frame of 480x270.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from tapkit.errors import require
from tapkit.flow.base import Flow, Size
from tapkit.flow.dis.card import DIS
from tapkit.models.options import Options
from tapkit.types import ModelCard

_PRESETS = {"ultrafast": 0, "fast": 1, "medium": 2}
LEAST = 32
"""Pixels a side up to which smaller frames are padded (by their border): OpenCV refuses what holds too few patches."""


@dataclass(frozen=True)
class DisOptions(Options):
    """Settings of DIS."""

    preset: Literal["ultrafast", "fast", "medium"] = "medium"
    """OpenCV's sets of parameters; "medium" is the most accurate."""


class DisFeatures(NamedTuple):
    """Of B frames."""

    grey: Tensor
    """uint8 [B,h,w], at least `LEAST` pixels a side."""


class DisModel:
    """A `FlowModel` on the CPU; `flow_from` starts from an earlier result of the same first frame."""

    card: ModelCard = DIS

    def __init__(self, options: DisOptions) -> None:
        self.options: Mapping[str, Any] = options.to_json()
        self._cv: Any = require("cv2", "cv")
        self._preset = _PRESETS[options.preset]

    @property
    def device(self) -> torch.device:
        """Always the CPU: OpenCV works there."""
        return torch.device("cpu")

    def to(self, device: torch.device | str) -> Self:
        """Stays on the CPU."""
        return self

    def frame_size(self, size: Size) -> Size | None:
        """As they are."""
        return None

    def encode(self, frames: Tensor) -> DisFeatures:
        """See `FlowModel.encode`: grey frames."""
        grey = [
            self._cv.cvtColor(np.ascontiguousarray(frame.permute(1, 2, 0).numpy()), self._cv.COLOR_RGB2GRAY)
            for frame in frames.cpu()
        ]
        below, right = (max(LEAST - side, 0) for side in frames.shape[-2:])
        padded = [np.pad(picture, ((0, below), (0, right)), mode="edge") for picture in grey]
        return DisFeatures(torch.from_numpy(np.stack(padded)))

    def flow(self, first: DisFeatures, second: DisFeatures, size: Size) -> Flow:
        """See `FlowModel.flow`."""
        return self.flow_from(first, second, size, None)[0]

    def flow_from(
        self, first: DisFeatures, second: DisFeatures, size: Size, start: Tensor | None
    ) -> tuple[Flow, Tensor]:
        """The flow, refined from `start` [P,2,h,w] (None: from zero), and the same in a form that may start another.

        The flow to start from only counts at OpenCV's coarsest scale.
        """
        solver = self._cv.DISOpticalFlow_create(self._preset)
        fields = []
        for pair, (before, after) in enumerate(zip(first.grey.numpy(), second.grey.numpy(), strict=True)):
            given = None if start is None else np.ascontiguousarray(start[pair].permute(1, 2, 0).numpy())
            fields.append(torch.from_numpy(solver.calc(before, after, given)).permute(2, 0, 1))
        whole = torch.stack(fields) if fields else torch.zeros(0, 2, *first.grey.shape[-2:])
        return Flow(whole[..., : size[0], : size[1]].contiguous()), whole

    def frame_bytes(self, size: Size) -> int:
        """See `FlowModel.frame_bytes`."""
        return size[0] * size[1]

    def pair_bytes(self, size: Size) -> int:
        """See `FlowModel.pair_bytes`: gradients and fields at all scales, in float32."""
        return size[0] * size[1] * 100


def build(weights: Mapping[str, Tensor] | None = None, **options: Any) -> DisModel:
    """DIS; there are no weights. Options are the fields of `DisOptions`."""
    return DisModel(DisOptions.of(DIS.id, options))

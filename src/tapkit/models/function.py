"""A plain function as a tracker: what `tapkit.register(name, function)` makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from tapkit.errors import ShapeError
from tapkit.models.base import Prediction, Size
from tapkit.types import ModelCard


class Pictures(NamedTuple):
    """The frames themselves."""

    frames: Tensor
    """uint8 [T,3,h,w]."""


class FunctionModel:
    """A `ClipModel` that asks a function.

    Args:
        function: (video uint8 [T,3,h,w], queries float32 [N,3]: t, x, y) -> xy [N,T,2], or (xy, visible [N,T]), or (xy,
            visible, confidence [N,T]); pixels of the video it gets, corner origin; probabilities. Tensors or arrays.
        card: what it is called.
        size: (height, width) of the frames that it wants; None: those of the video.
    """

    options: Mapping[str, Any] = {}

    def __init__(self, function: Callable[[Tensor, Tensor], Any], card: ModelCard, size: Size | None) -> None:
        self.function, self.card, self.size = function, card, size
        self.device = torch.device("cpu")

    def to(self, device: torch.device | str) -> Self:
        """See `Model.to`: where the frames are that the function gets."""
        self.device = torch.device(device)
        return self

    def frame_size(self, size: Size) -> Size | None:
        """See `Model.frame_size`."""
        return self.size

    def encode(self, frames: Tensor) -> Pictures:
        """See `ClipModel.encode`: the frames as they are."""
        return Pictures(frames)

    def frame_bytes(self, size: Size) -> int:
        """See `ClipModel.frame_bytes`."""
        return 3 * size[0] * size[1]

    def point_bytes(self, frames: int, size: Size) -> int:
        """See `ClipModel.point_bytes`: the answers; what the function takes is not known."""
        return 16 * frames

    def track(self, features: Pictures, size: Size, queries: Tensor) -> Prediction:
        """See `ClipModel.track`. Raises `ShapeError` for an answer of another shape."""
        frames, count = len(features.frames), len(queries)
        with torch.inference_mode(False), torch.no_grad():
            answer = self.function(features.frames.clone(), queries.clone())
        parts = answer if isinstance(answer, tuple | list) else (answer,)
        if not 1 <= len(parts) <= 3:
            raise ShapeError(
                f"{self.card.id} returned {len(parts)} values: expected xy, (xy, visible) or with confidence"
            )
        tensors = [torch.as_tensor(part, device=self.device).float() for part in parts]
        for name, part, shape in zip(
            ("xy", "visible", "confidence"),
            tensors,
            ([count, frames, 2], [count, frames], [count, frames]),
            strict=False,
        ):
            if list(part.shape) != shape:
                raise ShapeError(f"{self.card.id} returned {name} {list(part.shape)}, expected {shape}")
        ones = torch.ones(count, frames, device=self.device)
        visible = tensors[1] if len(tensors) > 1 else ones
        return Prediction(tensors[0], visible, tensors[2] if len(tensors) > 2 else visible)

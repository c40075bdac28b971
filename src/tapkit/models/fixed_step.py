"""The `FixedStep` of trackers whose points know nothing of one another: a row more or less changes no other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tapkit.models.base import Carried, Prediction, Size


class IndependentSteps:
    """Gives a `CausalModel` that `EncodesFrames`, and whose state is all on the device, its `FixedStep`."""

    def encode(self, frames: Tensor) -> Any:
        """See `EncodesFrames.encode`."""
        raise NotImplementedError

    def follow(self, state: Any, features: Any, size: Size, new_xy: Tensor) -> tuple[Any, Prediction]:
        """See `EncodesFrames.follow`."""
        raise NotImplementedError

    def carried(self, state: Any) -> Carried | None:
        """See `FixedStep.carried`: the state as it is."""
        return Carried(state)

    def fixed_step(self, carried: Carried, frame: Tensor, held: Tensor) -> tuple[Any, Prediction, Any]:
        """See `FixedStep.fixed_step`. Spare rows are tracked like all others."""
        features = self.encode(frame[None])
        nobody = torch.zeros(0, 2, device=frame.device)
        after, prediction = self.follow(carried.tensors, features, (frame.shape[-2], frame.shape[-1]), nobody)
        return after, prediction, features

    def after(self, state: Any, tensors: Any) -> Any:
        """See `FixedStep.after`."""
        return tensors

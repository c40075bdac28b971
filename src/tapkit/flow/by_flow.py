"""What trackers that move points by a two-frame flow model share: the model, where it is and at which size it works."""

from __future__ import annotations

from typing import Self

import torch

from tapkit.coords import shrunk
from tapkit.flow.base import FlowModel, Size


class ByFlow:
    """Base of such trackers.

    Args:
        model: the flow model.
        max_side: longer frames are tracked at this length of their longer side; None: at their own.
    """

    def __init__(self, model: FlowModel, max_side: int | None) -> None:
        self.flow_model = model
        self._max_side = max_side

    @property
    def device(self) -> torch.device:
        """That of the flow model."""
        return self.flow_model.device

    def to(self, device: torch.device | str) -> Self:
        """Move the flow model."""
        self.flow_model = self.flow_model.to(device)
        return self

    def frame_size(self, size: Size) -> Size | None:
        """See `Model.frame_size`."""
        smaller = shrunk(size, self._max_side)
        return self.flow_model.frame_size(smaller or size) or smaller

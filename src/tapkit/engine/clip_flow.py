"""The flow between any two frames of a clip, by a tracker that has to see the whole clip first (`card.gives_flow`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from tapkit.errors import UsageError
from tapkit.flow.base import GivesFlow
from tapkit.flow.stream import PairFlow, Pairs, as_arrays
from tapkit.types import ModelCard
from tapkit.video.base import Source

if TYPE_CHECKING:
    from tapkit.engine.tracker import Tracker


class ClipFlow:
    """A `tapkit.flow.base.ClipFlowModel` made of a tracker."""

    def __init__(self, tracker: Tracker) -> None:
        if not isinstance(tracker.model, GivesFlow):
            raise UsageError(f"{tracker.card.id} gives no flow")
        self.tracker = tracker
        self.card: ModelCard = tracker.card
        self.options: Mapping[str, Any] = tracker.model.options

    def to(self, device: torch.device | str) -> Self:
        """Move the tracker."""
        self.tracker.model.to(device)
        return self

    @torch.inference_mode()
    def flows(self, source: Source, pairs: Pairs, wanted: Callable[[int, int], bool]) -> Iterator[PairFlow]:
        """See `ClipFlowModel.flows`."""
        model: Any = self.tracker.model
        video = source.info.size
        size = model.frame_size(video) or video
        encoded = []
        for frame in source.frames(size=size):
            image = torch.from_numpy(np.ascontiguousarray(frame.image)).permute(2, 0, 1)[None]
            encoded.append(model.encode(image.to(model.device)))
        asked = [pair for later in range(len(encoded)) for pair in pairs.with_frame(later) if wanted(*pair)]
        if not asked:
            return
        features = type(encoded[0])(*(torch.cat(parts) for parts in zip(*encoded, strict=True)))
        encoded.clear()
        for (first, second), flow in zip(asked, model.flows_between(features, size, asked), strict=True):
            yield as_arrays(first, second, flow, video)

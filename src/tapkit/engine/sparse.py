"""The sparse tracks that some models of whole clips start from (`StartsFromTracks`), by any tracker of the registry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tapkit import registry
from tapkit import weights as stored
from tapkit.errors import UsageError
from tapkit.models.base import Model, Prediction, Reports, StartsFromTracks
from tapkit.nn.transfer import sent
from tapkit.types import Queries

if TYPE_CHECKING:
    from tapkit.engine.control import Progress
    from tapkit.engine.tracker import Tracker

_WRAPPER = "model."
"""What the authors of DOT put before the names of every tracker's tensors in the checkpoints they publish."""


def connect(model: Model) -> None:
    """Give the model the tracker that it starts from, if it starts from one's tracks.

    Raises `UsageError` for a tracker that there is not, or that starts from tracks itself, `WeightsError` for its
    weights.
    """
    if isinstance(model, StartsFromTracks):
        tracker = _load(model)
        facts: dict[str, Any] = {"tracker_options": dict(tracker.model.options)}
        if tracker.weights_sha256:
            facts["tracker_weights_sha256"] = tracker.weights_sha256
        model.start_from(SparseTracks(model, tracker), facts)


def _load(model: StartsFromTracks) -> Tracker:
    from tapkit.engine.tracker import Tracker

    name, weights, options = model.tracker
    card = registry.card(name)
    if card.streaming == "pairwise":
        raise UsageError(f"{name} computes flow between two frames; the tracker must be one, such as flow-chain")
    state: Any = None
    digest = ""
    if weights is not None or card.needs_weights:
        state, path = stored.given_or_official(card, weights)
        assert path is not None and state is not None
        digest = stored.sha256(Path(path))
        if all(part.startswith(_WRAPPER) for part in state):
            state = {part.removeprefix(_WRAPPER): tensor for part, tensor in state.items()}
    inner = registry.build(name, state, **options)
    if isinstance(inner, StartsFromTracks):
        raise UsageError(f"{name} starts from the tracks of another tracker itself")
    return Tracker(inner, digest)


class SparseTracks:
    """A `tapkit.models.base.TrackPoints` for one model."""

    def __init__(self, model: Any, tracker: Tracker) -> None:
        self.model, self.tracker = model, tracker

    def __call__(self, frames: Tensor, groups: Sequence[Tensor]) -> Prediction:
        """See `TrackPoints`. Points of a tracker that takes each for itself are tracked in one go."""
        card, device = self.tracker.card, frames.device
        if self.tracker.model.device != device:
            self.tracker.model.to(device)
        if not card.joint:
            groups = [torch.cat(list(groups))]
        clip = frames.permute(0, 2, 3, 1).cpu().numpy()
        parts = []
        for queries in groups:
            from tapkit.video.array import ArraySource  # which needs the video library: training does without

            tracks = self.tracker.track(ArraySource(clip, layout="THWC"), Queries.of(queries), progress=self._progress)
            visible = tracks.visible_at()
            parts.append(
                Prediction(
                    sent(torch.from_numpy(tracks.xy.copy()), device),
                    sent(torch.from_numpy(visible).float(), device),
                    sent(torch.from_numpy(tracks.confidence.copy()), device),
                )
            )
        return Prediction(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def _progress(self, progress: Progress) -> None:
        """Hand on how far it is; what listens may cancel."""
        if isinstance(self.model, Reports) and self.model.report is not None:
            self.model.report(progress.done, progress.total or progress.done)

"""Validation by the tracker itself: what users get from the weights is what is measured."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tapkit.datasets.frames import ArrayFrames
from tapkit.engine.tracker import Tracker
from tapkit.train.batch import Batch, Predictions, Queries
from tapkit.types import VideoInfo


def predict_with(model: Any, batch: Batch, queries: Queries) -> Predictions:
    """Predictions of a model (see `tapkit.models.base`) for all clips of a batch, points tracked forwards.

    The model must have a network of its own (`copy.deepcopy`): models lay their weights out for inference.
    """
    tracker = Tracker(model)
    found = [
        _track(tracker, video, frame, xy) for video, frame, xy in zip(batch.video, queries.frame, batch.xy, strict=True)
    ]
    return Predictions(*(torch.stack(list(part)) for part in zip(*found, strict=True)))


def _track(tracker: Tracker, video: Tensor, frame: Tensor, xy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """xy [N,T,2], visible and confidence [N,T] of one clip [T,3,H,W]; zero before the query and without one."""
    count, length = xy.shape[:2]
    asked = (frame < length).nonzero()[:, 0]
    at = frame[asked]
    whole = xy.new_zeros(count, length, 2), xy.new_zeros(count, length), xy.new_zeros(count, length)
    if not len(asked):
        return whole
    queries = torch.cat([at[:, None].float(), xy[asked, at]], 1)
    frames = video.permute(0, 2, 3, 1).cpu().numpy()
    source = ArrayFrames(frames, VideoInfo(width=frames.shape[2], height=frames.shape[1], frames=length))
    tracks = tracker.track(source, queries.cpu().numpy(), direction="forward")
    after = torch.arange(length, device=at.device) >= at[:, None]
    for out, values in zip(whole, (tracks.xy, tracks.visible, tracks.confidence), strict=True):
        part = torch.from_numpy(values.copy()).to(out)
        out[asked] = torch.where(after if part.ndim == 2 else after[..., None], part, 0.0)
    return whole

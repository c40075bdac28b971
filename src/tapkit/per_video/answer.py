"""What models that answer queries out of a finished fit share: they know their clip again, and see no more of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from tapkit.errors import UsageError, WeightsError
from tapkit.models.base import Prediction, Size
from tapkit.models.torch_model import check_queries
from tapkit.per_video.folder import SAME, thumbs_of
from tapkit.per_video.method import Place
from tapkit.types import ModelCard


class Thumbs(NamedTuple):
    """Small pictures of frames."""

    pictures: Tensor
    """uint8 [B,3,8,8]."""


class FittedModel:
    """Base of such models: a `ClipModel` whose frames serve only to see that the clip is the right one.

    Args:
        card: of the method.
        options: those of the fit, for the provenance.
        place: the clip.
        network: what answers; moved by `to`.
    """

    def __init__(self, card: ModelCard, options: Mapping[str, Any], place: Place, network: nn.Module) -> None:
        self.card = replace(card, streaming="offline", latency=-1, bidirectional=True, joint=False)
        self.options: Mapping[str, Any] = dict(options)
        self.place = place
        self.network = network.eval().requires_grad_(False)
        self.thumbs: Tensor | None = None
        """Of the clip that was fitted to (set by whoever reads a fit); None: nothing is compared."""

    @property
    def device(self) -> torch.device:
        """That of the network."""
        return next(self.network.parameters()).device

    def to(self, device: torch.device | str) -> Self:
        """Move the network."""
        self.network.to(device)
        return self

    def frame_size(self, size: Size) -> Size | None:
        """See `Model.frame_size`: the working size of the fit."""
        return self.place.size

    def encode(self, frames: Tensor) -> Thumbs:
        """See `ClipModel.encode`."""
        return Thumbs(thumbs_of(frames))

    def frame_bytes(self, size: Size) -> int:
        """See `ClipModel.frame_bytes`."""
        return 3 * size[0] * size[1]

    def point_bytes(self, frames: int, size: Size) -> int:
        """See `ClipModel.point_bytes`; methods that take more say so."""
        return 64 * frames

    def track(self, features: Thumbs, size: Size, queries: Tensor) -> Prediction:
        """See `ClipModel.track`. Raises `UsageError` for another clip than the one that was fitted to."""
        check_queries(queries, self.place.frames)
        self.check(features)
        return self.answer(queries)

    def check(self, features: Thumbs) -> None:
        """Raise `UsageError` unless these are the frames that were fitted to."""
        frames = len(features.pictures)
        if frames != self.place.frames:
            raise UsageError(f"this fit is to a video of {self.place.frames} frames, and this one has {frames}")
        if self.thumbs is not None:
            apart = (features.pictures.cpu().float() - self.thumbs.float()).abs().mean()
            if apart > SAME:
                raise UsageError("this fit is to another video: a method that is fitted to one video knows no other")

    def answer(self, queries: Tensor) -> Prediction:
        """Predictions [N,T,...] for queries [N,3] (t, x, y), corner origin, pixels of the working size."""
        raise NotImplementedError


def axes_of(tensors: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    """The coordinate that each coupling of `deform_mlp` changes, as its masks say. Raises `WeightsError`."""
    found: list[int] = []
    while (key := f"deform_mlp.layers1.{len(found)}.mask") in tensors:
        found.append(int(tensors[key].reshape(-1).argmin()))
    if not found:
        raise WeightsError(f"these are not weights of {name}: deform_mlp has no masks")
    return tuple(found)

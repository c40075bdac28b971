"""Answers from a finished fit: queries on any frame of the clip, in both directions, with occlusion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from tapkit.coords import Size, resize
from tapkit.errors import UsageError
from tapkit.models.base import Prediction
from tapkit.models.torch_model import check_frames, check_queries
from tapkit.nn.dinov2 import DinoV2
from tapkit.per_video.answer import FittedModel, Thumbs
from tapkit.per_video.dino_tracker.card import CARD
from tapkit.per_video.dino_tracker.grid import STRIDE, TokenGrid, model_size
from tapkit.per_video.dino_tracker.network import DinoTracker, Features
from tapkit.per_video.dino_tracker.options import DinoTrackerOptions
from tapkit.per_video.dino_tracker.tracking import LEAST_COSINE, Found, track
from tapkit.per_video.folder import thumbs_of
from tapkit.per_video.method import Place
from tapkit.per_video.prepare.tokens import Reading, backbone, load, normalised

BUDGET = 512_000_000
"""Bytes that maps of points may take at once."""
_CLOSE = 1e-3
"""How far from one half P(visible) is at least."""


class ClipFeatures(NamedTuple):
    """Of B frames."""

    pictures: Tensor
    """uint8 [B,3,8,8], by which the clip is known again."""
    maps: Tensor
    """[B,C,h,w] refined features."""


class FittedDinoTracker(FittedModel):
    """A `ClipModel` for the clip that it was fitted to. The backbone is loaded when the first frames are encoded."""

    network: DinoTracker

    def __init__(self, network: DinoTracker, place: Place, options: DinoTrackerOptions) -> None:
        """
        Args:
            network: fitted to the clip.
            place: the clip's length and working size.
            options: of the fit.
        """
        super().__init__(CARD, options.to_json(), place, network)
        self.chosen = options
        self.grid = TokenGrid(model_size(place.size))
        self.reading = Reading(options.backbone, self.grid.size, STRIDE, options.backbone_weights)
        self._backbone: DinoV2 | None = None

    def to(self, device: torch.device | str) -> Self:
        """See `Model.to`."""
        if self._backbone is not None:
            self._backbone.to(torch.device(device))
        return super().to(device)

    @torch.no_grad()
    def encode(self, frames: Tensor) -> ClipFeatures:  # type: ignore[override]
        """See `ClipModel.encode`; one frame after the other. Raises `WeightsError` where the backbone is missing."""
        check_frames(frames)
        if self._backbone is None:
            self._backbone = load(self.chosen.backbone, self.chosen.backbone_weights).to(self.device)
        maps = [self._refined(frame[None].to(self.device)) for frame in frames]
        return ClipFeatures(thumbs_of(frames), torch.cat(maps))

    def _refined(self, frame: Tensor) -> Tensor:
        """uint8 [1,3,h,w] -> [1,C,h,w]."""
        assert self._backbone is not None, "`encode` loads it"
        image = self.reading.resized(frame)
        raw = self._backbone(normalised(image), STRIDE, backbone(self.chosen.backbone).track_block)
        return self.network.refine(image / 255, raw, self.grid).maps

    def track(self, features: ClipFeatures, size: Size, queries: Tensor) -> Prediction:  # type: ignore[override]
        """See `ClipModel.track`; points do not influence each other, and all frames are answered."""
        check_queries(queries, self.place.frames)
        self.check(Thumbs(features.pictures))
        xy = resize(queries[:, 1:].float(), size, self.grid.size)
        clip = Features(features.maps, self.grid)
        found = track(self.network, clip, queries[:, 0].long(), xy, budget=BUDGET)
        return Prediction(resize(found.xy, self.grid.size, size), visible(found), found.cosine.clamp(0, 1))

    def point_bytes(self, frames: int, size: Size) -> int:
        """See `ClipModel.point_bytes`: features of its places and copies of them, where they are found on anchors."""
        width = backbone(self.chosen.backbone).config.width
        return frames * (4 * width * 4 + 16 * frames)

    def frame_bytes(self, size: Size) -> int:
        """See `ClipModel.frame_bytes`: the refined features."""
        return 4 * self.grid.count * backbone(self.chosen.backbone).config.width


def visible(found: Found) -> Tensor:
    """P(visible) [N,T]: above one half exactly where the authors' two rules hold, whose answer is yes or no.

    How sure that is, say by how much the anchors are missed, compared with what they miss each other by (and a pixel),
    and how much the features resemble those at the query.
    """
    of_miss = 1 / (1 + (found.miss / (found.limit[:, None] + 1)).square())
    of_look = (found.cosine / (2 * LEAST_COSINE)).clamp(0, 1)
    soft = torch.minimum(of_miss, of_look)
    hidden = found.hidden()
    return torch.where(hidden, soft.clamp(max=0.5 - _CLOSE), soft.clamp(min=0.5 + _CLOSE))


def build(weights: Mapping[str, Tensor] | None, **options: Any) -> FittedDinoTracker:
    """What the card names. There is nothing to build without a fit. Raises `UsageError`."""
    raise UsageError(
        f"{CARD.id} is fitted to each video: tapkit fit CLIP --model {CARD.id} -o clip.fit, and then "
        "tapkit track CLIP --model clip.fit"
    )

"""Answers queries out of a fitted OmniMotion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tapkit import coords
from tapkit.errors import UsageError
from tapkit.models.base import Prediction, Size
from tapkit.per_video.answer import FittedModel
from tapkit.per_video.method import Place
from tapkit.per_video.omnimotion.card import OMNIMOTION
from tapkit.per_video.omnimotion.network import OmniMotion
from tapkit.per_video.omnimotion.options import OmniMotionOptions
from tapkit.per_video.omnimotion.render import OCCLUDED, cast, depths, heaviest, hidden, to_frame, to_pixels
from tapkit.per_video.omnimotion.weights import load_network

AT_ONCE = 1 << 16
"""Samples that go through the network together."""


class OmniMotionModel(FittedModel):
    """A `ClipModel`; points do not influence each other.

    P(visible) is 1 - score / (2 * 0.99), with the share of light that is stopped before the point as the score: one
    half at the authors' threshold. confidence repeats it.
    """

    network: OmniMotion
    chosen: OmniMotionOptions

    def point_bytes(self, frames: int, size: Size) -> int:
        """See `ClipModel.point_bytes`: samples at all widths, in chunks, and the answers."""
        return 64 * frames + 16 * self.chosen.samples

    @torch.inference_mode()
    def answer(self, queries: Tensor) -> Prediction:
        """See `FittedModel.answer`."""
        frames = self.place.frames
        xy = queries.new_zeros(len(queries), frames, 2, dtype=torch.float32)
        score = xy.new_zeros(len(queries), frames)
        chunk = max(AT_ONCE // (self.chosen.samples * frames), 1)
        for begin in range(0, len(queries), chunk):
            part = queries[begin : begin + chunk]
            pixels, stopped = self.follow(part[:, 0].long(), coords.to_centers(part[:, 1:].float()))
            xy[begin : begin + chunk], score[begin : begin + chunk] = coords.from_centers(pixels), stopped
        visible = (1 - score / (2 * OCCLUDED)).clamp(0, 1)
        visible = torch.where(coords.inside(xy, self.place.size), visible, torch.zeros_like(visible))
        return Prediction(xy, visible, visible)

    def follow(self, index: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Where points of frames `index` [N] at index coordinates [N,2] are on all frames [N,T,2], and how much light
        is stopped before them [N,T]; on their own frames they are where they are, and nothing is stopped."""
        network, size, frames = self.network, self.place.size, self.place.frames
        samples = self.chosen.samples
        rays = cast(network, pixels[:, None], network.codes(index), size, depths(samples, pixels))
        codes = network.codes(torch.arange(frames, device=pixels.device))
        canonical = rays.canonical[:, 0].expand(frames, -1, -1, -1)
        mapped = to_frame(network, canonical, codes)
        weights = rays.weights[:, 0].expand(frames, -1, -1)
        if self.chosen.readout == "heaviest":
            local = heaviest(weights, mapped)
        else:
            local = (weights[..., None] * mapped).sum(-2)
        there = to_pixels(local, size)
        stopped = hidden(network, there, local[..., 2], codes, size, samples)
        own = torch.arange(frames, device=index.device)[:, None] == index
        there = torch.where(own[..., None], pixels, there)
        return there.transpose(0, 1), stopped.masked_fill(own, 0.0).T


def of_state(model: Mapping[str, Tensor], place: Place, options: OmniMotionOptions) -> OmniMotionModel:
    """The model out of tensors with the published names, masks among them. Raises `WeightsError`."""
    found = OmniMotionModel(OMNIMOTION, options.to_json(), place, load_network(model, place.frames, options.network))
    found.chosen = options
    return found


def build(weights: Mapping[str, Tensor] | None, **options: Any) -> OmniMotionModel:
    """What the card names. There is nothing to build without a fit. Raises `UsageError`."""
    raise UsageError(
        f"{OMNIMOTION.id} is fitted to each video: tapkit fit CLIP --model {OMNIMOTION.id} -o clip.fit, and then "
        "tapkit track CLIP --model clip.fit"
    )

"""Answers queries out of a fitted CaDeX++."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tapkit import coords
from tapkit.errors import UsageError, WeightsError
from tapkit.models.base import Prediction
from tapkit.per_video.answer import FittedModel, axes_of
from tapkit.per_video.cadexpp.card import CADEXPP
from tapkit.per_video.cadexpp.geometry import nearest, project, unproject
from tapkit.per_video.cadexpp.network import CadexPP
from tapkit.per_video.cadexpp.options import CadexOptions
from tapkit.per_video.method import Place
from tapkit.weights import match

SOFT = 0.01
"""Depth over which P(visible) goes from one half to 0.73; the authors only say on which side of one half."""
AT_ONCE = 1 << 17
"""Points that go through the network together."""


class CadexModel(FittedModel):
    """A `ClipModel`; points do not influence each other. confidence repeats visible."""

    network: CadexPP
    chosen: CadexOptions

    @torch.inference_mode()
    def answer(self, queries: Tensor) -> Prediction:
        """See `FittedModel.answer`."""
        xy = queries.new_zeros(len(queries), self.place.frames, 2, dtype=torch.float32)
        visible = xy.new_zeros(len(queries), self.place.frames)
        chunk = max(AT_ONCE // self.place.frames, 1)
        for begin in range(0, len(queries), chunk):
            part = queries[begin : begin + chunk]
            pixels, margin = self.follow(part[:, 0].long(), coords.to_centers(part[:, 1:].float()))
            xy[begin : begin + chunk] = coords.from_centers(pixels)
            visible[begin : begin + chunk] = torch.sigmoid(margin / SOFT)
        visible = torch.where(coords.inside(xy, self.place.size), visible, torch.zeros_like(visible))
        return Prediction(xy, visible, visible)

    def follow(self, index: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Where points of frames `index` [N] at index coordinates [N,2] are on all frames [N,T,2], and how far what is
        seen there lies behind them, less `occluded_by` [N,T]: they are hidden where that is not more than 0."""
        there, depth = self.locate(index, pixels)
        maps = self.network.depth_mem.depthmaps[:, None]
        seen = nearest(maps, there, self.place.size)[..., 0]
        return there.transpose(0, 1), (seen - (depth - self.chosen.occluded_by)).T

    def locate(self, index: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels [T,N,2] and depths [T,N] of points of frames `index` [N] at pixels [N,2]."""
        bijection, size, frames = self.network.deform_mlp, self.place.size, self.place.frames
        maps = self.network.depth_mem.depthmaps[:, None]
        depth = nearest(maps[index], pixels[:, None], size)[..., 0]
        local = bijection.normalise(unproject(pixels[:, None], depth, size))
        canonical = bijection(local, bijection.time_features(index))[:, 0]
        time = bijection.time_features(torch.arange(frames, device=pixels.device))
        back = bijection.restore(bijection(canonical.expand(frames, -1, -1), time, inverse=True))
        return project(back, size), back[..., 2]


def load_network(tensors: Mapping[str, Tensor], frames: int) -> CadexPP:
    """The network with these tensors (of a checkpoint, `deform_mlp` and `depth_mem` prefixed), strictly. Raises
    `WeightsError`."""
    tensors = {name: tensor for name, tensor in tensors.items() if name != "deform_mlp.frames"}
    axes = axes_of(tensors, CADEXPP.name)
    if not {"deform_mlp.bound", "depth_mem.depthmaps"} <= tensors.keys():
        raise WeightsError("these are not weights of CaDeX++: there is no bound, or there are no depth maps")
    network = CadexPP(frames, tensors["deform_mlp.bound"], tensors["depth_mem.depthmaps"], axes)
    network.load_state_dict(match(tensors, network.state_dict(), "CaDeX++"))
    return network


def of_state(model: Mapping[str, Tensor], place: Place, options: CadexOptions) -> CadexModel:
    """The model out of tensors with the published names, buffers among them. Raises `WeightsError`."""
    found = CadexModel(CADEXPP, options.to_json(), place, load_network(model, place.frames))
    found.chosen = options
    return found


def build(weights: Mapping[str, Tensor] | None, **options: Any) -> CadexModel:
    """What the card names. There is nothing to build without a fit. Raises `UsageError`."""
    raise UsageError(
        f"{CADEXPP.id} is fitted to each video: tapkit fit CLIP --model {CADEXPP.id} -o clip.fit, and then "
        "tapkit track CLIP --model clip.fit"
    )

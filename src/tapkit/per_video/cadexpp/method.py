"""Fitting CaDeX++ to a video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tapkit.errors import WeightsError
from tapkit.models.base import ClipModel
from tapkit.per_video.cadexpp.answer import load_network, of_state
from tapkit.per_video.cadexpp.card import CADEXPP
from tapkit.per_video.cadexpp.depth import initial_depth
from tapkit.per_video.cadexpp.geometry import box
from tapkit.per_video.cadexpp.losses import Batch, Losses, match_weight
from tapkit.per_video.cadexpp.network import CadexPP
from tapkit.per_video.cadexpp.options import PRESETS, CadexOptions
from tapkit.per_video.cadexpp.sampler import PUBLISHED, MatchSampler, Sampler
from tapkit.per_video.flow_fit import FlowFit, FlowMethod, flows_of, seeded
from tapkit.per_video.method import FitOptions, Picture, Place, Report, State
from tapkit.per_video.prepare.flows import PairFlows
from tapkit.per_video.prepare.long_matches import long_matches
from tapkit.per_video.prepare.store import Prepared

RATE_EVERY, RATE_FACTOR = 5000, 0.33
"""Steps of the published schedule after which learning rates fall, and by what."""
LARGEST_GRADIENT = 10.0
"""Norm to which the gradient of the depth maps is clipped."""


class CadexFit(FlowFit[CadexPP]):
    """See `Fit`."""

    def __init__(
        self,
        prepared: Prepared,
        flows: PairFlows,
        options: CadexOptions,
        seed: int,
        device: torch.device,
        matches: Sequence[np.ndarray] = (),
    ) -> None:
        super().__init__(prepared, device)
        self.options = options
        initial = initial_depth(prepared, flows, options.depth)
        network = seeded(seed, lambda: CadexPP(len(prepared), box(initial, prepared.size), initial))
        self.sampler = Sampler(flows, options, seed)
        self.matches = MatchSampler(matches, options.pairs, seed)
        self._from(network.to(device), initial.to(device))

    def _from(self, network: CadexPP, initial: Tensor) -> None:
        """Begin with a network that was begun with these depth maps."""
        self.initial = initial
        self.losses = Losses(network, initial, self.prepared.size, self.options.as_published)
        rates = self.options.rate, self.options.rate_depth
        parts = network.deform_mlp.parameters(), network.depth_mem.parameters()
        self.begin(network, list(zip(parts, rates, strict=True)))

    def step(self, index: int, steps: int) -> Mapping[str, float]:
        """See `Fit.step`."""
        published = index * PUBLISHED / steps
        batch = Batch(*(part.to(self.device) for part in self.sampler.draw(index, steps)))
        terms = self.losses.dense(batch, published)
        far = self.matches.draw(index) if match_weight(published) else None
        if far is not None:
            matched = self.losses.match(Batch(*(part.to(self.device) for part in far)), published)
            terms = {**terms, **{f"match_{name}": value for name, value in matched.items() if name != "total"}}
            terms["total"] = terms["total"] + match_weight(published) * matched["total"]
        return self.descend(
            terms,
            RATE_FACTOR ** int(published / RATE_EVERY),
            lambda: torch.nn.utils.clip_grad_norm_(self.network.depth_mem.parameters(), LARGEST_GRADIENT),
        )

    def kept(self) -> Mapping[str, Tensor]:
        """See `FlowFit.kept`: the depth that the fit began with."""
        return {"initial": self.initial}

    def load_state(self, state: State) -> None:
        """See `Fit.load_state`."""
        network = load_network(state.model, len(self.prepared)).to(self.device)
        self._from(network, state.training["initial"].to(self.device))
        self.restore(state.training)

    @torch.inference_mode()
    def pictures(self, folder: Path) -> list[Picture]:
        """See `Fit.pictures`: depth maps of three frames, before and now."""
        both = self.initial, self.network.depth_mem.depthmaps
        low, high = float(self.initial.min()), float(self.initial.max())

        def parts(index: int) -> list[np.ndarray]:
            return [_grey(maps[index], low, high, self.prepared.size) for maps in both]

        return [self.views(folder / "depth.png", "the video, the depth that the fit began with, its own", parts)]


def _grey(depth: Tensor, low: float, high: float, size: tuple[int, int]) -> np.ndarray:
    """A depth map as a grey picture [h,w,3], near is bright."""
    share = ((high - depth) / max(high - low, 1e-6)).clamp(0, 1)
    grey = (255 * share).round().to(torch.uint8).cpu().numpy()
    return np.array(Image.fromarray(grey).resize((size[1], size[0]), Image.Resampling.NEAREST).convert("RGB"))


class CadexMethod(FlowMethod[CadexOptions]):
    """See `Method`."""

    card = CADEXPP
    presets: Mapping[str, FitOptions] = PRESETS
    similar = 0.0

    def prepare(self, prepared: Prepared, options: CadexOptions, device: torch.device, report: Report) -> None:
        """See `Method.prepare`: flow within reach, and what of it can be believed."""
        if options.matches:
            _matches(prepared, options, device, report)  # first: what lacks a file says so at once
        super().prepare(prepared, options, device, report)

    def build(self, prepared: Prepared, options: CadexOptions, seed: int, device: torch.device) -> CadexFit:
        """See `Method.build`."""
        flows = flows_of(prepared, self.request(options), device)
        matches = _matches(prepared, options, device, lambda what, done, total: None) if options.matches else ()
        return CadexFit(prepared, flows, options, seed, device, matches)

    def answer(
        self, model: Mapping[str, Tensor], place: Place, options: CadexOptions | Mapping[str, object]
    ) -> ClipModel:
        """See `Method.answer`."""
        if isinstance(options, Mapping):
            options = CadexOptions.of(self.card.id, options)
        return of_state(model, place, options)


def _matches(
    prepared: Prepared, options: CadexOptions, device: torch.device, report: Report
) -> Sequence[np.ndarray]:  # fmt: skip
    try:
        table = long_matches(prepared, device, report, weights=options.backbone_weights)
    except WeightsError as error:
        raise WeightsError(f"{error}; or go without matches: --set matches=false") from error
    return [np.asarray(table[frame]) for frame in range(len(prepared))]


METHOD = CadexMethod()

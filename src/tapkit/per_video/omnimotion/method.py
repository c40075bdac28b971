"""Fitting OmniMotion to a video."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tapkit.models.base import ClipModel
from tapkit.per_video.flow_fit import FlowFit, FlowMethod, flows_of, seeded
from tapkit.per_video.method import FitOptions, Picture, Place, State
from tapkit.per_video.omnimotion.answer import of_state
from tapkit.per_video.omnimotion.card import OMNIMOTION
from tapkit.per_video.omnimotion.layers import Layers
from tapkit.per_video.omnimotion.losses import Batch, Schedule, losses
from tapkit.per_video.omnimotion.network import OmniMotion
from tapkit.per_video.omnimotion.options import PRESETS, OmniMotionOptions
from tapkit.per_video.omnimotion.render import cast, depths, heaviest, to_frame, to_pixels
from tapkit.per_video.omnimotion.sampler import ERRORS_EVERY, PUBLISHED, Sampler, blurred
from tapkit.per_video.omnimotion.weights import load_network
from tapkit.per_video.prepare.flows import PairFlows
from tapkit.per_video.prepare.masks import grid
from tapkit.per_video.prepare.store import Prepared

RATE_EVERY = 20_000
"""Steps of the published schedule after which learning rates are halved."""
NEAR_STEPS, NEAR_SHARE = 4000, 0.2
"""How long, and what share of the samples, `mask_near` makes transparent."""
AT_ONCE = 1 << 16
"""Samples that go through the network together where no gradient is needed."""
ERROR_STRIDE = 4
"""Pixels between two rays of the maps of errors, which are then filled in."""


class OmniMotionFit(FlowFit[OmniMotion]):
    """See `Fit`."""

    def __init__(
        self, prepared: Prepared, flows: PairFlows, options: OmniMotionOptions, seed: int, device: torch.device
    ) -> None:
        super().__init__(prepared, device)
        self.flows, self.options, self.seed = flows, options, seed
        network = seeded(seed, lambda: OmniMotion(len(prepared), options.network)).to(device)
        self.sampler = Sampler(prepared, flows, options, seed)
        self.layers = Layers(flows, prepared.size, options, device) if options.layers else None
        self.begin(
            network,
            [
                (network.feature_mlp.parameters(), options.rate_time),
                (network.deform_mlp.parameters(), options.rate_bijection),
                (network.color_mlp.parameters(), options.rate_color),
            ],
        )

    def step(self, index: int, steps: int) -> Mapping[str, float]:
        """See `Fit.step`."""
        published = index * PUBLISHED / steps
        if index and int(published / ERRORS_EVERY) > int((index - 1) * PUBLISHED / steps / ERRORS_EVERY):
            self.sampler.errors = self.map_errors()
        dice = torch.Generator().manual_seed(self.seed * 1_000_003 + index)
        if self.layers is not None and index < self.options.layers * steps:
            terms = self.layers.losses(self.network, self._batch(index, steps, self.layers.points), dice)
        else:
            terms = self._losses(self._batch(index, steps, self.options.points), published, dice)
        return self.descend(terms, 0.5 ** int(published / RATE_EVERY))

    def _batch(self, index: int, steps: int, points: int) -> Batch:
        return Batch(*(part.to(self.device) for part in self.sampler.draw(index, steps, points)))

    def _losses(self, batch: Batch, published: float, dice: torch.Generator) -> dict[str, Tensor]:
        """The published terms at a step of the published schedule."""
        jitter = torch.rand(*batch.weights.shape, self.options.samples, generator=dice).to(self.device)
        near = self.options.mask_near and published < NEAR_STEPS
        transparent = int(NEAR_SHARE * self.options.samples) if near else 0
        schedule = Schedule.at(published)
        schedule = schedule._replace(rgb=schedule.rgb * self.options.colors)
        return losses(self.network, batch, self.prepared.size, schedule, jitter, transparent).terms

    def kept(self) -> Mapping[str, Tensor]:
        """See `FlowFit.kept`: the maps of errors, once there are some."""
        return {} if self.sampler.errors is None else {"errors": torch.from_numpy(self.sampler.errors)}

    def load_state(self, state: State) -> None:
        """See `Fit.load_state`."""
        loaded = load_network(state.model, len(self.prepared), self.options.network)
        self.network.load_state_dict(loaded.state_dict())  # buffers, such as the masks, are loaded with the rest
        self.restore(state.training)
        self.sampler.errors = state.training["errors"].numpy() if "errors" in state.training else None

    @torch.inference_mode()
    def map_errors(self) -> np.ndarray:
        """How far the predicted flow of each frame to a neighbour is from the flow it learns from, [N,h,w]."""
        size, frames = self.prepared.size, len(self.prepared)
        places = grid(size, self.device)[::ERROR_STRIDE, ::ERROR_STRIDE]
        pixels = places.reshape(1, -1, 2)
        found = []
        for first in range(frames):
            second = first + 1 if first + 1 < frames else first - 1
            moved = self._predict(pixels, first, second)
            flow = torch.from_numpy(np.asarray(self.flows.flow(first, second), np.float32)).to(self.device)
            wanted = pixels + flow[::ERROR_STRIDE, ::ERROR_STRIDE].reshape(1, -1, 2)
            found.append((moved - wanted).norm(dim=-1).reshape(places.shape[:2]))
        maps = torch.nn.functional.interpolate(torch.stack(found)[:, None], size, mode="bilinear")[:, 0]
        return blurred(maps).cpu().numpy()

    def _predict(self, pixels: Tensor, first: int, second: int) -> Tensor:
        """Where pixels [1,K,2] of a frame are predicted on another, [1,K,2]."""
        one, other = (self.network.codes(torch.tensor([k], device=self.device)) for k in (first, second))
        found = []
        for part in torch.split(pixels, max(AT_ONCE // self.options.samples, 1), 1):
            rays = cast(self.network, part, one, self.prepared.size, depths(self.options.samples, part))
            found.append(heaviest(rays.weights, to_frame(self.network, rays.canonical, other)))
        return to_pixels(torch.cat(found, 1), self.prepared.size)

    @torch.inference_mode()
    def pictures(self, folder: Path) -> list[Picture]:
        """See `Fit.pictures`: the canonical volume as three frames see it, in colour and in depth."""

        def parts(index: int) -> list[np.ndarray]:
            rgb, depth = self.view(index)
            near = (255 * (1 - depth / 2)).clip(0, 255).astype(np.uint8)
            return [rgb, np.repeat(near[..., None], 3, 2)]

        caption = "the video, what the canonical volume shows there, and its depth"
        return [self.views(folder / "canonical.png", caption, parts)]

    @torch.inference_mode()
    def view(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Colours uint8 [h,w,3] and depth [h,w] that the volume shows in a frame."""
        pixels = grid(self.prepared.size, self.device).reshape(1, -1, 2)
        codes = self.network.codes(torch.tensor([index], device=self.device))
        rgb, depth = [], []
        for part in torch.split(pixels, max(AT_ONCE // self.options.samples, 1), 1):
            rays = cast(self.network, part, codes, self.prepared.size, depths(self.options.samples, part))
            rgb.append((rays.weights[..., None] * rays.rgb).sum(-2)[0])
            depth.append((rays.weights * rays.local[..., 2]).sum(-1)[0] / rays.weights.sum(-1)[0].clamp(min=1e-6))
        height, width = self.prepared.size
        picture = (255 * torch.cat(rgb)).round().clamp(0, 255).to(torch.uint8).reshape(height, width, 3)
        return picture.cpu().numpy(), torch.cat(depth).reshape(height, width).cpu().numpy()


class OmniMotionMethod(FlowMethod[OmniMotionOptions]):
    """See `Method`."""

    card = OMNIMOTION
    presets: Mapping[str, FitOptions] = PRESETS

    def build(self, prepared: Prepared, options: OmniMotionOptions, seed: int, device: torch.device) -> OmniMotionFit:
        """See `Method.build`."""
        return OmniMotionFit(prepared, flows_of(prepared, self.request(options), device), options, seed, device)

    def answer(
        self, model: Mapping[str, Tensor], place: Place, options: OmniMotionOptions | Mapping[str, object]
    ) -> ClipModel:
        """See `Method.answer`."""
        if isinstance(options, Mapping):
            options = OmniMotionOptions.of(self.card.id, options)
        return of_state(model, place, options)


METHOD = OmniMotionMethod()

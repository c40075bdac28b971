"""The fit of DINO-Tracker to one clip: what one step does, and what is kept of it.

The schedule is the authors' of 10 000 steps, stretched or shortened: in its second half, tracking there and back and
the refined features' own best buddies join in.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tapkit.errors import UsageError
from tapkit.nn.resize import resize_lanczos
from tapkit.per_video.adam import adam_tensors, set_adam
from tapkit.per_video.dino_tracker import losses, sampling
from tapkit.per_video.dino_tracker.grid import TokenGrid
from tapkit.per_video.dino_tracker.model import ClipFeatures
from tapkit.per_video.dino_tracker.network import DinoTracker, Features
from tapkit.per_video.dino_tracker.options import DinoTrackerOptions
from tapkit.per_video.dino_tracker.pictures import feature_pictures
from tapkit.per_video.dino_tracker.sampling import Material
from tapkit.per_video.dino_tracker.weights import network_from
from tapkit.per_video.folder import thumbs_of
from tapkit.per_video.method import Picture, State
from tapkit.per_video.prepare.store import Prepared, Table
from tapkit.per_video.prepare.tokens import frames_of

RATE = 0.01
PUBLISHED_STEPS = 10_000
DECAY, EVERY = 0.999, 40
"""Delta-DINO's rate is multiplied so, after so many steps of the published schedule each."""
RETURNED = 4.0
"""Pixels within which a point must come back to be learned from."""
_TRIES = 10
"""How often points that go round are drawn again while none of them comes back."""


class DinoTrackerFit:
    """A `Fit`."""

    def __init__(
        self,
        prepared: Prepared,
        tokens: Table,
        material: Material,
        options: DinoTrackerOptions,
        seed: int,
        device: torch.device,
    ) -> None:
        """
        Args:
            prepared: the clip.
            tokens: frozen features [C,h,w] of each frame.
            material: what is learned from.
            options, seed, device: see `Method.build`.
        """
        self.prepared, self.tokens, self.material = prepared, tokens, material
        self.options, self.seed, self.device = options, seed, device
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            self.network = DinoTracker(tokens[0].shape[0])
        self._begin(self.network)

    def _begin(self, network: DinoTracker) -> None:
        self.network = network.to(self.device)
        groups = [{"params": list(part.parameters())} for part in (network.delta_dino, network.tracker_head)]
        self.optimizer = torch.optim.Adam(groups, lr=RATE)

    @property
    def grid(self) -> TokenGrid:
        """Of the model's size."""
        return self.material.grid

    def step(self, index: int, steps: int) -> Mapping[str, float]:
        """See `Fit.step`."""
        rng = np.random.default_rng([self.seed, index])
        drawn = sampling.correspondences(self.material, rng, self.options.frames, self.options.pairs)
        if drawn is None:
            raise UsageError("no frames of the clip are connected by trajectories: there is nothing to learn from")
        self.network.train()
        raw, features = self.features(drawn.frames)
        found = self._losses(drawn, raw, features, rng, late=2 * index >= steps)
        total = losses.weighted(found)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        self.optimizer.param_groups[0]["lr"] = RATE * DECAY ** (index * PUBLISHED_STEPS // steps // EVERY)
        self.optimizer.step()
        shown = {"total": total, **found}
        return {name: float(shown[name].detach()) if name in shown else 0.0 for name in ("total", *losses.WEIGHTS)}

    def features(self, frames: np.ndarray) -> tuple[Tensor, Features]:
        """Frozen features [F,C,h,w] and refined ones of frames of the clip."""
        numbers = [int(frame) for frame in frames]
        raw = torch.from_numpy(np.stack([self.tokens[n] for n in numbers])).to(self.device).float()
        images = resize_lanczos(frames_of(self.prepared, numbers).to(self.device), self.grid.size)
        return raw, self.network.refine(images / 255, raw, self.grid)

    def _losses(
        self, drawn: sampling.Correspondences, raw: Tensor, features: Features, rng: np.random.Generator, late: bool
    ) -> dict[str, Tensor]:
        """All losses of a step, by name."""
        pairs, material = self.options.pairs, self.material
        source, target, begin, end = (part.to(self.device) for part in drawn[1:])
        places = self.network.locate(features, features.at(source, begin), target)
        found = {"flow": losses.flow_loss(places, end, self.grid.size)}
        found["length"], found["direction"] = losses.prior_losses(features, raw)
        limit = material.limit(drawn.frames, rng, pairs)
        share = sampling.PAIRS / pairs  # of the pairs that the losses' divisors are made for
        if self.options.buddies:
            chosen = sampling.frame_pairs(rng, len(drawn.frames), same=False)
            buddies = sampling.buddies(material, drawn.frames, chosen, limit)
            there = [(pair, losses.Buddies(*(part.to(self.device) for part in rows))) for pair, rows in buddies]
            found["raw_buddies"] = share * losses.raw_buddy_loss(features, there)
        if late:
            chosen = sampling.frame_pairs(rng, len(drawn.frames), same=True)
            found["refined_buddies"] = share * losses.refined_buddy_loss(features, chosen, limit)
            found["cycle"] = losses.cycle_loss(self.network, features, self._cycle(drawn.frames, features, rng))
        return found

    def _cycle(self, frames: np.ndarray, features: Features, rng: np.random.Generator) -> losses.Cycle:
        """Points that come back to where they began: drawn again, some times, while there are none."""
        for _ in range(_TRIES):
            points = sampling.round_points(self.material, frames, rng, self.options.pairs)
            source, target, begin = (part.to(self.device) for part in points)
            kept = losses.cycles(self.network, features, source, target, begin, RETURNED)
            if len(kept.begin):
                break
        return kept

    def state(self) -> State:
        """See `Fit.state`."""
        model = {name: tensor.detach() for name, tensor in self.network.state_dict().items()}
        return State(model, adam_tensors(self.optimizer, self.network.named_parameters()), {})

    def load_state(self, state: State) -> None:
        """See `Fit.load_state`."""
        self._begin(network_from(state.model))
        set_adam(self.optimizer, self.network.named_parameters(), state.training)

    @torch.no_grad()
    def encoded(self) -> ClipFeatures:
        """See `Fit.encoded`: the tokens that were prepared, refined; one frame after the other."""
        self.network.eval()
        maps = [self.features(np.array([frame]))[1].maps for frame in range(len(self.prepared))]
        return ClipFeatures(thumbs_of(self.prepared.frames), torch.cat(maps))

    def pictures(self, folder: Path) -> list[Picture]:
        """See `Fit.pictures`: what the features see before and after."""
        frames = np.unique(np.linspace(0, len(self.prepared) - 1, 3).round().astype(int))
        self.network.eval()
        with torch.no_grad():
            raw, refined = self.features(frames)
        return feature_pictures(folder, [self.prepared.frames[f] for f in frames], raw.cpu(), refined.maps.cpu())

"""What the two methods share that explain a video by a bijection for each frame, and learn it from flow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from tapkit.per_video.adam import adam_tensors, set_adam
from tapkit.per_video.answer import Thumbs
from tapkit.per_video.flow_options import FlowOptions
from tapkit.per_video.folder import thumbs_of
from tapkit.per_video.method import Picture, Report, State
from tapkit.per_video.prepare.flows import FlowRequest, PairFlows, pair_flows
from tapkit.per_video.prepare.masks import SIMILAR
from tapkit.per_video.prepare.store import Prepared

Network = TypeVar("Network", bound=nn.Module)
Chosen = TypeVar("Chosen", bound=FlowOptions)
Rated = tuple[Iterable[nn.Parameter], float]
"""Parameters and the learning rate that they begin with."""


class FlowFit(Generic[Network]):
    """Base of such `Fit`s: a network, Adam with a rate for each part of it, and what is kept of both.

    Args:
        prepared: the clip.
        device: where it is computed.
    """

    network: Network
    optimizer: torch.optim.Optimizer

    def __init__(self, prepared: Prepared, device: torch.device) -> None:
        self.prepared, self.device = prepared, device

    def begin(self, network: Network, parts: Sequence[Rated]) -> None:
        """Fit this network, which is on the device, from now on."""
        self.network = network
        self.optimizer = torch.optim.Adam([{"params": list(part), "lr": rate} for part, rate in parts])
        self._rates = [group["lr"] for group in self.optimizer.param_groups]

    def descend(
        self, terms: Mapping[str, Tensor], factor: float, limit: Callable[[], object] = lambda: None
    ) -> dict[str, float]:
        """A step of Adam down `terms["total"]`, with all rates times `factor`; returns the terms' values. `limit` is
        called between gradients and step."""
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        self.optimizer.zero_grad(set_to_none=True)
        terms["total"].backward()  # type: ignore[no-untyped-call]
        limit()
        self.optimizer.step()
        return {name: float(value.detach()) for name, value in terms.items()}

    def state(self) -> State:
        """See `Fit.state`."""
        training = adam_tensors(self.optimizer, self.network.named_parameters())
        return State(dict(self.network.state_dict()), {**training, **self.kept()}, {})

    def kept(self) -> Mapping[str, Tensor]:
        """What else going on needs."""
        return {}

    def restore(self, training: Mapping[str, Tensor]) -> None:
        """Put back the optimiser's state that `state` gave."""
        set_adam(self.optimizer, self.network.named_parameters(), training)

    def encoded(self) -> Thumbs:
        """See `Fit.encoded`."""
        return Thumbs(thumbs_of(self.prepared.frames))

    def views(self, path: Path, caption: str, parts: Callable[[int], Sequence[np.ndarray]]) -> Picture:
        """A picture: the first, the middle and the last frame below each other, each with `parts` [h,w,3] of it."""
        frames = len(self.prepared)
        rows = [
            np.concatenate([np.asarray(self.prepared.frames[index]), *parts(index)], 1)
            for index in sorted({0, frames // 2, frames - 1})
        ]
        Image.fromarray(np.concatenate(rows)).save(path)
        return Picture(path.name, f"First, middle and last frame: {caption} (bright is near)")


def seeded(seed: int, make: Callable[[], Network]) -> Network:
    """A network whose first weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def flows_of(
    prepared: Prepared, request: FlowRequest, device: torch.device, report: Report | None = None
) -> PairFlows:  # fmt: skip
    """The flow that a method asks for; without `report` it is there already, or computed in silence."""
    return pair_flows(prepared, request, device, report or (lambda what, done, total: None))


class FlowMethod(Generic[Chosen]):
    """Base of such `Method`s."""

    similar: ClassVar[float] = SIMILAR
    """Cosine that features at both ends of a flow vector must have for it to be believed, where there are some."""

    def request(self, options: Chosen) -> FlowRequest:
        """Flow, and what of it is believed."""
        return FlowRequest(
            options.flow,
            options.flow_weights,
            options.reach,
            cycle=options.cycle,
            similar=self.similar,
            agree=options.agree,
            texture=options.texture,
            chained=options.chained,
            features=options.features,
            features_weights=options.features_weights,
        )

    def prepare(self, prepared: Prepared, options: Chosen, device: torch.device, report: Report) -> None:
        """See `Method.prepare`: flow of all pairs within reach, and what of it can be believed."""
        flows_of(prepared, self.request(options), device, report)

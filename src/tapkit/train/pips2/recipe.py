"""How PIPs++ is trained: windows that begin at the truth disturbed, positions alone (Zheng et al., ICCV 2023)."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor

from tapkit import coords
from tapkit.errors import UsageError
from tapkit.models.pips.card import PIPS2
from tapkit.models.pips.network import Features
from tapkit.models.pips.network2 import STRIDE, Pips2, Pips2Options
from tapkit.models.pips.tracker2 import Pips2Model
from tapkit.train import features, independent
from tapkit.train.batch import Batch, Predictions, Queries
from tapkit.train.config import Stage, TrainConfig
from tapkit.train.independent import Asked
from tapkit.train.losses import decayed, finite, masked_mean
from tapkit.train.pips2.presets import PRESETS
from tapkit.train.pips2.settings import Pips2Settings, read_settings
from tapkit.train.predict import predict_with
from tapkit.train.queries import QuerySampling
from tapkit.train.recipe import Loss, Recipe, inherited

QUERIES = QuerySampling(first_frame=True)
"""A window begins on the frame of its queries."""


class Pips2Training:
    """`Trainable` of PIPs++."""

    reported = ("position",)

    def __init__(self, network: Pips2, settings: Pips2Settings) -> None:
        self.network, self.settings = network, settings

    def shown(self, stage: Stage) -> tuple[str, ...]:
        """See `Trainable.shown`."""
        return self.reported

    def prepare(self, stage: Stage) -> None:
        """See `Trainable.prepare`. The published checkpoint has a norm that nothing uses."""
        self.network.train().requires_grad_(True)
        self.network.norm.requires_grad_(False)
        self.network.fnet.requires_grad_(stage.train_encoder)

    def statistics(self, stage: Stage) -> list[Tensor]:
        """See `Trainable.statistics`: there are none."""
        return []

    def losses(self, batch: Batch, stage: Stage, seed: int) -> Iterator[Loss]:
        """See `Trainable.losses`: one for each group of points, over one window as long as the clip."""
        return independent.losses(self, batch, QUERIES, self.settings.points_at_once, stage.train_encoder, seed)

    @property
    def encode(self) -> features.Encode:
        """See `Independent.encode`."""
        return self.network.encode

    def parts(self, maps: features.Maps, asked: Asked, generator: torch.Generator) -> dict[str, Tensor]:
        """See `Independent.parts`: absolute differences of the positions as the network moved them."""
        truth, placed = finite(coords.to_centers(asked.xy))
        start = self.start(truth, placed, coords.to_centers(asked.query), asked.size, generator) / STRIDE
        frames = torch.arange(truth.shape[1], device=truth.device).expand(len(truth), -1)
        steps, _ = self.network.iterate(Features(*maps), frames, start)
        counted = placed & asked.known
        terms = [masked_mean((STRIDE * step.free - truth).abs().mean(-1), counted) for step in steps]
        return {"position": decayed(terms, self.settings.gamma)}

    def start(
        self, truth: Tensor, placed: Tensor, query: Tensor, size: coords.Size, generator: torch.Generator
    ) -> Tensor:
        """Where tracks begin [n,T,2]: for each point the truth mixed with random positions by one share, or, one time
        in two, no motion; on the first frame the query. Where the truth is not known, the query stands for it."""
        count, length = truth.shape[:2]
        still = query[:, None].expand(-1, length, -1)
        if not self.settings.disturbed:
            return still
        numbers = torch.rand(count, length, 2, generator=generator).to(truth)
        share, choice = torch.rand(2, count, 1, 1, generator=generator).to(truth)
        anywhere = numbers * truth.new_tensor([size[1] - 1.0, size[0] - 1.0])
        mixed = torch.lerp(torch.where(placed[..., None], truth, still), anywhere, share)
        mixed = torch.where(choice < 0.5, still, mixed)
        return torch.cat([query[:, None], mixed[:, 1:]], 1)

    def predict(self, batch: Batch, queries: Queries) -> Predictions:
        """See `Trainable.predict`: the tracker itself on frames as they are, with twice the iterations."""
        network = copy.deepcopy(self.network)
        chosen = Pips2Options(iterations=2 * self.settings.iterations, input_size=None, precision="float32")
        network.config = chosen
        return predict_with(Pips2Model(network, PIPS2, chosen), batch, queries)


def build(config: TrainConfig, device: torch.device) -> Pips2Training:
    """See `Recipe.build`. Raises `UsageError` for settings of another recipe, or frames that are too small."""
    settings = Pips2Settings() if config.settings is None else config.settings
    if not isinstance(settings, Pips2Settings) or any(stage.task != "tracking" for stage in config.stages):
        raise UsageError("pips2 has Pips2Settings, and stages of task tracking alone")
    torch.manual_seed(config.seed)
    with torch.device(device):
        network = Pips2(Pips2Options(iterations=settings.iterations, input_size=None))
    return Pips2Training(network, settings)


RECIPE = Recipe("pips2", inherited(PIPS2), PRESETS, build, read_settings, float32=True)

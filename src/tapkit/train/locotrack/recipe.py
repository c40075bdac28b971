"""How LocoTrack is trained: TAPIR's loss on the first guess and after each step (Cho et al., ECCV 2024)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tapkit import coords
from tapkit.errors import UsageError
from tapkit.models.locotrack import card as cards
from tapkit.models.locotrack import network as network_
from tapkit.models.locotrack.network import STEPS, UNIT, Estimate, LocoTrackConfig, LocoTrackNetwork, Maps
from tapkit.models.locotrack.tracker import LocoTrack, LocoTrackOptions
from tapkit.models.locotrack.weights import load_released, released
from tapkit.nn.global_matching import resize_bilinear, to_unit_range
from tapkit.train import features
from tapkit.train.batch import Batch, Predictions, Queries
from tapkit.train.config import TrainConfig
from tapkit.train.independent import Asked, summed
from tapkit.train.locotrack.presets import PRESETS_BASE, PRESETS_SMALL
from tapkit.train.losses import tapir_loss
from tapkit.train.predict import predict_with
from tapkit.train.recipe import Recipe, inherited
from tapkit.train.tapir.matching import MatchingTraining
from tapkit.train.tapir.settings import MatchingSettings, read_settings

KINDS: Mapping[str, tuple[LocoTrackConfig, Any]] = {
    "locotrack-small": (network_.SMALL, cards.SMALL),
    "locotrack-base": (network_.BASE, cards.BASE),
}


class LocoTrackTraining(MatchingTraining):
    """`Trainable` of LocoTrack."""

    network: LocoTrackNetwork

    def __init__(self, network: LocoTrackNetwork, settings: MatchingSettings, model: str) -> None:
        super().__init__(network, settings)
        self.model = model

    @property
    def encode(self) -> features.Encode:
        """See `Independent.encode`: features at 256x256."""
        return lambda frames: self.network.maps(resize_bilinear(to_unit_range(frames), (UNIT, UNIT)))

    def parts(self, maps: features.Maps, asked: Asked, generator: torch.Generator) -> dict[str, Tensor]:
        """See `Independent.parts`: the sum over all estimates. Each step is trained for itself."""
        levels = Maps(*maps)
        query = coords.resize(asked.query, asked.size, (UNIT, UNIT))
        known = torch.cat([asked.t[:, None].to(query), query], 1)
        points = self.network.point_features(levels, levels, known)
        estimates = [self.network.match(levels, points, known)]
        for _ in range(STEPS):
            now = Estimate(*(part.detach() for part in estimates[-1]))
            estimates.append(self.network.step(levels, points, now))
        truth = coords.resize(asked.xy, asked.size, (UNIT, UNIT))
        return summed([tapir_loss(*estimate, truth, asked.visible, asked.known) for estimate in estimates])

    def predict(self, batch: Batch, queries: Queries) -> Predictions:
        """See `Trainable.predict`: the tracker itself."""
        model = LocoTrack(copy.deepcopy(self.network), KINDS[self.model][1], LocoTrackOptions(precision="float32"))
        return predict_with(model, batch, queries)


def build(config: TrainConfig, device: torch.device) -> LocoTrackTraining:
    """See `Recipe.build`. Raises `UsageError` for settings of another recipe."""
    settings = MatchingSettings() if config.settings is None else config.settings
    if not isinstance(settings, MatchingSettings) or any(stage.task != "tracking" for stage in config.stages):
        raise UsageError(f"{config.model} has MatchingSettings, and stages of task tracking alone")
    torch.manual_seed(config.seed)
    with torch.device(device):
        network = LocoTrackNetwork(KINDS[config.model][0])
    return LocoTrackTraining(network, settings, config.model)


def load(network: nn.Module, weights: Mapping[str, Tensor], model: str) -> None:
    """See `Recipe.load`: checkpoints as they are released."""
    assert isinstance(network, LocoTrackNetwork)
    load_released(network, weights, model)


def _recipe(model: str, presets: Mapping[str, TrainConfig]) -> Recipe:
    licence = inherited(KINDS[model][1])
    return Recipe(model, licence, presets, build, read_settings, load=load, published=released)


SMALL = _recipe("locotrack-small", PRESETS_SMALL)
BASE = _recipe("locotrack-base", PRESETS_BASE)

"""How TAPIR is trained: every estimate, from the first guess on, has the same loss (Doersch et al., ICCV 2023)."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tapkit import coords
from tapkit.errors import UsageError
from tapkit.jax_weights import is_jax
from tapkit.models.tapir.card import TAPIR
from tapkit.models.tapir.network import Estimate, Maps, Tapir, TapirConfig
from tapkit.models.tapir.tracker import TapirModel, TapirOptions
from tapkit.models.tapir.weights import tapir_from_jax
from tapkit.nn.global_matching import to_unit_range
from tapkit.train import features
from tapkit.train.batch import Batch, Predictions, Queries
from tapkit.train.config import TrainConfig
from tapkit.train.independent import Asked, summed
from tapkit.train.losses import tapir_loss
from tapkit.train.predict import predict_with
from tapkit.train.recipe import Recipe, inherited, load_own
from tapkit.train.tapir.matching import MatchingTraining
from tapkit.train.tapir.presets import PRESETS
from tapkit.train.tapir.settings import MatchingSettings, read_settings

UNITS = (256, 256)
"""Losses count pixels of frames of this size."""


class TapirTraining(MatchingTraining):
    """`Trainable` of TAPIR."""

    network: Tapir

    @property
    def encode(self) -> features.Encode:
        """See `Independent.encode`."""
        size = self.network.config.initial_resolution
        return lambda frames: self.network.encode(to_unit_range(frames), size)

    def parts(self, maps: features.Maps, asked: Asked, generator: torch.Generator) -> dict[str, Tensor]:
        """See `Independent.parts`: the sum over all estimates, from matching on. Positions carry their gradients from
        one to the next, as in the authors' JAX code."""
        levels = Maps(*maps)
        size = self.network.config.initial_resolution
        unit = coords.to_normalized(asked.query, asked.size)
        queries = torch.cat([asked.t[:, None].to(unit), unit], 1)
        of_query = self.network.query_features([levels], queries)
        start = self.network.match(levels.lowres, of_query.lowres[0])
        at = torch.arange(len(levels.lowres), device=asked.t.device)[:, None] == asked.t
        pinned = torch.where(at[..., None], unit * unit.new_tensor([size[1], size[0]]), start.xy)
        estimates = [start._replace(xy=pinned)]
        estimates += self.network.refine(estimates[0], [self.network.pyramid(levels)], [size], of_query)
        truth = coords.resize(asked.xy, asked.size, UNITS)
        return summed([tapir_loss(*_by_point(e, size), truth, asked.visible, asked.known) for e in estimates])

    def predict(self, batch: Batch, queries: Queries) -> Predictions:
        """See `Trainable.predict`: the tracker itself."""
        model = TapirModel(copy.deepcopy(self.network), TAPIR, TapirOptions(precision="float32"))
        return predict_with(model, batch, queries)


def _by_point(estimate: Estimate, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """xy [N,T,2] at 256x256 and logits [N,T] of an estimate [T,N]."""
    xy = coords.resize(estimate.xy, size, UNITS).transpose(0, 1)
    return xy, estimate.occlusion.T, estimate.expected_dist.T


def build(config: TrainConfig, device: torch.device) -> TapirTraining:
    """See `Recipe.build`. Raises `UsageError` for settings of another recipe."""
    settings = MatchingSettings() if config.settings is None else config.settings
    if not isinstance(settings, MatchingSettings) or any(stage.task != "tracking" for stage in config.stages):
        raise UsageError(f"{config.model} has MatchingSettings, and stages of task tracking alone")
    torch.manual_seed(config.seed)
    with torch.device(device):
        network = Tapir(TapirConfig())
    return TapirTraining(network, settings)


def load(network: nn.Module, weights: Mapping[str, Tensor], model: str) -> None:
    """See `Recipe.load`: released checkpoints, of PyTorch or of JAX."""
    load_own(network, tapir_from_jax(weights) if is_jax(weights) else weights, model)


RECIPE = Recipe("tapir", inherited(TAPIR), PRESETS, build, read_settings, load=load)

"""How strand is trained: matching pre-training, then tracking frame by frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from tapkit.errors import UsageError
from tapkit.models.strand.encoder import StrandConfig, config_of
from tapkit.models.strand.network import Network
from tapkit.train.batch import Batch, Predictions, Queries, sample_queries
from tapkit.train.config import Stage, TrainConfig
from tapkit.train.recipe import Loss, Recipe
from tapkit.train.strand.losses import PARTS, weighted
from tapkit.train.strand.matching import matching_losses
from tapkit.train.strand.presets import PRESETS
from tapkit.train.strand.rollout import rollout, track_batch
from tapkit.train.strand.settings import StrandSettings, read_settings

IN_MATCHING = ("temperature", "look.sharpness")
"""Parameters that matching pre-training optimises beside the encoder's."""
BACKBONE = ("encoder.backbone.", "encoder.known.")
"""Parameters that come from ImageNet."""
VISIBILITY = ("answer.", "verify.")
"""Parameters that visibility and confidence are read out with."""


class StrandTraining:
    """`Trainable` of strand."""

    reported = (*PARTS, "matching_accuracy")

    def __init__(self, network: Network, settings: StrandSettings) -> None:
        self.network, self.settings = network, settings

    def shown(self, stage: Stage) -> tuple[str, ...]:
        """See `Trainable.shown`."""
        return "position", "matching", "matching_accuracy" if stage.task == "matching" else "visibility"

    def prepare(self, stage: Stage) -> None:
        """See `Trainable.prepare`. Batch norm gathers statistics in matching alone: there a batch has many scenes."""
        matching = stage.task == "matching"
        self.network.train()
        self.network.encoder.train(matching)
        for name, parameter in self.network.named_parameters():
            if name.startswith("encoder."):
                backbone = name.startswith(BACKBONE)
                parameter.requires_grad_(stage.train_encoder and (stage.train_backbone or not backbone))
            else:  # in matching the parts that track get no gradient: they must not decay either
                frozen = self.settings.freeze_visibility and name.startswith(VISIBILITY)
                parameter.requires_grad_((not matching or name in IN_MATCHING) and not frozen)

    def statistics(self, stage: Stage) -> list[Tensor]:
        """See `Trainable.statistics`."""
        return list(self.network.encoder.buffers()) if stage.task == "matching" else []

    def losses(self, batch: Batch, stage: Stage, seed: int) -> Iterator[Loss]:
        """See `Trainable.losses`."""
        if stage.task == "matching":
            parts = matching_losses(self.network, batch, seed)
            yield Loss(parts["matching"] + parts["position"], {name: part.detach() for name, part in parts.items()})
            return
        queries = sample_queries(batch.visible & batch.known, torch.Generator().manual_seed(seed))
        length = max(stage.frames - 1, 1)
        for chunk in rollout(self.network, batch, queries, self.settings, stage.truncate, stage.train_encoder, seed):
            total = weighted(chunk.parts, self.settings) / length
            yield Loss(total, {name: part.detach() / length for name, part in chunk.parts.items()})

    def predict(self, batch: Batch, queries: Queries) -> Predictions:
        """See `Trainable.predict`."""
        return track_batch(self.network, batch, queries)


def build(config: TrainConfig, device: torch.device) -> StrandTraining:
    """See `Recipe.build`. Raises `UsageError` for settings of another recipe."""
    settings = StrandSettings() if config.settings is None else config.settings
    if not isinstance(settings, StrandSettings):
        raise UsageError(f"the settings of strand are StrandSettings, not {type(settings).__name__}")
    torch.manual_seed(config.seed)
    return StrandTraining(
        Network(StrandConfig(settings.encoder, settings.evidence, known=settings.known)).to(device), settings
    )


def fitting(config: TrainConfig, weights: Mapping[str, Tensor]) -> TrainConfig:
    """See `Recipe.fitting`: the encoder of the weights, and evidence and known maps where they have these."""
    settings, network = config.settings or StrandSettings(), config_of(weights)
    own = replace(settings, encoder=network.encoder, evidence=network.evidence, known=network.known)
    return replace(config, settings=own)


RECIPE = Recipe("strand", "Apache-2.0", PRESETS, build, read_settings, fitting=fitting)

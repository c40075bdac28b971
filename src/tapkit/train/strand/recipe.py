"""How strand is trained: matching pre-training, then tracking frame by frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from tapkit.errors import UsageError
from tapkit.models.strand.encoder import StrandConfig, config_of
from tapkit.models.strand.network import Network
from tapkit.train.batch import Batch, Predictions, Queries, sample_queries
from tapkit.train.config import Stage, TrainConfig
from tapkit.train.recipe import Loss, Recipe, load_own
from tapkit.train.strand.losses import PARTS, weighted
from tapkit.train.strand.matching import matching_losses
from tapkit.train.strand.presets import PRESETS
from tapkit.train.strand.refinement import refinement_losses
from tapkit.train.strand.rollout import rollout, track_batch
from tapkit.train.strand.settings import StrandSettings, read_settings

IN_MATCHING = ("temperature", "look.sharpness")
"""Parameters that matching pre-training optimises with the encoder's."""
REFINEMENT = "refine."
"""Parameters that it optimises whether the encoder learns or not."""
BACKBONE = ("encoder.backbone.", "encoder.known.")
"""Parameters that come from ImageNet."""
VISIBILITY = ("answer.", "verify.")
"""Parameters that visibility and confidence are read out with."""


class StrandTraining:
    """`Trainable` of strand."""

    reported = (*PARTS, "matching_accuracy", "refinement", "refined_within_2")

    def __init__(self, network: Network, settings: StrandSettings) -> None:
        self.network, self.settings = network, settings

    def shown(self, stage: Stage) -> tuple[str, ...]:
        """See `Trainable.shown`."""
        if stage.task == "matching" and not stage.train_encoder:
            return "refinement", "refined_within_2"
        return "position", "matching", "matching_accuracy" if stage.task == "matching" else "visibility"

    def prepare(self, stage: Stage) -> None:
        """See `Trainable.prepare`. Batch norm gathers statistics in matching alone: there a batch has many scenes.

        Raises `UsageError` for matching in which there is nothing to learn.
        """
        matching = stage.task == "matching"
        if matching and not stage.train_encoder and self.network.refine is None:
            raise UsageError("matching with features that are frozen teaches the refinement alone, and there is none")
        self.network.train()
        self.network.encoder.train(matching and stage.train_encoder)
        for name, parameter in self.network.named_parameters():
            if name.startswith("encoder."):
                backbone = name.startswith(BACKBONE)
                parameter.requires_grad_(stage.train_encoder and (stage.train_backbone or not backbone))
            else:  # in matching the parts that track get no gradient: they must not decay either
                frozen = self.settings.freeze_visibility and name.startswith(VISIBILITY)
                learns = name.startswith(REFINEMENT) or (stage.train_encoder and name in IN_MATCHING)
                parameter.requires_grad_((not matching or learns) and not frozen)

    def statistics(self, stage: Stage) -> list[Tensor]:
        """See `Trainable.statistics`."""
        return list(self.network.encoder.buffers()) if stage.task == "matching" and stage.train_encoder else []

    def losses(self, batch: Batch, stage: Stage, seed: int) -> Iterator[Loss]:
        """See `Trainable.losses`."""
        if stage.task == "matching":
            yield self._from_pairs(batch, stage, seed)
            return
        queries = sample_queries(batch.visible & batch.known, torch.Generator().manual_seed(seed))
        length = max(stage.frames - 1, 1)
        for chunk in rollout(self.network, batch, queries, self.settings, stage.truncate, stage.train_encoder, seed):
            total = weighted(chunk.parts, self.settings) / length
            yield Loss(total, {name: part.detach() / length for name, part in chunk.parts.items()})

    def _from_pairs(self, batch: Batch, stage: Stage, seed: int) -> Loss:
        """Of matching: features, where they learn, and the refinement, where there is one."""
        with torch.set_grad_enabled(stage.train_encoder and torch.is_grad_enabled()):
            maps = self.network.encode(batch.video.flatten(0, 1))
        parts: dict[str, Tensor] = {}
        total = batch.xy.new_zeros(())
        if stage.train_encoder:
            parts |= matching_losses(self.network, maps, batch, seed)
            total = total + parts["matching"] + parts["position"]
        if self.network.refine is not None:
            parts |= refinement_losses(self.network.refine, maps, batch, self.network.config.patches, seed)
            total = total + self.settings.loss_weights.refinement * parts["refinement"]
        return Loss(total, {name: part.detach() for name, part in parts.items()})

    def predict(self, batch: Batch, queries: Queries) -> Predictions:
        """See `Trainable.predict`."""
        return track_batch(self.network, batch, queries)


def build(config: TrainConfig, device: torch.device) -> StrandTraining:
    """See `Recipe.build`. Raises `UsageError` for settings of another recipe."""
    settings = StrandSettings() if config.settings is None else config.settings
    if not isinstance(settings, StrandSettings):
        raise UsageError(f"the settings of strand are StrandSettings, not {type(settings).__name__}")
    torch.manual_seed(config.seed)
    shape = StrandConfig(settings.encoder, settings.evidence, known=settings.known, refine=settings.refine)
    return StrandTraining(Network(shape).to(device), settings)


def fitting(config: TrainConfig, weights: Mapping[str, Tensor]) -> TrainConfig:
    """See `Recipe.fitting`: the encoder of the weights, and evidence and known maps where they have these. A refinement
    that they lack begins untrained where the preset asks for it."""
    settings, network = config.settings or StrandSettings(), config_of(weights)
    refine = network.refine or settings.refine
    own = replace(settings, encoder=network.encoder, evidence=network.evidence, known=network.known, refine=refine)
    return replace(config, settings=own)


def load(network: nn.Module, weights: Mapping[str, Tensor], model: str) -> None:
    """See `Recipe.load`: a refinement that the weights do not have stays untrained."""
    own = {name: tensor for name, tensor in network.state_dict().items() if name.startswith(REFINEMENT)}
    fresh = {} if any(name in weights for name in own) else own
    load_own(network, {**fresh, **weights}, model)


RECIPE = Recipe("strand", "Apache-2.0", PRESETS, build, read_settings, load=load, fitting=fitting)

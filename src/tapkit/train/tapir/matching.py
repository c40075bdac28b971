"""What training of TAPIR and LocoTrack shares: TAPIR's loss on points that are tracked each for itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from tapkit.train import features, independent
from tapkit.train.batch import Batch
from tapkit.train.config import Stage
from tapkit.train.independent import Asked
from tapkit.train.recipe import Loss
from tapkit.train.tapir.settings import MatchingSettings


class MatchingTraining(ABC):
    """A `Trainable` but for its predictions and initial weights, and `Independent`."""

    reported = ("position", "occlusion", "uncertainty")

    def __init__(self, network: Any, settings: MatchingSettings) -> None:
        self.network, self.settings = network, settings

    def shown(self, stage: Stage) -> tuple[str, ...]:
        """See `Trainable.shown`."""
        return self.reported

    def prepare(self, stage: Stage) -> None:
        """See `Trainable.prepare`."""
        self.network.train().requires_grad_(True)
        self.network.resnet_torch.requires_grad_(stage.train_encoder)

    def statistics(self, stage: Stage) -> list[Tensor]:
        """See `Trainable.statistics`: there are none."""
        return []

    def losses(self, batch: Batch, stage: Stage, seed: int) -> Iterator[Loss]:
        """See `Trainable.losses`: one for each group of points."""
        chosen = self.settings
        return independent.losses(self, batch, chosen.queries, chosen.points_at_once, stage.train_encoder, seed)

    @property
    @abstractmethod
    def encode(self) -> features.Encode:
        """See `Independent.encode`."""

    @abstractmethod
    def parts(self, maps: features.Maps, asked: Asked, generator: torch.Generator) -> dict[str, Tensor]:
        """See `Independent.parts`."""

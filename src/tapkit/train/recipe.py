"""What a network brings in order to be trained: everything else (loop, schedule, data, state) is shared.

A model that can be trained adds a module with a `Recipe` and its name to `RECIPES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from tapkit.errors import UsageError
from tapkit.train.batch import Batch, Predictions, Queries
from tapkit.train.config import Stage, TrainConfig
from tapkit.types import ModelCard
from tapkit.weights import match


class Loss(NamedTuple):
    """The loss of a batch, or of the part of it that is backpropagated at once."""

    total: Tensor
    """What is differentiated; without a gradient where there is nothing to learn."""
    parts: dict[str, Tensor]
    """What is reported beside it, detached scalars. Over a batch the values of a name are added up."""


class Trainable(Protocol):
    """A network and how it learns."""

    @property
    def network(self) -> nn.Module:
        """What is optimised. All its state is of floating point."""

    @property
    def reported(self) -> tuple[str, ...]:
        """Names of `Loss.parts` in all stages: the columns of the table."""

    def shown(self, stage: Stage) -> tuple[str, ...]:
        """The names that tell most in this stage, for a line on the screen."""

    def prepare(self, stage: Stage) -> None:
        """Set what learns: the modes of modules, and `requires_grad` of exactly the parameters to be optimised."""

    def statistics(self, stage: Stage) -> list[Tensor]:
        """Buffers that a forward pass of this stage updates: averaged over processes like gradients."""

    def losses(self, batch: Batch, stage: Stage, seed: int) -> Iterator[Loss]:
        """Each loss is sent backward before the next is asked for; random numbers are drawn from the seed."""

    def predict(self, batch: Batch, queries: Queries) -> Predictions:
        """Track without gradients, for validation; the network is in evaluation mode."""


def load_own(network: nn.Module, weights: Mapping[str, Tensor], model: str) -> None:
    """Weights under the network's own names. Raises `WeightsError`."""
    found = match(weights, network.state_dict(), model)
    network.load_state_dict({key: value.float() for key, value in found.items()})


def as_it_is(config: TrainConfig, weights: Mapping[str, Tensor]) -> TrainConfig:
    """The configuration, whatever the weights."""
    return config


def inherited(card: ModelCard) -> str:
    """The licence of weights that training makes of a published tracker."""
    return f"that of the weights and of the data it was trained with (the authors' weights: {card.weights_licence})"


@dataclass(frozen=True)
class Recipe:
    """How a model is trained."""

    model: str
    """Registry id, for the card of the weights."""
    licence: str
    """Of the weights that come out."""
    presets: Mapping[str, TrainConfig]
    build: Callable[[TrainConfig, torch.device], Trainable]
    """The network with pseudo-random weights drawn from `config.seed`, on a device."""
    read_settings: Callable[[Mapping[str, Any]], Any]
    """`TrainConfig.settings` from plain values, also from those of older versions. Raises `StorageError`."""
    unlabelled: bool = False
    """Whether it learns from videos without annotation."""
    float32: bool = False
    """Whether precision "auto" is float32 everywhere: positions are encoded in numbers that bfloat16 would blur."""
    load: Callable[[nn.Module, Mapping[str, Tensor], str], None] = load_own
    """Fill the network with weights to start from, those that the authors published or what `published` wrote.
    Raises `WeightsError`."""
    fitting: Callable[[TrainConfig, Mapping[str, Tensor]], TrainConfig] = as_it_is
    """The configuration for weights to start from: where a model has several networks, that of the weights."""
    published: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict
    """The network's tensors under the names that the model's tracker reads."""


RECIPES = {
    "strand": "tapkit.train.strand.recipe:RECIPE",
    "gmrw": "tapkit.train.gmrw.recipe:RECIPE",
    "cotracker3-online": "tapkit.train.cotracker.recipe:ONLINE",
    "cotracker3-offline": "tapkit.train.cotracker.recipe:OFFLINE",
    "cotracker2": "tapkit.train.cotracker.recipe:COTRACKER2_RECIPE",
    "tapir": "tapkit.train.tapir.recipe:RECIPE",
    "locotrack-small": "tapkit.train.locotrack.recipe:SMALL",
    "locotrack-base": "tapkit.train.locotrack.recipe:BASE",
    "pips2": "tapkit.train.pips2.recipe:RECIPE",
}
"""Model -> where its recipe is, imported when it is used."""


def recipe(model: str) -> Recipe:
    """The recipe of a model. Raises `UsageError` for a model that has none."""
    if model not in RECIPES:
        raise UsageError(f"{model} cannot be trained with tapkit; these can: {', '.join(RECIPES)}")
    module, _, name = RECIPES[model].partition(":")
    found: Recipe = getattr(import_module(module), name)
    return found

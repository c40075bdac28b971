"""Track-On2's published checkpoint, under its own key names, and the DINOv3 file that it goes with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from tapkit.errors import WeightsError
from tapkit.types import ModelCard
from tapkit.weights import backbone_needed, match, unwrap


def load_published(network: nn.Module, weights: Mapping[str, Any], card: ModelCard) -> None:
    """Give the network the tensors of a published checkpoint and of the card's backbone file, strictly both ways.

    Wrappings ("model", "module.") are removed. Raises `WeightsError` that names what is missing or unexpected; where
    all of the backbone is missing, it says where to get it.
    """
    state: dict[str, Tensor] = {name.removeprefix("module."): value for name, value in unwrap(weights).items()}
    expected = network.state_dict()
    prefix = card.backbone.prefix if card.backbone is not None else ""
    if prefix and not any(name.startswith(prefix) for name in state):
        match(state, {name: value for name, value in expected.items() if not name.startswith(prefix)}, card.id)
        raise WeightsError(backbone_needed(card))
    network.load_state_dict(match(state, expected, card.id))

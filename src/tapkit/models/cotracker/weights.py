"""Published checkpoints of the CoTrackers, under the authors' key names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from tapkit.errors import WeightsError
from tapkit.weights import match, unwrap


def plain(weights: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors without what training scripts wrap around them and put before their names."""
    return {name.removeprefix("module."): tensor for name, tensor in unwrap(weights).items()}


def load_published(network: nn.Module, weights: Mapping[str, Any], model: str, tables: Mapping[str, int]) -> None:
    """Load a checkpoint under the authors' key names, strictly.

    `tables` are the buffers of fixed codes that checkpoints may hold and we compute, with the length of their second
    axis, which tells the variants apart. Wrappings ("model", "module.") are removed.
    """
    state = plain(weights)
    for name, length in tables.items():
        table = state.pop(name, None)
        if table is not None and table.shape[1:2] != (length,):
            raise WeightsError(
                f"these are not weights of {model}: {name} has length {list(table.shape)[1:2]} instead of {length} "
                "(another variant of the model)"
            )
    network.load_state_dict(match(state, network.state_dict(), model))

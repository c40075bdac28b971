"""Released checkpoints of AllTracker: they carry the network's own names, and a table that is computed here."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from tapkit.errors import WeightsError
from tapkit.weights import match

TABLE = "time_emb"
"""The time codes, which the authors' files hold beside the weights: always the same numbers."""


def load_weights(network: nn.Module, state: Mapping[str, Tensor], name: str, times: Tensor) -> None:
    """Give the network the tensors of a published checkpoint (shared, not copied), strictly both ways.

    Args:
        network: an `AllTracker`, possibly without storage.
        state: the checkpoint, with or without its table of time codes [1,16,128].
        name: the model's id, for errors.
        times: the codes [16,128] as they are computed here.

    Raises `WeightsError` that names what is missing or unexpected, and for a table of other codes.
    """
    tensors = dict(state)
    table = tensors.pop(TABLE, None)
    if table is not None and (
        table.shape != (1, *times.shape) or not bool((table[0].float().cpu() - times).abs().max() < 1e-3)
    ):
        raise WeightsError(f"these are not weights of {name}: {TABLE} does not hold the time codes of 16 frames")
    found = match(tensors, network.state_dict(), name)
    network.load_state_dict({key: value.float() for key, value in found.items()}, assign=True)

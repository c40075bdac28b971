"""Released checkpoints of PIPs and PIPs++: they carry the networks' own names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from tapkit.weights import match


def load_weights(network: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Give the network the tensors of a published checkpoint (shared, not copied), strictly both ways.

    Raises `WeightsError` that names what is missing or unexpected.
    """
    network.load_state_dict({k: v.float() for k, v in match(state, network.state_dict(), name).items()}, assign=True)

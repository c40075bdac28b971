"""OmniMotion's tensors under the names of the published checkpoints: a dict of `feature_mlp`, `deform_mlp` and
`color_mlp`, whose state dicts are prefixed here."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from tapkit.errors import WeightsError
from tapkit.per_video.answer import axes_of
from tapkit.per_video.omnimotion.network import NetworkConfig, OmniMotion
from tapkit.weights import match

PARTS = ("feature_mlp", "deform_mlp", "color_mlp")


def flattened(checkpoint: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of a published checkpoint (model_100000.pth as `torch.load` gives it) by name."""
    try:
        return {f"{part}.{name}": tensor for part in PARTS for name, tensor in checkpoint[part].items()}
    except (KeyError, AttributeError, TypeError) as error:
        raise WeightsError(f"these are not weights of OmniMotion: there is no {', '.join(PARTS)}") from error


def load_network(tensors: Mapping[str, Tensor], frames: int, config: NetworkConfig) -> OmniMotion:
    """The networks with these tensors, strictly. Raises `WeightsError`."""
    network = OmniMotion(frames, config, axes_of(tensors, "OmniMotion"))
    network.load_state_dict(match(tensors, network.state_dict(), "OmniMotion"))
    return network

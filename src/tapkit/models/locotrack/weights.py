"""Released PyTorch checkpoints of LocoTrack: our names, with separate query, key and value projections."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tapkit.models.locotrack.network import LocoTrackNetwork
from tapkit.weights import match


def released_names(network: LocoTrackNetwork) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a released checkpoint: ours, with separate query, key and value projections."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, tensor in network.state_dict().items():
        if ".qkv." in name:
            for part in ("query", "key", "value"):
                shapes[name.replace(".qkv.", f".{part}_proj.")] = (tensor.shape[0] // 3, *tensor.shape[1:])
        else:
            shapes[name] = tuple(tensor.shape)
    return shapes


def load_released(network: LocoTrackNetwork, weights: Mapping[str, Tensor], model: str) -> None:
    """Fill the network from a released PyTorch checkpoint (names may carry Lightning's prefix `model.`).

    Raises `WeightsError` if any tensor is missing, unexpected or of another shape.
    """
    tensors = {name.removeprefix("model."): value for name, value in weights.items()}
    tensors = match(tensors, released_names(network), model)
    for name in [name for name in tensors if ".query_proj." in name]:
        parts = [tensors.pop(name.replace(".query_proj.", f".{part}_proj.")) for part in ("query", "key", "value")]
        tensors[name.replace(".query_proj.", ".qkv.")] = torch.cat(parts)
    network.load_state_dict(tensors)


def released(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors under the names of a released checkpoint: the inverse of `load_released`."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if ".qkv." in name:
            for part, piece in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                tensors[name.replace(".qkv.", f".{part}_proj.")] = piece
        else:
            tensors[name] = tensor
    return tensors

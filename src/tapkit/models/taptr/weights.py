"""The published checkpoints of the TAPTRs: names, frozen batch norms, packed projections.

Files are training checkpoints; the averaged weights in them ("ema_model") are used (see `tapkit.weights.unwrap`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tapkit.weights import StateDict, match, unwrap

_NORM = ("weight", "bias", "running_mean", "running_var")
_EPSILON = 1e-5
_TWICE = re.compile(r"transformer\.decoder\.(bbox_embed|class_embed)\.")
"""The heads stand in the file a second time under these names."""
_FIXED = re.compile(r"\.lta_temporal_embedding\.freqs$|\.num_batches_tracked$")
"""Tables that are computed here."""

Made = tuple[dict[str, tuple[int, ...]], Callable[[Mapping[str, Tensor]], Tensor]]
"""The published tensors that one of ours is made of, with their shapes; and how."""


def load_released(network: nn.Module, weights: Mapping[str, Any], model: str) -> None:
    """Load a checkpoint under the authors' key names, strictly both ways. Raises `WeightsError`."""
    given = {name.removeprefix("module."): tensor for name, tensor in unwrap(weights).items()}
    state = {name: tensor for name, tensor in given.items() if not _TWICE.match(name) and not _FIXED.search(name)}
    made = {name: _made_of(name, tensor) for name, tensor in network.state_dict().items()}
    expected = {name: shape for parts, _ in made.values() for name, shape in parts.items()}
    known = match(state, expected, model)
    network.load_state_dict({name: make(known) for name, (_, make) in made.items()})


def released_names(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published tensors of a network."""
    return {
        name: shape
        for ours, tensor in network.state_dict().items()
        for name, shape in _made_of(ours, tensor)[0].items()
    }


def _made_of(name: str, ours: Tensor) -> Made:
    if name.startswith("backbone."):
        return _folded(name, ours)
    if found := re.fullmatch(r"(.*self_attn)\.(query_key|value)\.(weight|bias)", name):
        place, part, leaf = found.groups()
        packed = f"{place}.in_proj_{leaf}"
        width = len(ours) // 2 if part == "query_key" else len(ours)
        shape = (3 * width, *ours.shape[1:])
        rows = slice(0, 2 * width) if part == "query_key" else slice(2 * width, None)
        return {packed: shape}, lambda state: state[packed][rows]
    return {name: tuple(ours.shape)}, lambda state: state[name]


def _folded(name: str, ours: Tensor) -> Made:
    """A convolution's weight or bias with the batch norm after it: y = (x - mean) / sqrt(var + eps) * weight + bias."""
    place, leaf = name.removeprefix("backbone.").rsplit(".", 1)
    place = f"backbone.0.body.{place}"
    if place.endswith("downsample"):
        conv, norm = f"{place}.0", f"{place}.1"
    else:
        conv, norm = place, re.sub(r"conv(\d)$", r"bn\1", place)
    count = (len(ours),)
    parts: dict[str, tuple[int, ...]] = {f"{norm}.{part}": count for part in _NORM}

    def scale(state: Mapping[str, Tensor]) -> Tensor:
        weight, variance = (state[f"{norm}.{part}"].double() for part in ("weight", "running_var"))
        return weight * torch.rsqrt(variance + _EPSILON)

    if leaf == "weight":
        parts[f"{conv}.weight"] = tuple(ours.shape)
        return parts, lambda state: (state[f"{conv}.weight"].double() * scale(state)[:, None, None, None]).float()
    return parts, lambda state: (
        state[f"{norm}.bias"].double() - state[f"{norm}.running_mean"].double() * scale(state)
    ).float()


def as_released(network: nn.Module) -> StateDict:
    """Weights of a network under the published names; batch norms are those that change nothing."""
    state: StateDict = {}
    for name, tensor in network.state_dict().items():
        parts, _ = _made_of(name, tensor)
        if name.startswith("backbone."):
            for part, shape in parts.items():
                leaf = part.rsplit(".", 1)[1]
                if len(shape) == 4:
                    state[part] = tensor
                elif leaf == "bias":
                    state.setdefault(part, torch.zeros(shape))
                    if name.endswith("bias"):
                        state[part] = tensor
                elif leaf == "running_var":
                    state[part] = torch.full(shape, 1 - _EPSILON)
                else:
                    state[part] = torch.ones(shape) if leaf == "weight" else torch.zeros(shape)
        elif len(parts) == 1 and (released := next(iter(parts))) != name:
            halves = [state[released], tensor] if released in state else [tensor]
            state[released] = torch.cat(halves)
        else:
            state[name] = tensor
    return state

"""MFT's published checkpoint: RAFT's names, and those of the two heads (`occlusion_block`), strictly both ways."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tapkit.flow.mft.network import INNER, SEEN
from tapkit.flow.raft.network import LARGE
from tapkit.flow.raft.weights import converted as raft_converted
from tapkit.weights import match

_BLOCK = "occlusion_block."


def expected_heads() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the two heads' tensors in the checkpoint."""
    shapes: dict[str, tuple[int, ...]] = {}
    for head, outputs in (("occl_head", 2), ("uncertainty_head", 1)):
        for layer, shape in (("conv1", (INNER, SEEN, 3, 3)), ("conv2", (outputs, INNER, 3, 3))):
            shapes[f"{_BLOCK}{head}.{layer}.weight"] = shape
            shapes[f"{_BLOCK}{head}.{layer}.bias"] = shape[:1]
    return shapes


def converted(state: Mapping[str, Tensor], model: str) -> dict[str, Tensor]:
    """The tensors of `network.MftNetwork` out of the checkpoint. Raises `WeightsError` if it is of another model."""
    plain = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    heads = {name: tensor for name, tensor in plain.items() if name.startswith(_BLOCK)}
    new = raft_converted({name: tensor for name, tensor in plain.items() if name not in heads}, LARGE, model)
    heads = match(heads, expected_heads(), model)
    for part in ("weight", "bias"):
        first = [heads[f"{_BLOCK}{head}.conv1.{part}"].float() for head in ("occl_head", "uncertainty_head")]
        new[f"seen.{part}"] = torch.cat(first)
        new[f"occlusion.{part}"] = heads[f"{_BLOCK}occl_head.conv2.{part}"].float()
        new[f"uncertainty.{part}"] = heads[f"{_BLOCK}uncertainty_head.conv2.{part}"].float()
    return new

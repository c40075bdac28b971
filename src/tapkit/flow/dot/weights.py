"""The refiner's published checkpoint, as it is: RAFT's names, and those of what was added for visibility."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from tapkit.flow.dot.network import REFINER
from tapkit.flow.raft.weights import Shapes, converted
from tapkit.weights import match

_HEADS = {"alpha": ("alpha_head.conv1", "alpha_head.conv2"), "alpha_mask": ("alpha_mask.0", "alpha_mask.2")}
"""Our name: those of the inner and the outer convolution."""


def _added() -> Shapes:
    """What RAFT has not, under the authors' names."""
    shapes: Shapes = {}
    for (inner, outer), (outputs, kernel) in zip(_HEADS.values(), ((1, 3), (9 * REFINER.stride**2, 1)), strict=True):
        shapes[f"update_block.{inner}.weight"] = (256, REFINER.hidden, 3, 3)
        shapes[f"update_block.{inner}.bias"] = (256,)
        shapes[f"update_block.{outer}.weight"] = (outputs, 256, kernel, kernel)
        shapes[f"update_block.{outer}.bias"] = (outputs,)
    return shapes


def refiner_state(state: Mapping[str, Tensor], model: str) -> dict[str, Tensor]:
    """The tensors of `network.Refiner` out of the published checkpoint. Raises `WeightsError` for another one."""
    plain = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    added = {name: tensor for name, tensor in plain.items() if name.startswith("update_block.alpha")}
    found = converted({name: tensor for name, tensor in plain.items() if name not in added}, REFINER, model)
    added = match(added, _added(), model)
    for ours, parts in _HEADS.items():
        for place, theirs in zip(("inner", "out"), parts, strict=True):
            for part in ("weight", "bias"):
                found[f"{ours}.{place}.{part}"] = added[f"update_block.{theirs}.{part}"].float()
    return found

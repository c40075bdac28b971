"""The state of Adam as tensors by the names of the parameters, so that a fit goes on exactly where it stopped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

_PARTS = ("exp_avg", "exp_avg_sq", "step")


def adam_tensors(optimizer: torch.optim.Optimizer, named: Iterable[tuple[str, nn.Parameter]]) -> dict[str, Tensor]:
    """NAME.exp_avg, NAME.exp_avg_sq and NAME.step of every parameter that has been updated."""
    found = {}
    for name, parameter in named:
        for part in _PARTS:
            if part in optimizer.state.get(parameter, {}):
                found[f"adam.{name}.{part}"] = torch.as_tensor(optimizer.state[parameter][part], dtype=torch.float32)
    return found


def set_adam(
    optimizer: torch.optim.Optimizer, named: Iterable[tuple[str, nn.Parameter]], tensors: Mapping[str, Tensor]
) -> None:
    """Put back what `adam_tensors` gave."""
    for name, parameter in named:
        if f"adam.{name}.step" in tensors:
            state = {part: tensors[f"adam.{name}.{part}"].clone() for part in _PARTS}
            moved = {part: value.to(parameter) for part, value in state.items() if part != "step"}
            optimizer.state[parameter] = {**moved, "step": state["step"]}

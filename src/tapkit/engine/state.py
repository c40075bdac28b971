"""States (nested NamedTuples of tensors) as flat dictionaries of tensors and back: to save, move and export them."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor

from tapkit.errors import StorageError

State = TypeVar("State")


def flatten(state: Any, prefix: str = "") -> dict[str, Tensor]:
    """Tensors of a state under dotted names.

    >>> sorted(flatten((torch.zeros(1), (torch.ones(2),))))
    ['0', '1.0']
    """
    if isinstance(state, Tensor):
        return {prefix: state}
    if not isinstance(state, tuple):
        raise TypeError(
            f"a state holds tensors and tuples of them, got {type(state).__name__} at {prefix or 'its root'}"
        )
    names = getattr(state, "_fields", range(len(state)))
    flat: dict[str, Tensor] = {}
    for name, part in zip(names, state, strict=True):
        flat.update(flatten(part, f"{prefix}.{name}" if prefix else str(name)))
    return flat


def unflatten(template: State, flat: dict[str, Tensor], prefix: str = "") -> State:
    """The inverse: a state shaped like `template` with the tensors of `flat`, on the template's devices."""
    if isinstance(template, Tensor):
        if prefix not in flat:
            raise StorageError(f"the saved state lacks {prefix}; it was saved by another model or version")
        return flat[prefix].to(template.device)  # type: ignore[return-value]
    assert isinstance(template, tuple)
    names = getattr(template, "_fields", range(len(template)))
    parts = [
        unflatten(part, flat, f"{prefix}.{name}" if prefix else str(name))
        for name, part in zip(names, template, strict=True)
    ]
    return type(template)(*parts) if hasattr(template, "_fields") else tuple(parts)  # type: ignore[return-value]


def part(state: State, rows: slice) -> State:
    """These rows of all tensors of a state."""
    if isinstance(state, Tensor):
        return state[rows]  # type: ignore[return-value]
    assert isinstance(state, tuple)
    parts = [part(one, rows) for one in state]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)  # type: ignore[return-value]


def to_device(state: State, device: torch.device | str) -> State:
    """The state with all its tensors on `device`."""
    return unflatten(state, {name: tensor.to(device) for name, tensor in flatten(state).items()})

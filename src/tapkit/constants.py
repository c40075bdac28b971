"""Small constants as tensors of a device, made there once.

`x.new_tensor([2.0, 3.0])` is a copy from the host, and on a GPU the host waits until all work before it is done: ten
of them in a step cost more than its mathematics. Here the same values, type and device give the same tensor again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor


_ROW = list, tuple


def constant(values: Iterable[Any], dtype: torch.dtype, device: torch.device) -> Tensor:
    """The values (numbers, or rows of numbers) as a tensor. It is shared: nobody may write to it."""
    import torch  # listing trackers or drawing does without

    fixed = tuple([tuple(row) if isinstance(row, _ROW) else row for row in values])
    if torch.compiler.is_compiling():  # in a graph that is traced, sizes are symbols, and constants belong to the graph
        return torch.tensor(fixed, dtype=dtype, device=device)
    return _made(fixed, dtype, device)


def constant_like(values: Iterable[Any], like: Tensor) -> Tensor:
    """The same, in the type and place of `like`."""
    return constant(values, like.dtype, like.device)


def table(
    make: Callable[..., Any], arguments: tuple[Hashable, ...], dtype: torch.dtype, device: torch.device
) -> Tensor:
    """`make(*arguments)`, nested lists of numbers, as a tensor, for what is too long to be compared at each use."""
    import torch

    if torch.compiler.is_compiling():
        return torch.tensor(make(*arguments), dtype=dtype, device=device)
    return _table(make, arguments, dtype, device)


@lru_cache(maxsize=256)
def _table(
    make: Callable[..., Any], arguments: tuple[Hashable, ...], dtype: torch.dtype, device: torch.device
) -> Tensor:
    return _made.__wrapped__(make(*arguments), dtype, device)


@lru_cache(maxsize=1024)
def _made(values: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    import torch

    with torch.inference_mode(False):  # so that they serve training, too
        return torch.tensor(values, dtype=dtype, device=device)

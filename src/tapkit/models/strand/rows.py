"""How many points are worked on at once on a processor."""

from __future__ import annotations

import torch
from torch import Tensor

LOOKS = 512
"""Points that are looked at at once, so that thousands do not hold all their products. Fewer are slower: the first
layer of a look, 2 MB, is read anew for each part."""
ROWS = 128
"""Points at once of what makes much of each, so that the same memory serves again: memory that was given back has to
be mapped anew page by page."""


def rows_at_once(count: int, device: torch.device, most: int = ROWS) -> list[slice]:
    """All of `count` rows, in parts of at most `most`, about equal; in one on a GPU, and where gradients are wanted
    or a graph is traced."""
    if count <= most or device.type != "cpu" or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return [slice(0, count)]
    parts = -(-count // most)
    return [slice(count * part // parts, count * (part + 1) // parts) for part in range(parts)]


def filled(rows: Tensor) -> Tensor:
    """Row numbers int64 [n], n > 0, and the last of them again until there are a multiple of 8, from 64 on of 16.

    oneDNN makes a kernel for each number of rows that it has not met lately, which takes longer than the rows do.
    """
    count = len(rows)
    step = 8 if count <= 64 else 16
    return torch.cat([rows, rows[-1:].expand(-count % step)])


def picked(x: Tensor, rows: Tensor) -> Tensor:
    """Rows int64 [n] of x, as x[rows], which takes eight times as long on a processor."""
    return x.index_select(0, rows)

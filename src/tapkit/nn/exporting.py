"""Whether a graph is being traced: sizes are symbols then, and processor-specific kernels have no place in it."""

from __future__ import annotations

import torch


def exporting() -> bool:
    """True inside `torch.export` (before torch 2.7, which cannot tell them apart, also inside `torch.compile`)."""
    asked = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)
    return bool(asked())

"""What a model hands to `tapkit.engine.onnx_export`: its parts as modules of tensors, with examples and names.

A model that can be exported is one that `HasGraphs` (see `tapkit.models.base`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn


class Graph(NamedTuple):
    """One graph: `module(*inputs.values())` returns tensors named `outputs`."""

    name: str
    """File name without its ending."""
    module: nn.Module
    """In eval mode, on the CPU, with plain (unpacked) weights."""
    inputs: Mapping[str, Tensor]
    """Names and examples, in order. Axes that vary must be at least 2 long in the example."""
    outputs: tuple[str, ...]
    varying: Mapping[str, Mapping[int, str]]
    """For an input, its axes of any length: axis -> name; "8*height" stands for the multiples of 8."""
    notes: str = ""
    """Units and conventions, kept in the file's description."""

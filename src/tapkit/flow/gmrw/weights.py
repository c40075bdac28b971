"""GMRW's published checkpoints: the same names, after what parallel training puts before them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

_PREFIX = "module."


def plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state without "module." before its names."""
    return {name.removeprefix(_PREFIX): value for name, value in state.items()}

"""Weights that JAX projects publish under the names of Haiku modules (`tapir/~/resnet/~/initial_conv` and the like).

`tapkit.jax_weights` reads the files into arrays named `module/name`; a family's `weights.py` knows its modules.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

LEAVES = {"w": "weight", "scale": "weight", "b": "bias", "offset": "bias"}
"""Haiku's names of a layer's tensors, and PyTorch's."""


def is_haiku(weights: Mapping[str, Tensor]) -> bool:
    """Whether these are Haiku's names."""
    return any("/~/" in name for name in weights)


def to_torch(leaf: str, array: Tensor) -> Tensor:
    """The array `leaf` of a layer in PyTorch's layout.

    Weights [...,in,out] become [out,in,...]; 3-D convolutions of one frame lose that axis; depth-wise ones (3,1,C)
    become (C,1,3). Everything else is a vector.
    """
    if leaf != "w":
        return array.flatten()
    if array.ndim == 5:
        array = array[0]
    order = {4: (3, 2, 0, 1), 3: (2, 1, 0), 2: (1, 0)}.get(array.ndim, tuple(range(array.ndim)))
    return array.permute(order).to(torch.float32).contiguous()

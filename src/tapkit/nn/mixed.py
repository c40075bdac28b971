"""Which precision products of matrices are made in: linear layers in half precision between tokens that are float32,
and products that autocast leaves alone.

Tokens that are added up over many layers (the residual stream), norms and positions stay float32; only the products of
matrices are made in the precision of their weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tapkit.nn.packed import Activation, Linear


class MixedLinear(Linear):
    """A `Linear` that takes any floating type; x [...,in] -> [...,out] in the type of its weights."""

    def forward(self, x: Tensor, activation: Activation = "none", residual: Tensor | None = None) -> Tensor:
        """activation(x W' + b) + residual; with a residual the result has the wider of both types."""
        x = x.to(self.weight.dtype)
        if residual is None or residual.dtype == x.dtype:
            return super().forward(x, activation, residual)
        return residual + super().forward(x, activation)


def in_weights_type(layer: nn.Module, x: Tensor) -> Tensor:
    """`layer(x)` with x brought to the type of the layer's weights first, and the result in float32."""
    out: Tensor = layer(x.to(layer.weight.dtype))  # type: ignore[arg-type]
    return out.float()


def plain_matmul(first: Tensor, second: Tensor) -> Tensor:
    """`torch.matmul` in the type of its arguments, also within autocast."""
    kind = first.device.type  # on devices that have no autocast (meta, for instance) to ask for it is an error
    if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
        return torch.matmul(first, second)
    with torch.autocast(kind, enabled=False):
        return torch.matmul(first, second)

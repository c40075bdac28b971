"""Norms of single tokens, in few passes over them where torch's own kernels take many."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.nn.exporting import exporting


def _plainly(x: Tensor) -> bool:
    return x.device.type != "cpu" or torch.compiler.is_compiling() or exporting()


def normalize(x: Tensor, eps: float) -> Tensor:
    """Layer norm of x [...,C] without parameters."""
    if _plainly(x):
        return F.layer_norm(x, x.shape[-1:], eps=eps)
    # Torch's CPU kernel is vectorised only where it has both parameters: twice as fast, and the same numbers.
    return F.layer_norm(x, x.shape[-1:], x.new_ones(x.shape[-1]), x.new_zeros(x.shape[-1]), eps)


def rms_norm(x: Tensor, scale: Tensor, eps: float) -> Tensor:
    """x / rms(x) * scale; x [...,C], scale [C].

    On a CPU torch makes it of five operators; without gradients three passes do.
    """
    if _plainly(x) or (torch.is_grad_enabled() and (x.requires_grad or scale.requires_grad)):
        return F.rms_norm(x, x.shape[-1:], scale, eps)
    square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
    return (x * scale).mul_(square.div_(x.shape[-1]).add_(eps).rsqrt_())

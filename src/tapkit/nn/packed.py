"""Linear layers and convolutions whose weights can be laid out once for the CPU.

`pack(network)` hands the weights to oneDNN in the layout its kernels read; from then on bias, activation and residual
are computed inside the kernel. On x86 CPUs that makes float32 linear layers with GELU two to three times as fast
as `torch.nn.Linear` followed by `gelu`, with the same result up to the order of summation. The weights exist
only once: packing replaces them, and `train()`, `to(...)` or `unpack` bring the plain ones back. Checkpoints
load into unpacked layers and are saved from either. Where oneDNN is missing `pack` does nothing.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Literal["none", "relu", "relu6", "gelu", "gelu_tanh"]

_ONEDNN: dict[str, tuple[str, list[float], str]] = {
    "none": ("none", [], ""),
    "relu": ("relu", [], ""),
    "relu6": ("hardtanh", [0.0, 6.0], ""),
    "gelu": ("gelu", [], "none"),
    "gelu_tanh": ("gelu", [], "tanh"),
}
"""oneDNN's name of an activation, its numbers, its algorithm."""


def can_pack(weight: Tensor) -> bool:
    """Whether oneDNN's packed kernels serve weights of this kind here (float32, or bfloat16 on CPUs that have it)."""
    if weight.device.type != "cpu" or platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not available or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weight.dtype == torch.float32


def onednn(name: str, *arguments: Any) -> Tensor:
    """Call one of torch's oneDNN operators ("linear.binary" ...), which have no types."""
    result: Tensor = _operator(name)(*arguments)
    return result


@cache
def _operator(name: str) -> Callable[..., Any]:
    operator, _, overload = name.partition(".")
    found: Callable[..., Any] = getattr(getattr(torch.ops.mkldnn, operator), overload or "default")
    return found


def activate(x: Tensor, activation: Activation) -> Tensor:
    """The activation as torch computes it."""
    if activation == "relu":
        return F.relu(x)
    if activation == "relu6":
        return F.relu6(x)
    if activation == "gelu":
        return F.gelu(x)
    return F.gelu(x, approximate="tanh") if activation == "gelu_tanh" else x


class Packable(nn.Module):
    """A layer that `pack` and `unpack` reach. Training, moving and loading unpack it."""

    def pack(self) -> None:
        """Lay the weights out for the CPU; no gradients from here on."""
        raise NotImplementedError

    def unpack(self) -> None:
        """Bring the plain weights back."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`; training needs plain weights."""
        if mode:
            self.unpack()
        super().train(mode)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self.unpack()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.unpack()
        super()._load_from_state_dict(*args, **kwargs)


class _PackedWeight(Packable):
    """What linear layers and convolutions share: the swap of the plain weight for the packed one and back."""

    weight: Tensor
    packed: Tensor | None = None
    _trained = True

    def _pack_weight(self) -> Tensor:
        raise NotImplementedError

    def pack(self) -> None:
        if self.packed is None and can_pack(self.weight):
            with torch.no_grad():
                self.packed = self._pack_weight()
            self._trained = self.weight.requires_grad
            self.weight.requires_grad_(False)
            self.weight.data = self.weight.new_empty(0)

    def _dense(self, packed: Tensor) -> Tensor:
        """The plain weight again."""
        return packed.to_dense()

    def unpack(self) -> None:
        if self.packed is not None:
            self.weight.data = self._dense(self.packed)
            self.weight.requires_grad_(self._trained)
            self.packed = None

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.packed is not None:
            destination[prefix + "weight"] = self._dense(self.packed)


class Linear(_PackedWeight, nn.Linear):
    """`nn.Linear`, then an activation; x [...,in] -> [...,out]."""

    def _pack_weight(self) -> Tensor:
        return onednn("_reorder_linear_weight", self.weight, None)

    def forward(self, x: Tensor, activation: Activation = "none", residual: Tensor | None = None) -> Tensor:
        """activation(x W' + b) + residual; `residual` [...,out] only without an activation."""
        if self.packed is None:
            y = activate(F.linear(x, self.weight, self.bias), activation)
            return y if residual is None else y + residual
        return packed_linear(x, self.packed, self.bias, activation, residual)


def packed_linear(
    x: Tensor, packed: Tensor, bias: Tensor | None, activation: Activation = "none", residual: Tensor | None = None
) -> Tensor:
    """activation(x W' + b) + residual of packed weights; x [...,in]."""
    if residual is not None and activation == "none":
        return onednn("_linear_pointwise.binary", x, residual, packed, bias, "add")
    attribute, numbers, algorithm = _ONEDNN[activation]
    y = onednn("_linear_pointwise", x, packed, bias, attribute, numbers, algorithm)
    return y if residual is None else y + residual


def _cells(x: Tensor) -> Tensor:
    """[B,C,h,w] -> contiguous [B,h,w,C]: no copy of what is channels_last."""
    return x.permute(0, 2, 3, 1).contiguous()


class Conv2d(_PackedWeight, nn.Conv2d):
    """`nn.Conv2d` without dilation, then an activation; x [B,C,h,w], channels_last for speed.

    A convolution of single cells is packed as the linear layer that it is: oneDNN lays the weights of a convolution
    out for maps of a size that it does not know yet, and where it guesses wrong (192 channels to 1152 on 8x8 cells)
    each call lays them out again, which takes a hundred times as long as the product.
    """

    @property
    def _pointwise(self) -> bool:
        return self.kernel_size == (1, 1) and self.stride == (1, 1) and self.padding == (0, 0) and self.groups == 1

    def _shape(self) -> tuple[list[int], list[int], list[int], int]:
        assert not isinstance(self.padding, str)
        return list(self.padding), list(self.stride), list(self.dilation), self.groups

    def _pack_weight(self) -> Tensor:
        if self._pointwise:
            return onednn("_reorder_linear_weight", self.weight.flatten(1).contiguous(), None)
        weight = self.weight.contiguous(memory_format=torch.channels_last)
        return onednn("_reorder_convolution_weight", weight, *self._shape(), None)

    def _dense(self, packed: Tensor) -> Tensor:
        dense = packed.to_dense()
        return dense[:, :, None, None] if self._pointwise else dense

    def forward(self, x: Tensor, activation: Activation = "none", residual: Tensor | None = None) -> Tensor:
        """activation(conv(x)) + residual; `residual` [B,C',h',w'] only without an activation."""
        if self.packed is None:
            y = activate(super().forward(x), activation)
            return y if residual is None else y + residual
        if self._pointwise:
            cells = None if residual is None else _cells(residual)
            return packed_linear(_cells(x), self.packed, self.bias, activation, cells).permute(0, 3, 1, 2)
        if residual is not None and activation == "none":
            return onednn(
                "_convolution_pointwise.binary",
                x,
                residual,
                self.packed,
                self.bias,
                *self._shape(),
                "add",
                1.0,
                None,
                [],
                None,
            )
        attribute, numbers, algorithm = _ONEDNN[activation]
        y = onednn("_convolution_pointwise", x, self.packed, self.bias, *self._shape(), attribute, numbers, algorithm)
        return y if residual is None else y + residual


class UnshuffledConv2d(Conv2d):
    """A convolution of single cells of `pixel_unshuffle(x, 2)`, which it is given as x [B,C,2h,2w]: as the convolution
    of 2x2 cells that it is, without turning x over. Its weight is that of the former, [out,4C,1,1]."""

    def __init__(self, before: int, after: int, bias: bool = True) -> None:
        super().__init__(4 * before, after, 1, bias=bias)

    @property
    def _pointwise(self) -> bool:
        return False

    def _shape(self) -> tuple[list[int], list[int], list[int], int]:
        return [0, 0], [2, 2], [1, 1], 1

    def _squares(self) -> Tensor:
        return self.weight.view(self.out_channels, -1, 2, 2)

    def _pack_weight(self) -> Tensor:
        weight = self._squares().contiguous(memory_format=torch.channels_last)
        return onednn("_reorder_convolution_weight", weight, *self._shape(), None)

    def _dense(self, packed: Tensor) -> Tensor:
        return packed.to_dense().reshape(self.out_channels, -1, 1, 1)

    def forward(self, x: Tensor, activation: Activation = "none", residual: Tensor | None = None) -> Tensor:
        """As `Conv2d`."""
        if self.packed is not None:
            return super().forward(x, activation, residual)
        y = activate(F.conv2d(x, self._squares(), self.bias, 2), activation)
        return y if residual is None else y + residual


def pack(network: nn.Module) -> None:
    """Pack all packable layers of a network that only does inference on a CPU."""
    for module in network.modules():
        if isinstance(module, Packable):
            module.pack()


def unpack(network: nn.Module) -> None:
    """Bring all plain weights back (for export)."""
    for module in network.modules():
        if isinstance(module, Packable):
            module.unpack()

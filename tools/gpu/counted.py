"""The work that a network asks of a device, counted without one: launches, products, bytes.

Tensors are on torch's "meta" device, which knows shapes and types and nothing else: published sizes take no time. Each
operator is one launch; views are none. Attention, which is several operators there, is the one that GPUs have. The
products are those of torch's own flop counter (a multiplication with its addition is two). Bytes are those of all
inputs and outputs, read and written once; of what is looked up in a table, those that are looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from tapkit.engine.recording import tensors_in

_NO_LAUNCH = {"_unsafe_view", "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach"}
_TABLES = {"index_select", "gather", "index", "embedding"}
_COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd
_PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "convolution", "attention"}


@dataclass(frozen=True)
class Piece:
    """One launch."""

    name: str
    flops: int
    bytes: int
    dtype: torch.dtype
    channels_last: bool | None = None
    """Of a convolution of images with several channels: whether that is how its input lies."""

    @property
    def product(self) -> bool:
        """Whether it multiplies matrices, or is a convolution."""
        return self.name in _PRODUCTS


@dataclass
class Work:
    """What was asked for."""

    pieces: list[Piece] = field(default_factory=list)

    @property
    def launches(self) -> int:
        """Pieces of work."""
        return len(self.pieces)

    @property
    def flops(self) -> int:
        """Of all."""
        return sum(piece.flops for piece in self.pieces)

    @property
    def bytes(self) -> int:
        """Of all."""
        return sum(piece.bytes for piece in self.pieces)


class _Counting(TorchDispatchMode):
    def __init__(self, work: Work) -> None:
        super().__init__()
        self.work, self.paused = work, False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.paused:
            return func(*args, **kwargs)
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), _COMPOSITE):
            with self:  # in inference mode, operators that consist of others come here before they are taken apart
                return func._op_dk(_COMPOSITE, *args, **kwargs)
        out = func(*args, **kwargs)
        name = func._schema.name.removeprefix("aten::")
        outputs, inputs = tensors_in(out), tensors_in((args, kwargs))
        outputs = outputs or (inputs[: len(inputs) // 2] if name.startswith("_foreach") else [])
        if name in _NO_LAUNCH or not outputs or all(part.numel() == 0 for part in outputs):
            return out
        places = {part.untyped_storage()._cdata for part in inputs}
        if func.is_view and all(part.untyped_storage()._cdata in places for part in outputs):
            return out
        packet = func._overloadpacket
        flops = flop_registry[packet](*args, **kwargs, out_val=out) if packet in flop_registry else 0
        floating = [part.dtype for part in inputs if part.is_floating_point()]
        read = outputs if name in _TABLES else inputs
        size = sum(map(_bytes, read)) + sum(map(_bytes, outputs))
        kind = floating[0] if floating else torch.float32
        self.work.pieces.append(Piece(name, int(flops), size, kind, _channels_last(name, inputs)))
        return out


class _Attention(TorchFunctionMode):
    """Attention as one operator."""

    def __init__(self, counting: _Counting) -> None:
        super().__init__()
        self.counting = counting

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        query, key, value = args[:3]
        self.counting.paused = True  # what it consists of, elsewhere than on a GPU
        out = func(*args, **(kwargs or {}))
        self.counting.paused = False
        length = query.numel() // query.shape[-1] * key.shape[-2]
        flops = 2 * length * (query.shape[-1] + value.shape[-1])
        self.counting.work.pieces.append(
            Piece("attention", flops, sum(map(_bytes, (query, key, value, out))), query.dtype)
        )
        return out


def _channels_last(name: str, inputs: list[torch.Tensor]) -> bool | None:
    """See `Piece`; one channel, or one pixel, lies in both ways."""
    if name != "convolution" or inputs[0].ndim != 4 or inputs[0].shape[1] < 2 or inputs[0].shape[2:].numel() < 2:
        return None
    return inputs[0].is_contiguous(memory_format=torch.channels_last)


def _bytes(tensor: torch.Tensor) -> int:
    """Of what there is of it in memory: an expanded tensor is read once."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


@contextmanager
def on_meta() -> Iterator[None]:
    """Within, networks can be moved to "meta" and run there."""
    with mock.patch.object(torch, "autocast", return_value=nullcontext()), torch.inference_mode():
        yield  # autocast does not know the device


def counted(call: Callable[[], object]) -> Work:
    """What a call asks of the device. To be called within `on_meta`."""
    counting = _Counting(Work())
    with counting, _Attention(counting):
        call()
    return counting.work

"""Within `everywhere(device)` what the runners of parity cases make is made on a device.

The runners (tools/parity) compare networks on the CPU and name no device. Here factories, arrays that become tensors
and tensors that become arrays are led to the device and back, so that the same runners check the same numbers there.
(It would hide a factory call without a device: those are looked for by tests/devices, where nothing is led anywhere.)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors


class _Led(TorchFunctionMode):
    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device, self.makers = device, _device_constructors()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if func in self.makers and kwargs.get("device") is None:
            if kwargs.get("generator") is not None:  # a generator of the host: the same numbers everywhere
                return func(*args, **kwargs).to(self.device)
            kwargs["device"] = self.device
        elif name in ("numpy", "__array__") and args[0].device.type != "cpu":
            return args[0].detach().cpu().numpy()
        elif name in ("__getitem__", "__setitem__") and args[0].device.type == "cpu":
            args = (args[0], _on_host(args[1]), *args[2:])
        return func(*args, **kwargs)


def _on_host(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(_on_host(part) for part in index)
    return index.cpu() if isinstance(index, torch.Tensor) else index


@contextmanager
def everywhere(device: torch.device) -> Iterator[None]:
    """Make tensors on `device` unless another is asked for."""
    if device.type == "cpu":
        yield
        return
    from_numpy = torch.from_numpy

    def sent(array: np.ndarray) -> torch.Tensor:
        return from_numpy(array).to(device)

    torch.from_numpy = sent
    try:
        with _Led(device):
            yield
    finally:
        torch.from_numpy = from_numpy

"""What the host knows, sent to a device without waiting for it."""

from __future__ import annotations

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on `device`; as it is, if it is there.

    To a GPU from locked memory: the copy is one more piece of work in the device's queue, while from ordinary memory
    the host would wait until all work before it is done.
    """
    if device.type == "cuda" and tensor.device.type == "cpu" and tensor.numel():
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)

"""What the host knows, sent to a device without waiting for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

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


def indices(numbers: Iterable[int], device: torch.device) -> Tensor:
    """Row numbers that the host knows, int64 [n] on `device`: what `nonzero` would have to be waited for."""
    return sent(torch.tensor(list(numbers), dtype=torch.long), device)


class Upload:
    """Sends tensors to a GPU on a stream of its own: beside what the device is doing, not after it.

    Used by one thread that is ahead of the one which works with what it sends (see `arrived`).
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def __call__(self, tensor: Tensor, device: torch.device) -> tuple[Tensor, Any]:
        """The tensor on `device`, and a mark in the stream (a `torch.cuda.Event`): there it has arrived."""
        with torch.cuda.stream(self._stream):
            there, mark = sent(tensor, device), torch.cuda.Event()  # type: ignore[no-untyped-call]
            mark.record(self._stream)
        return there, mark


def arrived(tensor: Tensor, mark: Any) -> Tensor:
    """The tensor, for the work that is asked for next: it comes after `mark`. Nobody waits but the device."""
    stream = torch.cuda.current_stream(tensor.device)
    stream.wait_event(mark)
    # Or its memory would go to somebody else, on the stream that it was sent on, while this one still reads it.
    tensor.record_stream(stream)
    return tensor

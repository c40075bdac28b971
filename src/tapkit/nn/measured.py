"""Of two ways of computing the same, the one that is faster on this device."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Hashable

import torch
from torch import Tensor

NEAR = 1e-3
"""By how much of the largest value two ways may differ that compute the same (TF32 is among them); half precision by
twice what its numbers are rounded by."""
_RUNS = 5


def device_seconds(call: Callable[[], Tensor]) -> float:
    """Seconds of one call on the GPU, the second to the last of some runs; the host waits for them."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in "ab")  # type: ignore[no-untyped-call]
    call()
    begin.record()
    for _ in range(_RUNS):
        call()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1000 / _RUNS


def processor_seconds(call: Callable[[], Tensor]) -> float:
    """Seconds of one call on the CPU, the least of some runs: other work on the machine only makes it longer."""
    least = math.inf
    for _ in range(_RUNS):
        start = time.perf_counter()
        call()
        least = min(least, time.perf_counter() - start)
    return least


class Faster:
    """Whether to take a kernel instead of the plain way, for each kind of input measured when it first comes.

    A kernel is taken if it gives the same (to `near` of the largest value) in less time. One that gives something else,
    or fails to compile or to run, is not asked again for that kind of input, and a warning says why: the plain way
    always serves.
    """

    def __init__(
        self, name: str, seconds: Callable[[Callable[[], Tensor]], float] | None = None, near: float = NEAR
    ) -> None:
        self.name, self._seconds, self._near = name, seconds or device_seconds, near
        self.known: dict[Hashable, bool] = {}

    def wins(self, kind: Hashable, kernel: Callable[[], Tensor], plain: Callable[[], Tensor]) -> bool:
        """Whether `kernel()` is to be called rather than `plain()`, for inputs of that kind."""
        if kind not in self.known:
            self.known[kind] = self._measured(kernel, plain)
        return self.known[kind]

    def _measured(self, kernel: Callable[[], Tensor], plain: Callable[[], Tensor]) -> bool:
        expected = plain()
        try:
            found = kernel()
            difference = float((found - expected).abs().max()) if expected.numel() else 0.0
            near = max(self._near, 2 * torch.finfo(expected.dtype).eps)
            if not difference <= near * float(expected.abs().max()) + 1e-12:  # also where it is not a number
                self._say(f"differs by {difference:.2g} from what it should give")
                return False
            return self._seconds(kernel) < self._seconds(plain)
        except Exception as error:  # of a compiler, a driver or the device: any of them leaves the plain way
            self._say(f"failed: {(str(error).splitlines() or [type(error).__name__])[0]}")
            return False

    def _say(self, what: str) -> None:
        warnings.warn(f"{self.name} is not used here, it {what}", stacklevel=4)

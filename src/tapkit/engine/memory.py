"""Memory budgets: "2GB" as bytes, and how many points fit into them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tapkit.errors import DeviceMemoryError, DeviceMemoryWarning, MemoryBudgetError, UsageError

_UNITS = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def parse_bytes(budget: str | int | None) -> int | None:
    """Bytes of "2GB", "800 MiB", "1.5g" or a plain number; None stays None (no limit).

    >>> parse_bytes("2GB"), parse_bytes("512 MiB"), parse_bytes(1000)
    (2147483648, 536870912, 1000)
    """
    if budget is None or isinstance(budget, int):
        if budget is not None and budget <= 0:
            raise UsageError(f"a memory budget must be positive, got {budget}")
        return budget
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?\s*", budget.lower())
    if not match:
        raise UsageError(f'a memory budget looks like "2GB" or "800MB", got {budget!r}')
    value = int(float(match[1]) * _UNITS[match[2]])
    if value <= 0:
        raise UsageError(f"a memory budget must be positive, got {budget!r}")
    return value


def points_at_once(budget: int | None, fixed: int, per_point: int, points: int) -> int:
    """How many of `points` fit together: (budget - fixed) / per_point, at least one.

    >>> points_at_once(1000, 200, 100, 50)
    8
    """
    if budget is None or points == 0:
        return max(points, 1)
    fitting = (budget - fixed) // max(per_point, 1)
    if fitting < 1:
        raise MemoryBudgetError(
            f"a budget of {_readable(budget)} is too small: {_readable(fixed + per_point)} are needed for a single "
            "point; raise memory=, or lower the resolution"
        )
    return min(int(fitting), points)


_RAN_OUT = ("out of memory", "can't allocate memory")
"""How torch says it of devices that have no error of their own for it."""


@contextmanager
def device_memory(device: torch.device, points: int) -> Iterator[None]:
    """Within, that the device runs out of memory is a `DeviceMemoryError` of one sentence."""
    try:
        yield
    except RuntimeError as error:
        typed = isinstance(error, torch.OutOfMemoryError)
        if isinstance(error, DeviceMemoryError) or not (typed or any(part in str(error) for part in _RAN_OUT)):
            raise
        raise DeviceMemoryError(
            f"{device} ran out of memory with {points} point{'' if points == 1 else 's'} at once; give a budget below "
            'what is free (memory="8GB"), fewer points, smaller frames, or precision="bfloat16"'
        ) from error


def stepped_down(error: DeviceMemoryError, points: int) -> None:
    """Say in a sentence that it goes on with fewer points at once."""
    first = str(error).split(" at once;")[0]
    warnings.warn(f"{first}; going on with {points} at once", DeviceMemoryWarning, stacklevel=3)


def keep_freed() -> None:
    """Have glibc keep what large temporaries give back, for those of the next frame.

    It maps large blocks apart and unmaps them when they are freed, so that each page of the next one is made anew,
    until it has seen one that large come and go: from then on it keeps up to twice as much. So one is shown
    to it, as large as it heeds (32 MiB), which is never touched. Other C libraries take no notice.
    """
    torch.empty((32 << 20) - (64 << 10), dtype=torch.uint8)


def release(device: torch.device) -> None:
    """Give back what torch keeps of the device's memory for later."""
    if device.type == "cuda" and torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif device.type == "mps" and torch.backends.mps.is_available():
        torch.mps.empty_cache()


def _readable(size: int) -> str:
    """A number of bytes for people.

    >>> _readable(900), _readable(3 << 20)
    ('900 bytes', '3.0 MB')
    """
    return f"{size} bytes" if size < 1 << 20 else f"{size / 2**20:.1f} MB"

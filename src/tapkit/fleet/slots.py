"""Slots: what each process of a machine works with, one GPU or a group of cores."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from tapkit.errors import UsageError

CORES_EACH = 4
"""Cores of a process, where their number is not said: trackers of one video gain little from more."""
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Slot(NamedTuple):
    """The place of one process."""

    device: str
    threads: int

    def take(self) -> None:
        """Keep this process to its cores: to be called before libraries that compute are imported."""
        for name in _THREADS:
            os.environ[name] = str(self.threads)

    def settle(self) -> None:
        """The same for libraries that have their own mind: after they were imported."""
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(self.threads)
        if "cv2" in sys.modules:
            sys.modules["cv2"].setNumThreads(self.threads)


def slots(device: str = "auto", jobs: int | None = None) -> list[Slot]:
    """One slot for each process.

    Args:
        device: "auto" (each GPU, else the CPU), or a list such as "cuda:0,cuda:1" (see `tapkit.api.choose_devices`).
        jobs: how many processes; None: one for each GPU, or for every `CORES_EACH` cores. More than there are devices
            share them.

    Raises `UsageError`.
    """
    if jobs is not None and jobs < 1:
        raise UsageError(f"needs one process at least, got {jobs}")
    names = _devices(device)
    free = cores()
    count = jobs or (max(free // CORES_EACH, 1) if names == ["cpu"] else len(names))
    return [Slot(names[number % len(names)], max(free // count, 1)) for number in range(count)]


def _devices(device: str) -> list[str]:
    if device == "cpu":  # known without PyTorch, which the parent needs for nothing else
        return ["cpu"]
    from tapkit.api import choose_devices

    names = [str(place) for place in choose_devices(device)]
    if device == "auto" and names == ["cuda"]:
        import torch

        names = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return names


def cores() -> int:
    """Cores that this process may use: of a share of a machine (Slurm, a container), those of the share."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1

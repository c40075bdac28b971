"""A fixed float32 workload, so that times from different or busy machines can be compared.

The mix is a point tracker's: convolutions at a quarter of 256x256, bilinear sampling around many points, small matrix
products. It is the same work as `parity/calibrate.py` of the project's shared folder; quote `seconds / calibrate()`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F


@torch.inference_mode()
def calibrate(
    device: str | torch.device = "cpu", repeats: int = 5, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Median seconds of one pass of the workload; `clock` may be `time.process_time` (CPU time)."""
    device = torch.device(device)
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    image, kernel = draw(8, 64, 64, 64), draw(64, 64, 3, 3) / 24
    grid = draw(8, 512, 49, 2).clamp(-1, 1)
    tokens, weight = draw(4096, 256), draw(256, 1024) / 16

    def once() -> float:
        start = _now(device, clock)
        x = image
        for _ in range(6):
            x = torch.relu(F.conv2d(x, kernel, padding=1))
        F.grid_sample(x, grid, align_corners=False)
        y = tokens
        for _ in range(4):
            y = torch.tanh(y @ weight) @ weight.T / 32
        return _now(device, clock) - start

    for _ in range(2):
        once()
    return statistics.median(once() for _ in range(repeats))


def _now(device: torch.device, clock: Callable[[], float]) -> float:
    """The clock, after everything asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock()

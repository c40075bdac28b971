"""Resident memory of an MFT session over 10,000 frames.

    python benchmarks/mft_memory.py [--frames 10000] [--points 256] [--side 128]

What grows or does not is what the session keeps: features of the frames of the longest delta, results of pixels, the
points. That is all real; only the network is not run (seven flows for each frame would take half a day of one core):
features have its shapes, and flows are a small random motion. Linux only (resident memory comes from /proc).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tapkit.engine.tracker import Tracker
from tapkit.flow.mft.tracker import build
from tapkit.flow.raft.model import RaftFeatures
from tapkit.types import Queries, VideoInfo

SKIPPED = 500
"""Frames after which growth is counted."""


class Cheap:
    """Stands for the network: features of its shapes, flows of a fraction of a pixel."""

    def __init__(self) -> None:
        self.draw = torch.Generator().manual_seed(0)

    def encode(self, frames: Tensor) -> RaftFeatures:
        height, width = frames.shape[-2:]
        return RaftFeatures(*(torch.zeros(1, 256, height // 8, width // 8) for _ in range(2)))

    def maps(self, firsts: list[RaftFeatures], second: RaftFeatures, size: tuple[int, int]) -> list[Tensor]:
        scale = torch.tensor([0.02, 0.02, 0.01, 1.0])[:, None, None]
        shift = torch.tensor([0.01, 0.01, 0.0, 0.0])[:, None, None]
        return [torch.rand(1, 4, *size, generator=self.draw) * scale - shift for _ in firsts]


def resident_mib() -> float:
    """Resident memory of this process."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=10000)
    parser.add_argument("--points", type=int, default=256)
    parser.add_argument("--side", type=int, default=128)
    arguments = parser.parse_args()
    side = arguments.side
    model = build(resolution=None)
    model.pairs = Cheap()  # type: ignore[assignment]
    queries = Queries.grid((side, side), round(arguments.points**0.5))
    session = Tracker(model).start(VideoInfo(width=side, height=side), queries)
    rng = np.random.default_rng(0)
    marks = {}
    for t in range(arguments.frames):
        session.step(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
        if t == SKIPPED or t % 1000 == 999:
            marks[t + 1] = resident_mib()
            print(f"frame {t + 1}: {marks[t + 1]:.1f} MiB", flush=True)
    growth = max(marks.values()) - marks[min(SKIPPED + 1, max(marks))]
    print(f"{len(queries)} points, {side}x{side}: growth after frame {SKIPPED}: {growth:.1f} MiB")


if __name__ == "__main__":
    main()

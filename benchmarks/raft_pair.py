"""RAFT beside torchvision's, alternating in one process, one thread: CPU time of a pair of 256x256, 12 iterations.

    python benchmarks/raft_pair.py [--pairs 9]

Needs torchvision (`pip install torchvision`), which tapkit itself does not. Both hold the same, untrained weights; the
largest difference of their flows is printed too.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.models.optical_flow import raft_large

from tapkit.flow.raft.model import RaftFeatures, build_large

SIDE, ITERATIONS = 256, 12


def seconds(call: Callable[[], Tensor]) -> float:
    """CPU time of one call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    """Print the median of the ratios, their range and the difference."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=9)
    pairs = parser.parse_args().pairs
    torch.set_num_threads(1)
    torch.manual_seed(0)
    theirs = raft_large().eval()
    ours = build_large(dict(theirs.state_dict()))
    frames = torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8)

    def stock() -> Tensor:
        x = frames.float() / 127.5 - 1
        flow: Tensor = theirs(x[:1], x[1:], num_flow_updates=ITERATIONS)[-1]
        return flow

    def tapkit() -> Tensor:
        x = ours.prepared(frames)
        maps, context = ours.network.matching(x), ours.network.context(x[:1])
        return ours.flow(RaftFeatures(maps[:1], context), RaftFeatures(maps[1:], context), (SIDE, SIDE)).xy

    with torch.inference_mode():
        difference = float((stock() - tapkit()).abs().max())
        ratios = [seconds(tapkit) / seconds(stock) for _ in range(pairs)]
    print(f"of torchvision's CPU time: median {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"largest difference of the flow: {difference:.1e} px")


if __name__ == "__main__":
    main()

"""In which form trackers hand their work to a GPU: the share of products in bfloat16, of convolutions in channels_last,
and how often attention is asked for, as one operator.

    python tools/gpu_formats.py [ID ...]

Each tracker runs over the contract's clip on the simulated GPU (tests/devices), in small sizes, at
precision="bfloat16"; shares are of the multiplications (tools/gpu/counted.py). Prints rows of a Markdown table.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests" / "devices"), str(ROOT / "tests" / "models")]

import contract  # noqa: E402
from gpu.counted import Work, counted  # noqa: E402
from gpu.subjects import ids  # noqa: E402
from simulated import simulated  # noqa: E402

from tapkit import registry  # noqa: E402
from tapkit.engine.tracker import Tracker  # noqa: E402
from tapkit.types import Queries  # noqa: E402


def work_of(name: str, precision: str = "bfloat16") -> Work:
    """What a session of a tracker asks of the device."""
    subject = contract.subject.__wrapped__(name)
    state = contract.seeded(contract.TINY[name]) if name in contract.TINY else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = registry.build(name, state, **{**contract.SMALL.get(name, {}), "precision": precision})
    with simulated():
        model.to("cuda")
        session = Tracker(model).start(subject.info, Queries.of(contract.POINTS))
        return counted(lambda: contract.drive(session, subject.frames))


def shares(work: Work) -> tuple[float, float, float]:
    """Of the products' FLOPs: in bfloat16, in convolutions; of the convolutions': in channels_last."""
    products = [piece for piece in work.pieces if piece.product]
    images = [piece for piece in products if piece.channels_last is not None]
    flops, of_images = (max(sum(piece.flops for piece in some), 1) for some in (products, images))
    half = sum(piece.flops for piece in products if piece.dtype == torch.bfloat16)
    last = sum(piece.flops for piece in images if piece.channels_last)
    return half / flops, of_images / flops, last / of_images


def main() -> int:
    """Print the table."""
    print("| tracker | products in bfloat16 | convolutions | of these in channels_last | attention |")
    print("|---|---|---|---|---|")
    for name in sys.argv[1:] or ids():
        work = work_of(name)
        half, convolutions, last = shares(work)
        fused = sum(piece.name == "attention" for piece in work.pieces)
        print(f"| {name} | {half:.0%} | {convolutions:.0%} | {last:.0%} | {fused} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

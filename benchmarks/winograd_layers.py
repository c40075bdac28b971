"""Whether Winograd's convolutions pay for the memory of their transformed weights: each kind of layer with and without.

    python benchmarks/winograd_layers.py [--frames 1 8] [--rounds 5]

The layers are those of the networks that use `tapkit.nn.winograd`, at the sizes they have for the frames named below.
A few layers of each kind take turns, so that their weights come from memory, as they do in a network. One thread, CPU
time, the median of the rounds for one layer and one frame; printed, and stored with the processor and the load in
benchmarks/results/winograd_layers.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from reference_protocol import machine

from tapkit.nn.packed import Conv2d
from tapkit.nn.winograd import WinogradConv2d

RESULTS = Path(__file__).resolve().parent / "results" / "winograd_layers.json"
AT_ONCE = 3
"""Layers of a kind that take turns."""


class Kind(NamedTuple):
    """A kind of layer."""

    network: str
    inputs: int
    outputs: int
    size: tuple[int, int]
    """(rows, columns) of its map."""
    count: int
    """How many of them the network has."""


KINDS = (
    Kind("bootstapir, 256x256", 256, 1024, (32, 32), 5),
    Kind("bootstapir, 256x256", 1024, 256, (32, 32), 5),
    Kind("cotracker2, pips2 and the like, 256x256", 288, 256, (64, 64), 1),
    Kind("cotracker2, pips2 and the like, 384x512", 288, 256, (96, 128), 1),
    Kind("pips at stride 8, 256x256", 416, 256, (32, 32), 1),
)


def measure(kind: Kind, frames: int, rounds: int) -> dict[str, float]:
    """Milliseconds of CPU for one layer and one frame."""
    made: dict[str, list[Conv2d]] = {"direct": [], "winograd": []}
    for _ in range(AT_ONCE):
        made["direct"].append(Conv2d(kind.inputs, kind.outputs, 3, padding=1))
        made["winograd"].append(WinogradConv2d(kind.inputs, kind.outputs))
    for layer in (*made["direct"], *made["winograd"]):
        layer.eval().requires_grad_(False)
        layer.pack()
    x = torch.randn(frames, kind.inputs, *kind.size).contiguous(memory_format=torch.channels_last)
    taken: dict[str, list[float]] = {name: [] for name in made}
    for number in range(rounds + 1):
        for name, layers in made.items():
            start = time.process_time()
            for layer in layers:
                layer(x)
            if number:  # the first warms up
                taken[name].append((time.process_time() - start) * 1e3 / AT_ONCE / frames)
    return {name: statistics.median(values) for name, values in taken.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row for each kind of layer and number of frames, and store all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[1, 8], help="frames that a layer is given at a time")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = []
    with torch.inference_mode():
        for kind in KINDS:
            for frames in chosen.frames:
                transformed = 36 * kind.inputs * kind.outputs * 4 / 2**20
                row = kind._asdict() | measure(kind, frames, chosen.rounds)
                row |= {"frames": frames, "transformed_mib": transformed * kind.count}
                rows.append(row)
                print(
                    f"{kind.network}: {kind.count} x {kind.inputs} -> {kind.outputs}, {frames} at a time: "
                    f"{row['winograd']:.1f} ms instead of {row['direct']:.1f}, {row['transformed_mib']:.0f} MiB",
                    flush=True,
                )
    stored = {"layers": rows, "machine": machine(), "load": os.getloadavg()[0]}
    chosen.output.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()

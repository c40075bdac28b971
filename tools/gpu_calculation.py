"""How fast trackers would be on a GPU, by calculation: what they ask of it, against what the device can do.

    python tools/gpu_calculation.py [--write] [--check]

Counts the launches, products and bytes of a step (tools/gpu/counted.py; nothing is computed), and takes for each
piece of work the longest of: the least that any takes, its bytes at the memory's rate, its products at the device's. As
ever, a step takes as long as the host needs to ask for all of it, or as the device needs for it, whichever is longer;
recorded (a CUDA graph), the host asks once. `--write` puts the tables into docs/how-to/gpu.md and the figures into
benchmarks/results/gpu_calculation.json; `--check` says whether they are those of now.

It is a calculation. What it cannot know: which kernels cuBLAS and cuDNN choose, what a cache holds, and how long the
smallest pieces of work really take, which is most of a step with few points. `tools/gpu_check.py` measures.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from gpu.counted import Piece, Work, counted, on_meta  # noqa: E402
from marks import between  # noqa: E402

from tapkit import registry  # noqa: E402
from tapkit.engine.recording import apart  # noqa: E402
from tapkit.engine.slots import rung, step_work  # noqa: E402
from tapkit.weights import find, read  # noqa: E402

PAGE, RESULTS = ROOT / "docs" / "how-to" / "gpu.md", ROOT / "benchmarks" / "results" / "gpu_calculation.json"
BEGIN, END = "<!-- calculated: written by tools/gpu_calculation.py -->", "<!-- /calculated -->"


@dataclass(frozen=True)
class Device:
    """What a device can do. Rates are those of its data sheet, without sparsity; the rest is assumed."""

    name: str = "H200"
    float32: float = 67e12
    """Products a second in exact float32 (TF32 off)."""
    bfloat16: float = 989e12
    bandwidth: float = 4.8e12
    """Bytes a second."""
    products_share: float = 0.6
    """Of its rate that products of large matrices reach."""
    memory_share: float = 0.7
    launch: float = 5e-6
    """Seconds of the host to ask for a piece of work, from Python."""
    least: float = 2e-6
    """Seconds of the device that any piece of work takes, with the gap to the next."""
    least_product: float = 5e-6
    """Seconds that a product of small matrices takes: little of the device works on it."""
    frame: float = 80e-6
    """Seconds a frame for its upload, the copies that a recorded step begins with, and the wait for the answers."""

    def seconds(self, piece: Piece) -> float:
        """Of one piece of work."""
        rate = self.bfloat16 if piece.dtype in (torch.bfloat16, torch.float16) else self.float32
        least = self.least_product if piece.product else self.least
        return max(least, piece.flops / rate / self.products_share, piece.bytes / self.bandwidth / self.memory_share)

    def busy(self, work: Work) -> float:
        """Seconds of the device for all of it."""
        return sum(self.seconds(piece) for piece in work.pieces)


STEPS = ("strand", "tapir-causal", "bootstapir-causal", "tapnext", "track-on2")
POINTS, SIZE = 64, (256, 256)
CLIP = ("cotracker3-offline", 1024, 48, (384, 512))
"""Tracker, points, frames, size."""
PUBLISHED = {
    "their paper's table 2": 209e-6,
    "102 frames/s of the online model at 256 points on an H100": 1 / 102 / 256,
}
"""Seconds for a point on a frame of CoTracker3, as published (guides/performance.md, section 3)."""
BARS = {"steps": 250.0, "float32": 2.0, "bfloat16": 4.0}


@dataclass(frozen=True)
class Row:
    """A step of a tracker."""

    model: str
    precision: str
    launches: int
    gflop: float
    mib: float
    eager: float
    """Steps a second as ever."""
    recorded: float
    """And recorded."""
    slower: float
    """Recorded, where any piece of work takes half as long again at least."""


def model_on_meta(name: str, precision: str) -> Any:
    """A tracker of the published size, nowhere."""
    # What a tracker does follows from its weights: with those of the package where there are some.
    found = find(registry.card(name)) if registry.card(name).weights_built_in else None
    weights = None if found is None else read(found)
    return registry.build(name, weights, precision=precision).to("meta")


def step_of(name: str, precision: str, points: int = POINTS, size: tuple[int, int] = SIZE) -> Work:
    """What a causal tracker asks for on a frame on which no point begins."""
    with on_meta():
        model = model_on_meta(name, precision)
        handed = model.frame_size(size) or size
        frame = torch.empty(3, *handed, dtype=torch.uint8, device="meta")
        state, _ = model.step(model.start(handed), frame, torch.empty(rung(points) or points, 2, device="meta"))
        held = torch.ones(rung(points) or points, dtype=torch.bool, device="meta")
        tensors, facts = model.carried(state)
        work, inputs = step_work(model, facts), (tensors, frame, held)
        return counted(lambda: apart(work(inputs), inputs))


def row(name: str, precision: str, device: Device) -> Row:
    """The step of one tracker."""
    work = step_of(name, precision)
    busy = device.busy(work)
    slow = replace(device, least=1.5 * device.least, least_product=1.5 * device.least_product)
    eager = max(busy, work.launches * device.launch) + device.frame
    return Row(
        name,
        precision,
        work.launches,
        round(work.flops / 1e9, 1),
        round(work.bytes / 2**20, 1),
        round(1 / eager),
        round(1 / (busy + device.frame)),
        round(1 / (slow.busy(work) + device.frame)),
    )


@dataclass(frozen=True)
class Whole:
    """A whole clip."""

    precision: str
    tflop: float
    gib: float
    launches: int
    seconds: float
    microseconds: float
    """For a point on a frame."""
    times: dict[str, float]
    """As fast as published, by where."""


def whole(precision: str, device: Device) -> Whole:
    """CoTracker3 over a clip, by PyTorch's operators (not the kernel of our own)."""
    name, points, frames, size = CLIP
    with on_meta():
        model = model_on_meta(name, precision)
        handed = model.frame_size(size) or size
        images = torch.empty(frames, 3, *handed, dtype=torch.uint8, device="meta")
        queries = torch.zeros(points, 3, device="meta")
        work = counted(lambda: model.track(model.encode(images), handed, queries))
    seconds = max(device.busy(work), work.launches * device.launch)
    each = seconds / points / frames
    times = {where: round(published / each, 1) for where, published in PUBLISHED.items()}
    return Whole(
        precision,
        round(work.flops / 1e12, 2),
        round(work.bytes / 2**30, 1),
        work.launches,
        round(seconds, 3),
        round(1e6 * each, 2),
        times,
    )


def calculated(device: Device) -> dict[str, Any]:
    """All figures."""
    steps = [row(name, precision, device) for precision in ("float32", "bfloat16") for name in STEPS]
    clips = [whole(precision, device) for precision in ("float32", "bfloat16")]
    return {"device": asdict(device), "steps": [asdict(r) for r in steps], "clip": [asdict(c) for c in clips]}


def section(found: dict[str, Any]) -> str:
    """The tables in Markdown."""
    device, lines = found["device"], []
    lines += [
        f"A step with {POINTS} points at {SIZE[1]}x{SIZE[0]} on an {device['name']}:",
        "",
        "| tracker | type | launches | GFLOP | MiB moved | steps/s as ever | recorded | with longer least times |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['model']} | {r['precision']} | {r['launches']} | {r['gflop']} | {r['mib']} | {r['eager']} | "
        f"{r['recorded']} | {r['slower']} |"
        for r in found["steps"]
    ]
    name, points, frames, size = CLIP
    lines += [
        "",
        f"A clip of {frames} frames of {size[1]}x{size[0]} with {points} points, {name}, without recording:",
        "",
        "| type | TFLOP | GiB moved | launches | seconds | µs for a point on a frame | "
        + " | ".join(f"times {where}" for where in PUBLISHED)
        + " |",
        "|---|---|---|---|---|---|" + "---|" * len(PUBLISHED),
    ]
    lines += [
        f"| {c['precision']} | {c['tflop']} | {c['gib']} | {c['launches']} | {c['seconds']} | {c['microseconds']} | "
        + " | ".join(f"{c['times'][where]:g}" for where in PUBLISHED)
        + " |"
        for c in found["clip"]
    ]
    assumed = (
        f"Taken from the data sheet: {device['float32'] / 1e12:g} TFLOP/s in float32 (TF32 off), "
        f"{device['bfloat16'] / 1e12:g} in bfloat16, {device['bandwidth'] / 1e12:g} TB/s. Assumed: "
        f"{device['products_share']:.0%} of the products' rate and {device['memory_share']:.0%} of the memory's; "
        f"{1e6 * device['launch']:g} µs of the host for a launch, {1e6 * device['least']:g} µs of the device at least "
        f"for a piece of work ({1e6 * device['least_product']:g} for a product of matrices), "
        f"{1e6 * device['frame']:g} µs a frame for its upload and the answers. A recorded step is asked for in one "
        "launch, whatever its size. The last column has the least times half as long again."
    )
    lines += ["", assumed]
    return "\n".join(lines)


def with_section(text: str, found: dict[str, Any]) -> str:
    """The page with the section of now between its marks. Raises ValueError where they are missing."""
    return between(text, BEGIN, END, f"\n\n{section(found)}\n\n", PAGE.name)


def missed(found: dict[str, Any]) -> list[str]:
    """Which bars are not reached by the calculation."""
    wrong = [
        f"{r['model']} in {r['precision']}: {r['recorded']} steps/s"
        for r in found["steps"]
        if r["model"] in ("strand", "tapir-causal") and r["recorded"] < BARS["steps"]
    ]
    for clip in found["clip"]:
        if min(clip["times"].values()) < BARS[clip["precision"]]:
            wrong.append(f"{CLIP[0]} in {clip['precision']}: {min(clip['times'].values())} times the published rate")
    return wrong


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="into the page and the results")
    parser.add_argument("--check", action="store_true", help="exit 1 if the page has other figures")
    chosen = parser.parse_args(arguments)
    found = calculated(Device())
    text = PAGE.read_text(encoding="utf-8")
    if chosen.check:
        if with_section(text, found) != text:
            print("docs/how-to/gpu.md has other figures: python tools/gpu_calculation.py --write")
            return 1
        return 0
    print(section(found))
    for line in missed(found):
        print(f"below its bar: {line}")
    if chosen.write:
        PAGE.write_text(with_section(text, found), encoding="utf-8", newline="\n")
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

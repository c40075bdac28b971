"""How long a synthetic clip takes: `python -m tapkit.synth.measure`, which docs/synth.md quotes."""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path

import torch

from tapkit.errors import StorageError
from tapkit.synth.batch import ClipMaker
from tapkit.synth.config import SynthConfig
from tapkit.synth.photos import PhotoBank

CASES: dict[str, tuple[SynthConfig, int]] = {
    "128x128, 10 frames, default settings": (SynthConfig(), 16),
    "the same without motion blur and bodies": (SynthConfig(blurred=0, solids=0), 16),
    "the same, a body in every clip": (SynthConfig(solids=1, blurred=0), 16),
    "the same, motion blur in every clip": (SynthConfig(solids=0, blurred=1), 16),
    "256x256, 24 frames, default settings": (SynthConfig(frames=24, size=(256, 256)), 4),
}


def seconds_per_clip(maker: ClipMaker, clips: int, clock: Callable[[], float]) -> float:
    """Seconds of `clock` that one clip of a batch of `clips` takes, after a batch that warms up."""
    maker.batch(2, 0)
    _wait(maker.device)
    start = clock()
    maker.batch(clips, 1)
    _wait(maker.device)
    return (clock() - start) / clips


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _workload(path: Path) -> Callable[..., float]:
    """`calibrate` of a file like parity/calibrate.py."""
    spec = importlib.util.spec_from_file_location("calibrate", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise StorageError(f"{path} is not a Python file with a function calibrate")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[..., float] = module.calibrate
    return found


def main() -> None:
    """Print the table of docs/synth.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="folder of photographs; default: procedural textures")
    parser.add_argument("--limit", type=int, default=60, help="photographs read")
    parser.add_argument(
        "--calibrate", type=Path, help="a file with the fixed workload, to give times as multiples of it"
    )
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    clock = time.process_time if options.device == "cpu" else time.perf_counter
    bank = PhotoBank.load(options.photos, limit=options.limit) if options.photos else None
    workload = _workload(options.calibrate) if options.calibrate else None
    print("| clip | ms | x calibrate |\n|---|---|---|")
    for name, (config, clips) in CASES.items():
        maker = ClipMaker(config, bank, options.device)
        took = seconds_per_clip(maker, clips, clock)
        unit = workload(options.device, clock=clock) if workload else None
        print(f"| {name} | {1000 * took:.0f} | {'' if unit is None else f'{took / unit:.2f}'} |", flush=True)


if __name__ == "__main__":
    main()

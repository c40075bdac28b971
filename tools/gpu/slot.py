"""What `tools/gpu_slot.sh` does on a machine that is lent for minutes: check the GPU, then train strand on it.

Before it trains it checks itself, and ends with a sentence if something is wrong: that shapes fit, that features are in
bfloat16 where they are meant to be, how fast clips are made beside how fast they are learned from, that the loss of one
batch falls. From the time of a step it works out how many there will be, so that the learning rate has come down when
the minutes are over. Everything that goes home is in $OUT: at most 8 files of at most 16 MB.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

TOOLS = Path(__file__).resolve().parents[1]
ROOT = TOOLS.parent
sys.path[:0] = [str(TOOLS), str(ROOT / "src")]

import torch  # noqa: E402

from tapkit import registry, weights  # noqa: E402
from tapkit.evaluation.speed import device_name  # noqa: E402
from tapkit.nn.precision import has_bfloat16  # noqa: E402
from tapkit.train import checkpoint  # noqa: E402
from tapkit.train.config import Stage, TrainConfig  # noqa: E402
from tapkit.train.launch import Data, make_source  # noqa: E402
from tapkit.train.recipe import recipe  # noqa: E402
from tapkit.train.run import Run, RunOptions  # noqa: E402
from tapkit.train.trainer import Trainer  # noqa: E402

MOST_FILES, LARGEST, MOST_BYTES = 8, 16 << 20, 64 << 20
"""That are brought home: files, bytes of each, of all."""
LONGEST_CHECK = 20.0
"""Seconds for the checks before it trains."""
FALLING = 6
"""Steps on one batch, after which its loss must have fallen."""
SPARE = 0.93
"""Of the minutes, for steps; the rest is for measuring, writing, and steps that take longer."""

STAGE = Stage(
    steps=1,
    size=256,
    frames=24,
    batch=16,
    points=192,
    speed=0.7,
    truncate=12,
    train_backbone=False,
    learning_rate=3e-4,
)
"""What is learned on the GPU: all but the backbone, which unlearned what it knows of far places whenever it learned
along (docs/models/strand.md), and whose moments would not fit into what goes home."""
SMALL_STAGE = replace(STAGE, size=64, frames=4, batch=1, points=6, speed=1.0, truncate=2)
"""In the rehearsal."""


class Wrong(RuntimeError):
    """A check failed: nothing was trained."""


@dataclass(frozen=True)
class Slot:
    """What is to be done, and with what."""

    device: torch.device
    out: Path
    """What goes home."""
    work: Path
    """Photographs (photos/) and the run (run/), which may have been begun in an earlier slot."""
    minutes: float
    stage: Stage
    init: Path | None = None
    """Weights to start from; None: those of the package."""

    @property
    def run(self) -> Path:
        """Folder of the run."""
        return self.work / "run"

    @property
    def photos(self) -> Path | None:
        """Folder of photographs; None: procedural textures."""
        folder = self.work / "photos"
        return folder if folder.is_dir() else None


def first_weights(slot: Slot) -> Path:
    """The file that training starts from."""
    if slot.init is not None:
        return slot.init
    _, path = weights.given_or_official(registry.card("strand"), None)
    assert path is not None, "strand's weights are in the package"
    return path


def config_for(slot: Slot, steps: int) -> TrainConfig:
    """One stage of so many steps, for the architecture that the weights have."""
    warmup = min(100, max(steps // 10, 1))
    plain = TrainConfig(stages=(replace(slot.stage, steps=steps),), warmup=warmup, ema_decay=0.999)
    return recipe("strand").fitting(plain, weights.read(first_weights(slot)))


class Fixed:
    """A source of one batch."""

    description = "one batch"

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def batch(self, stage: Stage, seed: int) -> Any:
        """See `BatchSource.batch`."""
        return self._batch


def seconds_of(device: torch.device, call: Callable[[], object]) -> float:
    """Of a call, the device's work included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def self_check(slot: Slot, say: Callable[[str], None]) -> dict[str, float]:
    """Everything that can go wrong in nine minutes, in seconds. Raises `Wrong`."""
    started = time.perf_counter()
    config, stage = config_for(slot, FALLING), slot.stage
    source = make_source(config, slot.run, slot.device, Data(photos=slot.photos))
    source.batch(stage, 0)  # makes what is kept
    making = seconds_of(slot.device, lambda: source.batch(stage, 1)) / stage.batch
    batch = source.batch(stage, 2)
    shapes = {
        "video": (tuple(batch.video.shape), (stage.batch, stage.frames, 3, *stage.shape)),
        "xy": (tuple(batch.xy.shape), (stage.batch, stage.points, stage.frames, 2)),
        "visible": (tuple(batch.visible.shape), (stage.batch, stage.points, stage.frames)),
    }
    for name, (found, wanted) in shapes.items():
        if found != wanted:
            raise Wrong(f"{name} of a batch has the shape {list(found)}, not {list(wanted)}")
    trainable = recipe("strand").build(config, slot.device)
    trainer = Trainer(config, trainable, Fixed(batch), slot.device)
    trainer.start_from(weights.read(first_weights(slot)), "first")
    if has_bfloat16(slot.device) and trainer.dtype != torch.bfloat16:
        raise Wrong(f"features are in {trainer.dtype} on a device that multiplies in bfloat16")
    with torch.no_grad(), torch.autocast(slot.device.type, dtype=trainer.dtype, enabled=trainer.dtype != torch.float32):
        maps = trainer.network.encode(batch.video[0, :1])
    _same("maps of the encoder", [m.dtype for m in maps], trainer.dtype)
    _same("devices of the maps", [m.device.type for m in maps], slot.device.type)
    losses, times = [], []
    for _ in range(FALLING):
        times.append(seconds_of(slot.device, lambda: losses.append(trainer.train_step()["loss"])))
    if not all(torch.isfinite(torch.tensor(losses))) or min(losses[-2:]) >= losses[0]:
        raise Wrong(f"the loss of one batch does not fall: {', '.join(f'{loss:.3f}' for loss in losses)}")
    step = sorted(times[1:])[len(times) // 2 - 1] + making * stage.batch
    took = time.perf_counter() - started
    found = {
        "clips_made_per_second": round(1 / making, 2),
        "step_seconds": round(step, 3),
        "share_of_making": round(making * stage.batch / step, 2),
        "first_loss": round(losses[0], 4),
        "last_loss": round(losses[-1], 4),
        "check_seconds": round(took, 1),
    }
    say(
        f"checked in {took:.1f} s: {1 / making:.1f} clips/s are made, a step takes {step:.2f} s "
        f"({found['share_of_making']:.0%} of it to make its clips), the loss of one batch falls from {losses[0]:.3f} "
        f"to {losses[-1]:.3f}, features in {str(trainer.dtype).removeprefix('torch.')}"
    )
    if took > LONGEST_CHECK:
        say(f"that took longer than {LONGEST_CHECK:.0f} s, which will be missing")
    return found


def _same(what: str, found: list[Any], wanted: Any) -> None:
    if any(value != wanted for value in found):
        raise Wrong(f"{what}: {', '.join(map(str, found))}, not {wanted}")


def train(slot: Slot, say: Callable[[str], None]) -> dict[str, Any]:
    """Check, train, and put into `out` what goes home. Raises `Wrong`."""
    begun = time.monotonic()
    checked = self_check(slot, say)
    resumed = checkpoint.exists(slot.run / "state")
    left = slot.minutes - (time.monotonic() - begun) / 60
    if resumed:
        config = TrainConfig.from_dict(checkpoint.read_run(slot.run / "state")["config"])
    else:
        config = config_for(slot, max(int(60 * left * SPARE / checked["step_seconds"]), 2))
    source = make_source(config, slot.run, slot.device, Data(photos=slot.photos))
    trainer = Trainer(config, recipe("strand").build(config, slot.device), source, slot.device)
    options = RunOptions(
        out=slot.run,
        minutes=max(left * (1 + SPARE) / 2, 0.02),  # a step at least
        resume=resumed,
        init=None if resumed else first_weights(slot),
        export=slot.run / "strand.safetensors",
        checkpoint_minutes=2.0,
        validate_minutes=60.0,
        compact=True,
        command=f"tools/gpu_slot.sh train --minutes {slot.minutes:g}",
    )
    measured = Run(trainer, options).run(say)
    facts = {**checked, "steps": trainer.step, "of": config.steps, "measured": measured}
    facts |= {"device": device_name(slot.device), "torch": torch.__version__, "minutes": slot.minutes}
    (slot.run / "slot.json").write_text(json.dumps(facts, indent=1))
    return facts


def pack(slot: Slot, say: Callable[[str], None]) -> list[Path]:
    """Put what goes home into `out`: the weights, the tables and reports in one archive, and, if there is room, the
    state with which the run can be resumed."""
    slot.out.mkdir(parents=True, exist_ok=True)
    single = slot.run / "strand.safetensors"
    small = [
        *(slot.run / name for name in ("strand.json", "train.csv", "validation.csv", "slot.json")),
        slot.work / "gpu_check.json",
    ]
    with tarfile.open(slot.out / "reports.tar.gz", "w:gz") as archive:
        for path in small:
            if path.is_file():
                archive.add(path, path.name)
    if single.is_file():
        shutil.copy2(single, slot.out / single.name)
    state = sorted((slot.run / "state").glob("*")) if (slot.run / "state").is_dir() else []
    there = [path for path in slot.out.iterdir() if path.is_file() and path.name not in {part.name for part in state}]
    size = sum(path.stat().st_size for path in [*there, *state])
    fits = len(there) + len(state) <= MOST_FILES and size <= MOST_BYTES
    if fits and all(path.stat().st_size <= LARGEST for path in state):
        for path in state:
            shutil.copy2(path, slot.out / path.name)
    elif state:
        say(f"the state has {len(state)} files and stays here: beside the weights it does not fit into what goes home")
    brought = sorted(path for path in slot.out.iterdir() if path.is_file())
    for path in brought:
        if path.stat().st_size > LARGEST:
            say(f"{path.name} is larger than {LARGEST >> 20} MB and will not be taken")
    say(f"{len(brought)} files in {slot.out}: " + ", ".join(path.name for path in brought))
    return brought


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 1 if `gpu_check` found a fault, 2 if nothing could be trained."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("all", "check", "train"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--check-seconds", type=float, default=240.0, help="for gpu_check")
    parser.add_argument("--minutes", type=float, default=9.0, help="of training, the checks before it included")
    parser.add_argument("--work", type=Path, default=ROOT / ".gpu", help="photos/ and run/")
    parser.add_argument("--init", type=Path, default=None, help="weights to start from (default: the package's)")
    parser.add_argument("--small", action="store_true", help="the rehearsal, in small")
    chosen = parser.parse_args(arguments)
    stage = SMALL_STAGE if chosen.small else STAGE
    out = Path(os.environ.get("OUT", "gpu-out"))
    slot = Slot(torch.device(chosen.device), out, chosen.work, chosen.minutes, stage, chosen.init)
    slot.work.mkdir(parents=True, exist_ok=True)
    say, status = partial(print, flush=True), 0
    if chosen.part != "train":
        import gpu_check

        given = ["--device", chosen.device, "--seconds", str(chosen.check_seconds)]
        given += ["--json", str(slot.work / "gpu_check.json")]
        given += ["--small", "--model", "strand"] if chosen.small else []
        status = gpu_check.main(given)
    try:
        if chosen.part != "check":
            train(slot, say)
    except Wrong as wrong:
        print(f"not trained: {wrong}", file=sys.stderr)
        status = 2
    finally:
        pack(slot, say)
    return status


if __name__ == "__main__":
    raise SystemExit(main())

"""From options, as typed, to a run: shared by `tapkit train` and `python -m tapkit.train` (which needs no typer)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tapkit.train.config import PRESETS, TrainConfig, preset
from tapkit.train.data import FolderLessons, MadeLessons, MixedLessons
from tapkit.train.lesson import Lessons
from tapkit.train.loop import RunOptions, Trainer
from tapkit.train.pool import PooledLessons

SHARE = 0.4
"""Of the clips are the folder's, where both are learned from."""


def choose_device(name: str) -> torch.device:
    """ "auto" is this process's own CUDA device where there is one, else the CPU."""
    if name != "auto":
        return torch.device(name)
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def start(
    *,
    name: str,
    options: RunOptions,
    photos: Path | None = None,
    models: Path | None = None,
    data: Path | None = None,
    share: float = SHARE,
    device: str = "auto",
    curriculum_steps: int | None = None,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train as a preset says, on made clips, a folder's (`data`) or both. Returns what was measured last.

    A run that is resumed keeps the configuration that it began with. Raises `UsageError`, `StorageError`,
    `WeightsError`, `Diverged`.
    """
    place = choose_device(device)
    config = preset(name, curriculum_steps, seed=seed)
    if options.resume:
        config = _resumed(options.out)
    lessons = _lessons(config, options.out, place, photos, models, data, share)
    return dict(Trainer(config, lessons, place, options).run(say))


def _lessons(
    config: TrainConfig,
    out: Path,
    device: torch.device,
    photos: Path | None,
    models: Path | None,
    data: Path | None,
    share: float,
) -> Lessons:
    """Made clips, a folder's clips (`data` alone), or both (with `photos` or `models`: `share` of the folder's)."""
    made = photos is not None or models is not None
    if data is not None and not made:
        return FolderLessons(data, device)
    lessons: Lessons = MadeLessons(photos, device, models)
    if config.pool is not None:
        lessons = PooledLessons(lessons, config.pool, out / "pool", device)
    if data is None:
        return lessons
    return MixedLessons(lessons, FolderLessons(data, device, trouble=True), share)


def _resumed(out: Path) -> TrainConfig:
    from tapkit.train import checkpoint

    return TrainConfig.from_dict(checkpoint.read_run(out / "state")["config"])


def preset_names() -> str:
    """For help texts."""
    return ", ".join(PRESETS)

"""From options, as typed, to a run: shared by `tapkit train` and `python -m tapkit.train` (which needs no typer)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tapkit.errors import UsageError
from tapkit.train.config import PRESETS, TrainConfig, preset
from tapkit.train.data import FolderLessons, MadeLessons
from tapkit.train.lesson import Lessons
from tapkit.train.loop import RunOptions, Trainer
from tapkit.train.pool import PooledLessons


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
    device: str = "auto",
    curriculum_steps: int | None = None,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train as a preset says, on made clips or (`data`) a folder's. Returns what was measured last.

    A run that is resumed keeps the configuration that it began with. Raises `UsageError`, `StorageError`,
    `WeightsError`, `Diverged`.
    """
    place = choose_device(device)
    if data is not None and (photos is not None or models is not None):
        raise UsageError("give either --photos and --models (made clips) or --data (your own clips)")
    config = preset(name, curriculum_steps, seed=seed)
    if options.resume:
        config = _resumed(options.out)
    lessons: Lessons = MadeLessons(photos, place, models) if data is None else FolderLessons(data, place)
    if config.pool is not None and data is None:
        lessons = PooledLessons(lessons, config.pool, options.out / "pool", place)
    return dict(Trainer(config, lessons, place, options).run(say))


def _resumed(out: Path) -> TrainConfig:
    from tapkit.train import checkpoint

    return TrainConfig.from_dict(checkpoint.read_run(out / "state")["config"])


def preset_names() -> str:
    """For help texts."""
    return ", ".join(PRESETS)

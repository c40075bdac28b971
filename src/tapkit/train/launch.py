"""From options, as typed, to a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tapkit import registry, weights
from tapkit.errors import StorageError, UsageError
from tapkit.train import checkpoint
from tapkit.train.batch import BatchSource
from tapkit.train.cache import CachedSource
from tapkit.train.config import TrainConfig
from tapkit.train.distort import AugmentedSource
from tapkit.train.pseudo.dataset import is_pseudo_labelled
from tapkit.train.recipe import recipe
from tapkit.train.run import Run, RunOptions
from tapkit.train.schedule import preset
from tapkit.train.sources import FolderSource, MixedSource, SyntheticSource
from tapkit.train.trainer import Trainer
from tapkit.train.workers import training_device


@dataclass(frozen=True)
class Data:
    """What is trained on: synthetic clips, a folder's (`folder` alone), or both (`folder` with photos or models).

    `folder` is any set of annotated clips that `datasets.find` recognises; for models that learn without labels it, or
    `videos`, may also be plain videos.
    """

    photos: Path | None = None
    """Folder of photographs that synthetic clips are composed of; None: procedural textures."""
    models: Path | None = None
    """Folder of GLB models for them; None: built-in bodies."""
    folder: Path | None = None
    """Annotated clips: tapkit's folder format, MOVi, Kubric, PointOdyssey, chains of flow, ...; or plain videos."""
    share: float = 0.4
    """Of the folder's clips, where both are trained on."""
    videos: Path | None = None
    """Folder of videos without annotation, or one video."""
    gap: int = 1
    """Frames from one frame of a piece of these videos to the next."""


def launch(
    name: str | None,
    data: Data,
    options: RunOptions,
    *,
    model: str = "strand",
    total_steps: int | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    say: Callable[[str], None] = print,
) -> Mapping[str, Any]:
    """Train as a preset says (None: the model's first). Returns what was measured last.

    A run that is resumed keeps the configuration that it began with: model, preset, steps and seed are then unused.

    Raises:
        UsageError: an unknown model, preset, device or precision; a folder that holds a run already.
        StorageError: nothing to resume; data or state that cannot be read or written.
        WeightsError: `options.init` does not fit.
        Diverged: the gradients stopped being finite.
    """
    place = training_device(device)
    if options.resume:
        config = TrainConfig.from_dict(checkpoint.read_run(options.out / "state")["config"])
    else:
        presets = recipe(model).presets
        config = preset(presets, name or default_preset(presets, data, say), total_steps, seed=seed)
    if options.init == OFFICIAL:
        options = replace(options, init=official_weights(config.model))
    if options.init is not None and not options.resume:
        config = recipe(config.model).fitting(config, weights.read(options.init))
    source = make_source(config, options.out, place, data)
    trainable = recipe(config.model).build(config, place)
    return Run(Trainer(config, trainable, source, place, precision), options).run(say)


OFFICIAL = Path("official")
"""Given as the weights to start from: those that the authors published."""


def official_weights(model: str) -> Path:
    """The file of the authors' weights, downloaded if need be. Raises `UsageError` where there are none."""
    card = registry.card(model)
    if not card.weights_url:
        raise UsageError(f"{model} has no published weights to start from; --init takes a file")
    return weights.obtain(card)


PSEUDO = "pseudo-labels"
"""Name of the preset of students: what a model learns from pseudo-labels, and what not."""


def default_preset(presets: Mapping[str, TrainConfig], data: Data, say: Callable[[str], None]) -> str:
    """The preset that is meant where none is named: the model's first, or the student's where `data` calls for it."""
    first = next(iter(presets))
    if data.folder is None or not is_pseudo_labelled(data.folder):
        return first
    if PSEUDO in presets:
        say(f"{data.folder} holds pseudo-labels: preset {PSEUDO}, in which visibility and confidence are not learned")
        return PSEUDO
    say(f"{data.folder} holds pseudo-labels, for which this model has no preset: visibility is learned from them too")
    return first


def make_source(config: TrainConfig, out: Path, device: torch.device, data: Data) -> BatchSource:
    """The source of batches for a run in folder `out`."""
    source = _plain_source(config, out, device, data)
    return source if config.augmentation is None else AugmentedSource(source, config.augmentation)


def _plain_source(config: TrainConfig, out: Path, device: torch.device, data: Data) -> BatchSource:
    if data.videos is not None:
        return _video_source(config, device, data)
    if data.folder is not None and data.photos is None and data.models is None:
        try:
            return FolderSource(data.folder, device)
        except StorageError:
            if not recipe(config.model).unlabelled:
                raise
        return _video_source(config, device, replace(data, folder=None, videos=data.folder))
    source: BatchSource = SyntheticSource(data.photos, device, data.models)
    if config.cache is not None:
        source = CachedSource(source, config.cache, cache_folder(out), device)
    if data.folder is None:
        return source
    return MixedSource(source, FolderSource(data.folder, device, augment=True), data.share)


def _video_source(config: TrainConfig, device: torch.device, data: Data) -> BatchSource:
    assert data.videos is not None
    if not recipe(config.model).unlabelled:
        raise UsageError(f"{config.model} needs annotated clips: it cannot learn from videos alone")
    if data.folder is not None:
        raise UsageError("train on videos or on a folder of annotated clips, not on both")
    from tapkit.train.videos import VideoSource

    return VideoSource(data.videos, device, data.gap, SyntheticSource(data.photos, device, data.models))


def cache_folder(out: Path) -> Path:
    """Where a run keeps its synthetic clips; runs that older versions began have them in `pool`."""
    old = out / "pool"
    return old if old.is_dir() else out / "cache"

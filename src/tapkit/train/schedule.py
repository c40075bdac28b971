"""The course of a run as pure functions of its configuration and the number of the step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import cos, pi
from typing import Any

import numpy as np

from tapkit.errors import UsageError
from tapkit.train.config import Stage, TrainConfig


def stage_at(config: TrainConfig, step: int) -> tuple[int, Stage]:
    """Number and settings of the stage that `step` (from 0) belongs to; the last one beyond the end."""
    for number, stage in enumerate(config.stages):
        if step < stage.steps:
            return number, stage
        step -= stage.steps
    return len(config.stages) - 1, config.stages[-1]


def first_step(config: TrainConfig, number: int) -> int:
    """The step with which a stage begins."""
    return sum(stage.steps for stage in config.stages[:number])


ONE_CYCLE_START, ONE_CYCLE_END = 1 / 25, 1 / 25e4
"""Shares of the peak rate with which one cycle begins and ends."""
ONE_CYCLE_BEYOND = 100
"""Steps by which it is longer than the run: the authors of the trackers leave room so that it never runs out."""


def learning_rate(config: TrainConfig, step: int) -> float:
    """The schedule over the whole curriculum, or over a stage that has a rate of its own."""
    number, stage = stage_at(config, step)
    peak, length, warmup = config.learning_rate, config.steps, config.warmup
    if stage.learning_rate is not None:
        step -= first_step(config, number)
        peak, length, warmup = stage.learning_rate, stage.steps, min(warmup, max(stage.steps // 10, 1))
    if config.schedule != "cosine":
        return peak * _one_cycle(step, length + ONE_CYCLE_BEYOND, warmup, config.schedule == "one-cycle-linear")
    if step < warmup:
        return peak * (step + 1) / warmup
    done = min((step - warmup) / max(length - warmup, 1), 1.0)
    return peak * (config.final_rate + (1 - config.final_rate) * 0.5 * (1 + cos(pi * done)))


def _one_cycle(step: int, length: int, warmup: int, linear: bool) -> float:
    """The share of the peak at a step, as PyTorch's OneCycleLR has it (`warmup` is its pct_start times `length`)."""
    rises = step < warmup - 1
    begin, end = (0, warmup - 1) if rises else (max(warmup - 1, 0), length - 1)
    low, high = (ONE_CYCLE_START, 1.0) if rises else (1.0, ONE_CYCLE_END)
    done = min((step - begin) / max(end - begin, 1), 1.0)
    return low + (high - low) * (done if linear else 0.5 * (1 - cos(pi * done)))


def ema_decay(config: TrainConfig, step: int, pretrained: bool) -> float:
    """The decay of the averaged weights after `step` steps: random weights are forgotten fast, good ones are not."""
    return config.ema_decay if pretrained else min(config.ema_decay, (1 + step) / (10 + step))


def batch_seed(config: TrainConfig, step: int, rank: int, workers: int) -> int:
    """Of the batch of a step on process `rank` of `workers`: from the step alone, so that a resumed run is exact."""
    return (config.seed * 1_000_003 + step) * workers + rank


def step_of(config: TrainConfig, seed: int, workers: int) -> int:
    """The step of a `batch_seed`."""
    return seed // workers - config.seed * 1_000_003


def validation_stage(stage: Stage) -> Stage:
    """The stage whose clips are measured on: one clip at a time, and never fewer than 8 frames."""
    return Stage(1, stage.size, max(stage.frames, 8), 1, stage.points, 1.0, height=stage.height)


def drawn_stage(stage: Stage, seed: int) -> Stage:
    """The stage with the length of clips that a batch has, where lengths are drawn."""
    if stage.least_frames is None:
        return stage
    frames = int(np.random.default_rng([seed, 2]).integers(stage.least_frames, stage.frames + 1))
    return replace(stage, frames=frames, least_frames=None)


def preset(presets: Mapping[str, TrainConfig], name: str, steps: int | None = None, **changes: Any) -> TrainConfig:
    """A preset by name, its stages shortened or lengthened in proportion to `steps` in all, fields changed.

    Raises `UsageError` for an unknown name or fewer steps than stages.
    """
    if name not in presets:
        raise UsageError(f"there is no preset {name!r}; there are {', '.join(presets)}")
    config = presets[name]
    if steps is not None:
        if steps < len(config.stages):
            raise UsageError(f"{name} has {len(config.stages)} stages and needs at least as many steps, got {steps}")
        # Ends in proportion, but a step for each at least; the last end is exact.
        ends = [first_step(config, number + 1) for number in range(len(config.stages))]
        left = len(ends) - 1
        ends = [min(max(round(end * steps / config.steps), n + 1), steps - left + n) for n, end in enumerate(ends)]
        lengths = [end - before for before, end in zip([0, *ends], ends, strict=False)]
        stages = [replace(stage, steps=count) for stage, count in zip(config.stages, lengths, strict=True)]
        warmup = min(config.warmup, max(steps // 20, 1))
        if config.schedule != "cosine":  # there it is a share of the whole
            warmup = round(config.warmup * steps / config.steps)
        config = replace(config, stages=tuple(stages), warmup=warmup)
    return replace(config, **changes)

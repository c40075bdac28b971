"""The course of a run as pure functions of its configuration and the number of the step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import cos, pi
from typing import Any

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


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then half a cosine, over the whole curriculum or over a stage that has a rate of its own."""
    number, stage = stage_at(config, step)
    peak, length, warmup = config.learning_rate, config.steps, config.warmup
    if stage.learning_rate is not None:
        step -= first_step(config, number)
        peak, length, warmup = stage.learning_rate, stage.steps, min(warmup, max(stage.steps // 10, 1))
    if step < warmup:
        return peak * (step + 1) / warmup
    done = min((step - warmup) / max(length - warmup, 1), 1.0)
    return peak * (config.final_rate + (1 - config.final_rate) * 0.5 * (1 + cos(pi * done)))


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
    return Stage(1, stage.size, max(stage.frames, 8), 1, stage.points, 1.0)


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
        config = replace(config, stages=tuple(stages), warmup=min(config.warmup, max(steps // 20, 1)))
    return replace(config, **changes)

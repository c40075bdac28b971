"""The schedule: learning rates, stages, presets stretched to a number of steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tapkit.errors import UsageError
from tapkit.train.config import Stage, TrainConfig
from tapkit.train.schedule import batch_seed, ema_decay, first_step, learning_rate, preset, stage_at, validation_stage
from tapkit.train.strand.presets import PRESETS

STAGES = (
    Stage(2, 64, 3, 2, 6, task="matching", learning_rate=1e-3),
    Stage(2, 64, 4, 1, 6, train_encoder=False),
    Stage(2, 64, 4, 1, 6, truncate=2, learning_rate=3e-4),
)


def test_the_learning_rate_grows_then_falls():
    config = preset(PRESETS, "finetune")
    rates = [learning_rate(config, step) for step in (0, config.warmup - 1, config.steps // 2, config.steps)]
    assert rates[0] < rates[2] < rates[1] == config.learning_rate
    assert rates[3] == pytest.approx(config.learning_rate * config.final_rate)


def test_a_stage_may_have_a_learning_rate_of_its_own():
    config = TrainConfig(STAGES, warmup=2, final_rate=0.5)
    rates = [learning_rate(config, step) for step in range(6)]
    assert rates[0] == 1e-3 and rates[1] == pytest.approx(1e-3)
    assert rates[4] == pytest.approx(3e-4)
    assert rates[2] > rates[3]
    assert rates[3] == pytest.approx(config.learning_rate * (0.5 + 0.25 * (1 + np.cos(np.pi / 4))))


def test_every_step_belongs_to_a_stage_and_steps_beyond_the_end_to_the_last():
    config = TrainConfig(STAGES)
    assert [stage_at(config, step)[0] for step in range(8)] == [0, 0, 1, 1, 2, 2, 2, 2]
    assert [first_step(config, number) for number in range(3)] == [0, 2, 4]


def test_no_two_processes_or_steps_share_a_seed():
    config = TrainConfig(STAGES, seed=3)
    seeds = {batch_seed(config, step, rank, 4) for step in range(50) for rank in range(4)}
    assert len(seeds) == 200
    assert not seeds & {batch_seed(replace(config, seed=4), step, rank, 4) for step in range(50) for rank in range(4)}


def test_random_weights_leave_the_average_quickly_and_pretrained_ones_slowly():
    config = TrainConfig(STAGES, ema_decay=0.99)
    assert ema_decay(config, 0, pretrained=False) == 0.1 and ema_decay(config, 0, pretrained=True) == 0.99
    assert ema_decay(config, 10_000, pretrained=False) == 0.99


def test_validation_clips_are_alone_and_long_enough():
    stage = validation_stage(Stage(9, 128, 4, 16, 50, speed=3.0, task="matching"))
    assert (stage.size, stage.frames, stage.batch, stage.points) == (128, 8, 1, 50)
    assert stage.speed == 1 and stage.task == "tracking"


@pytest.mark.parametrize("name", list(PRESETS))
@pytest.mark.parametrize("steps", [7, 1000])
def test_presets_are_stretched_to_exactly_the_steps_asked_for(name, steps):
    config = preset(PRESETS, name, steps, seed=3)
    assert config.steps == steps and config.seed == 3
    assert len(config.stages) == len(PRESETS[name].stages)


def test_impossible_presets_are_refused():
    with pytest.raises(UsageError, match="no preset"):
        preset(PRESETS, "huge")
    with pytest.raises(UsageError, match="stages"):
        preset(PRESETS, "cpu", 2)


@pytest.mark.parametrize(("kind", "shape"), [("one-cycle-cosine", "cos"), ("one-cycle-linear", "linear")])
@pytest.mark.parametrize("warmup", [0, 10])
def test_one_cycle_is_pytorchs(kind, shape, warmup):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 2e-3, total_steps=100 + 100, pct_start=warmup / 200, anneal_strategy=shape, cycle_momentum=False
    )
    config = TrainConfig((Stage(100, 64, 3, 1, 1),), learning_rate=2e-3, warmup=warmup, schedule=kind)
    for step in range(100):
        if warmup or step:  # PyTorch starts a cycle without warm-up one step into its descent
            assert learning_rate(config, step) == pytest.approx(theirs.get_last_lr()[0], rel=0.02), step
        optimizer.step()
        theirs.step()


def test_one_cycle_is_shortened_with_its_warmup():
    from tapkit.train.cotracker.presets import PRESETS_ONLINE

    assert preset(PRESETS_ONLINE, "kubric", 1000).warmup == 50

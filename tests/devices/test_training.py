"""Training steps on a simulated GPU and on simulated MPS."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from simulated import simulated

from tapkit.flow.gmrw.network import GmrwNetwork
from tapkit.train.batch import Batch
from tapkit.train.config import Stage, TrainConfig
from tapkit.train.distort import AugmentedSource
from tapkit.train.gmrw import recipe as gmrw
from tapkit.train.gmrw.settings import GmrwSettings
from tapkit.train.recipe import RECIPES, recipe
from tapkit.train.strand import recipe as strand
from tapkit.train.trainer import Trainer

STRAND = TrainConfig(
    stages=(
        Stage(1, 64, 3, 1, 6, task="matching", learning_rate=1e-3),
        Stage(1, 64, 4, 1, 6, train_encoder=False),
        Stage(1, 64, 4, 1, 6, truncate=2, learning_rate=3e-4),
    ),
    warmup=2,
    ema_decay=0.9,
)
GMRW = TrainConfig(
    stages=(Stage(1, 64, 2, 1, 8, speed=0.5),), warmup=2, ema_decay=0.9, model="gmrw", settings=GmrwSettings(crop=48)
)


class Noise:
    """Batches of noise that lie on a device."""

    description = "noise"

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def batch(self, stage: Stage, seed: int) -> Batch:
        draw = torch.Generator().manual_seed(seed)
        coarse = torch.rand(stage.batch * stage.frames, 3, 9, 9, generator=draw)
        video = F.interpolate(coarse, (stage.size, stage.size), mode="bilinear").mul(255).byte()
        xy = torch.rand(stage.batch, stage.points, stage.frames, 2, generator=draw) * stage.size
        seen = torch.ones(xy.shape[:3], dtype=torch.bool)
        video = video.view(stage.batch, stage.frames, *video.shape[1:])
        return Batch(*(part.to(self.device) for part in (video, xy, seen, seen)))


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_strand_learns_on_its_device(kind: str):
    with simulated(kind) as machine:
        device = torch.device(kind)
        trainer = Trainer(STRAND, strand.build(STRAND, device), Noise(device), device, "float32")
        for _ in STRAND.stages:
            machine.waits.clear()
            losses = trainer.train_step()
            assert math.isfinite(losses["loss"])
            per_step = sum(machine.repeated.values()) - 4  # the batch is four tensors
            assert per_step <= 14, machine.repeated
        assert all(value.device == machine.place for value in trainer.tensors().values())


SMALL_ONES = {"cotracker3-online": "tiny", "cotracker3-offline": "tiny"}
"""Presets of small networks; of the others the first."""
SIDES = {"pips2": 128}
"""Frames that some networks need at least; 64 pixels for the others."""
OTHERS = [name for name in RECIPES if name not in ("strand", "gmrw")]
CHECKED = [name for name in OTHERS if name == "cotracker3-offline" or "TAPKIT_EVERY_MODEL" in os.environ]


@pytest.mark.parametrize("name", CHECKED)
def test_the_others_learn_on_their_device(name: str):
    found = recipe(name)
    preset = found.presets[SMALL_ONES.get(name, next(iter(found.presets)))]
    stage = Stage(1, SIDES.get(name, 64), 9, 1, 4)
    config = replace(preset, stages=(stage,), cache=None, warmup=0)
    with simulated() as machine:
        device = torch.device("cuda")
        source: Any = Noise(device)
        if config.augmentation is not None:
            source = AugmentedSource(source, config.augmentation)
        trainer = Trainer(config, found.build(config, device), source, device, "float32")
        assert math.isfinite(trainer.train_step()["loss"])
        assert all(value.device == machine.place for value in trainer.tensors().values())


def test_gmrw_learns_on_its_device():
    with simulated("mps") as machine:
        device = torch.device("mps")
        network = gmrw.initialise(GmrwNetwork(1)).to(device)
        trainable = gmrw.GmrwTraining(network, GMRW, GMRW.settings, 1)
        trainer = Trainer(GMRW, trainable, Noise(device), device, "float32")
        assert math.isfinite(trainer.train_step()["loss"])
        assert all(value.device == machine.place for value in trainer.tensors().values())

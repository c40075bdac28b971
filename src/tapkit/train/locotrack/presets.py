"""Curricula of LocoTrack. Each number's source is in docs/training.md."""

from __future__ import annotations

from dataclasses import replace

from tapkit.train.config import Stage, TrainConfig
from tapkit.train.tapir.presets import COLOURS
from tapkit.train.tapir.settings import MatchingSettings

KUBRIC = TrainConfig(
    stages=(Stage(steps=300_000, size=256, frames=24, batch=4, points=256),),
    learning_rate=1e-3,
    warmup=900,
    weight_decay=1e-3,
    clip_norm=1.0,
    ema_decay=0.0,
    model="locotrack-base",
    settings=MatchingSettings(),
    schedule="one-cycle-cosine",
    betas=(0.9, 0.95),
    undecayed=("*bias*",),
    augmentation=COLOURS,
)
FINETUNE = replace(
    KUBRIC, stages=(Stage(steps=3000, size=256, frames=24, batch=1, points=128),), learning_rate=5e-5, warmup=0
)
"""Clips of one's own; rates are ours, the paper fine-tunes nothing."""
PRESETS_BASE = {"finetune": FINETUNE, "kubric": KUBRIC}
PRESETS_SMALL = {name: replace(config, model="locotrack-small") for name, config in PRESETS_BASE.items()}

"""Curricula of GMRW: the authors', and one for a laptop.

The authors train on four GPUs with one pair on each, at a learning rate of 4e-5 times four that does not change. They
average no weights over time (`ema_decay` 0). `--preset kinetics` is followed by `kinetics-finetune`, started from its
weights.
"""

from __future__ import annotations

from dataclasses import replace

from tapkit.train.config import Stage, TrainConfig
from tapkit.train.gmrw.settings import GmrwSettings

KUBRIC = TrainConfig(
    stages=(Stage(steps=73_000, size=640, frames=2, batch=1, points=64),),
    learning_rate=1.6e-4,
    final_rate=1.0,
    warmup=1,
    clip_norm=20.0,
    ema_decay=0.0,
    model="gmrw",
    settings=GmrwSettings(),
)
KINETICS = replace(
    KUBRIC,
    stages=(replace(KUBRIC.stages[0], steps=141_000),),
    settings=GmrwSettings(smoothness=0.0),
)
KINETICS_FINETUNE = replace(
    KUBRIC,
    stages=(replace(KUBRIC.stages[0], steps=3000),),
    learning_rate=1.6e-5,
    settings=GmrwSettings(smoothness_from=0, smoothness_full=0, window_threshold=20.0),
)
LAPTOP = TrainConfig(
    stages=(Stage(steps=10_000, size=160, frames=2, batch=2, points=64),),
    learning_rate=3e-4,
    warmup=100,
    clip_norm=20.0,
    ema_decay=0.995,
    model="gmrw",
    settings=GmrwSettings(crop=128, smoothness=20.0, smoothness_from=2000, smoothness_full=5000),
)
PRESETS = {"laptop": LAPTOP, "kubric": KUBRIC, "kinetics": KINETICS, "kinetics-finetune": KINETICS_FINETUNE}

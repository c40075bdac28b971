"""Curricula of PIPs++. Each number's source is in docs/training.md."""

from __future__ import annotations

from dataclasses import replace

from tapkit.train.augmentation import Augmentation
from tapkit.train.config import Stage, TrainConfig
from tapkit.train.pips2.settings import Pips2Settings

LOOK = Augmentation(colours=0.5, per_clip=True, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05, blur=0.05)
"""What of the authors' photometric changes (Albumentations) has a counterpart here."""
POINTODYSSEY = TrainConfig(
    stages=(Stage(steps=200_000, size=384, height=256, frames=36, batch=4, points=128),),
    learning_rate=5e-4,
    warmup=20_010,
    weight_decay=1e-6,
    clip_norm=5.0,
    ema_decay=0.0,
    model="pips2",
    settings=Pips2Settings(),
    schedule="one-cycle-linear",
    betas=(0.9, 0.999),
    undecayed=(),
    augmentation=LOOK,
)
HIGH_RESOLUTION = replace(
    POINTODYSSEY,
    stages=(Stage(steps=10_000, size=896, height=512, frames=64, batch=1, points=128, paces=(1, 2)),),
    learning_rate=1e-5,
    warmup=0,
    clip_norm=1.0,
    settings=Pips2Settings(iterations=4),
)
"""The authors' second stage; its learning rate is ours."""
FINETUNE = replace(
    HIGH_RESOLUTION,
    stages=(Stage(steps=3000, size=512, height=384, frames=36, batch=1, points=128, paces=(1, 2)),),
    learning_rate=3e-5,
    settings=Pips2Settings(),
)
"""Clips of one's own; rates and size are ours."""
PRESETS = {"finetune": FINETUNE, "pointodyssey": POINTODYSSEY, "high-resolution": HIGH_RESOLUTION}

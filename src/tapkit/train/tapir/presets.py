"""Curricula of TAPIR. Each number's source is in docs/training.md."""

from __future__ import annotations

from dataclasses import replace

from tapkit.train.augmentation import Augmentation
from tapkit.train.config import Stage, TrainConfig
from tapkit.train.tapir.settings import MatchingSettings

COLOURS = Augmentation(colours=0.8, per_clip=True, brightness=32 / 255, contrast=0.4, saturation=0.4, hue=0.2, grey=0.2)
"""Of all trackers of TAP-Net's family: the same change for all frames of a clip."""
KUBRIC = TrainConfig(
    stages=(Stage(steps=100_000, size=256, frames=24, batch=8, points=256),),
    learning_rate=1e-3,
    final_rate=0.0,
    warmup=1000,
    weight_decay=0.1,
    clip_norm=None,
    ema_decay=0.0,
    model="tapir",
    settings=MatchingSettings(),
    betas=(0.9, 0.95),
    undecayed=("*layer_norm*", "torch_pips_mixer*bias", "torch_cost_volume_track_mods*bias"),
    augmentation=COLOURS,
)
FINETUNE = replace(
    KUBRIC, stages=(Stage(steps=3000, size=256, frames=24, batch=1, points=128),), learning_rate=3e-5, warmup=100
)
"""Clips of one's own; rates are ours, the paper fine-tunes nothing."""
PRESETS = {"finetune": FINETUNE, "kubric": KUBRIC}

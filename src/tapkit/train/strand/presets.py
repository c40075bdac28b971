"""Curricula of strand.

Cheap first: features from pairs of frames, which costs nothing but the encoder; then tracking with frozen features;
then all together. What needs length (re-detection, memory, momentum) comes last. A processor synthesises clips more
slowly than it learns from them, so its batches are crops of cached clips; a GPU synthesises each batch anew.
docs/training.md says how long each takes where.
"""

from __future__ import annotations

from tapkit.train.config import ClipCache, Stage, TrainConfig
from tapkit.train.strand.settings import LossWeights, StrandSettings

CPU = TrainConfig(
    stages=(
        Stage(steps=2250, size=160, frames=4, batch=8, points=96, task="matching", learning_rate=1.5e-3),
        Stage(steps=2600, size=192, frames=4, batch=6, points=128, task="matching", learning_rate=1.1e-3),
        Stage(steps=650, size=256, frames=12, batch=4, points=64, truncate=6, train_encoder=False, learning_rate=1e-3),
        Stage(steps=2000, size=256, frames=24, batch=2, points=64, truncate=8, train_encoder=False, learning_rate=8e-4),
        Stage(steps=1000, size=256, frames=24, batch=2, points=80, truncate=8, learning_rate=3e-4),
    ),
    warmup=200,
    ema_decay=0.999,
    cache=ClipCache(2400, solids=0.55),
    settings=StrandSettings(),
)
LAPTOP = TrainConfig(
    stages=(
        Stage(steps=10_000, size=192, frames=4, batch=16, points=192, speed=3.0, task="matching", learning_rate=1.5e-3),
        Stage(
            steps=10_000, size=256, frames=12, batch=4, points=128, truncate=6, train_encoder=False, learning_rate=1e-3
        ),
        Stage(steps=20_000, size=256, frames=16, batch=4, points=128, speed=0.7, truncate=8, learning_rate=4e-4),
        Stage(steps=10_000, size=256, frames=32, batch=2, points=96, truncate=16, learning_rate=2e-4),
    ),
    settings=StrandSettings(),
)
DATACENTER = TrainConfig(
    stages=(
        Stage(steps=8000, size=256, frames=4, batch=48, points=256, speed=3.0, task="matching", learning_rate=2e-3),
        Stage(
            steps=8000,
            size=256,
            frames=16,
            batch=16,
            points=192,
            speed=0.7,
            truncate=8,
            train_encoder=False,
            learning_rate=1e-3,
        ),
        Stage(steps=16_000, size=256, frames=24, batch=8, points=192, speed=0.7, truncate=12, learning_rate=5e-4),
        Stage(steps=4000, size=256, frames=120, batch=3, points=128, truncate=24, learning_rate=2e-4),
    ),
    warmup=500,
    settings=StrandSettings(),
)
FINETUNE = TrainConfig(
    stages=(Stage(steps=3000, size=256, frames=16, batch=1, points=96, truncate=8),),
    learning_rate=5e-5,
    warmup=100,
    ema_decay=0.998,
    settings=StrandSettings(),
)
PSEUDO = TrainConfig(
    stages=(Stage(steps=600, size=256, frames=16, batch=1, points=96, truncate=8),),
    learning_rate=5e-5,
    final_rate=0.0,
    warmup=0,
    weight_decay=1e-5,
    ema_decay=0.0,
    settings=StrandSettings(freeze_visibility=True),
)
"""The student of pseudo-labels. Learning rate, decay, cosine without warm-up, and that visibility and confidence are
frozen, are those of CoTracker3's training on real videos (paper, section 4.2 and appendix)."""
LITE0_CLIPS = ClipCache(640, solids=0.55, crowded=0.45)
"""Of the three presets that follow: nearly half of it are clips of several large bodies."""
LITE0_FEATURES = TrainConfig(
    stages=(
        Stage(
            steps=700,
            size=192,
            frames=4,
            batch=6,
            points=128,
            task="matching",
            learning_rate=2e-3,
            train_backbone=False,
        ),
    ),
    warmup=100,
    ema_decay=0.995,
    cache=LITE0_CLIPS,
    settings=StrandSettings(encoder="lite0", evidence=True),
)
"""Heads over a backbone from ImageNet, which `tools/lite0_backbone.py` makes initial weights of (`--init`)."""
LITE0_TRACKING = TrainConfig(
    stages=(
        Stage(steps=900, size=256, frames=24, batch=2, points=64, truncate=8, train_encoder=False, learning_rate=3e-4),
    ),
    warmup=30,
    ema_decay=0.99,
    cache=LITE0_CLIPS,
    settings=StrandSettings(
        encoder="lite0", evidence=True, feature_noise=0.1, loss_weights=LossWeights(visibility=1.0)
    ),
)
"""The tracking part on top of `LITE0_FEATURES`, features frozen."""
LITE0_TOGETHER = TrainConfig(
    stages=(
        Stage(
            steps=300,
            size=256,
            frames=24,
            batch=2,
            points=80,
            truncate=8,
            train_backbone=False,
            learning_rate=1.5e-4,
        ),
    ),
    warmup=30,
    ema_decay=0.99,
    cache=LITE0_CLIPS,
    settings=LITE0_TRACKING.settings,
)
"""Heads and tracking part together, after `LITE0_TRACKING`."""
PRESETS = {
    "cpu": CPU,
    "laptop": LAPTOP,
    "datacenter": DATACENTER,
    "finetune": FINETUNE,
    "pseudo-labels": PSEUDO,
    "lite0-features": LITE0_FEATURES,
    "lite0-tracking": LITE0_TRACKING,
    "lite0-together": LITE0_TOGETHER,
}

"""Curricula of strand.

Cheap first: features from pairs of frames, which costs nothing but the encoder; then tracking with frozen features;
then all together. What needs length (re-detection, memory, momentum) comes last. A processor synthesises clips more
slowly than it learns from them, so its batches are crops of cached clips; a GPU synthesises each batch anew.
docs/training.md says how long each takes where.
"""

from __future__ import annotations

from dataclasses import replace

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
MATCH = Stage(
    steps=1200,
    size=192,
    frames=4,
    batch=6,
    points=128,
    task="matching",
    learning_rate=2e-3,
    train_backbone=False,
)
"""Heads over the backbone."""
TRACK = Stage(steps=720, size=256, frames=24, batch=2, points=64, truncate=8, train_encoder=False, learning_rate=8e-4)
"""The tracking part on top of them."""
LITE0_CLIPS = ClipCache(400, solids=0.55, crowded=0.45, long=32)
"""Nearly half of them are of several large bodies."""
LITE0 = TrainConfig(
    stages=(
        MATCH,
        replace(TRACK, steps=300, frames=12, batch=4, truncate=6, learning_rate=1e-3),
        TRACK,
        replace(TRACK, steps=50, frames=120, least_frames=96, batch=1, points=96, learning_rate=1.5e-4),
    ),
    final_rate=0.01,
    warmup=100,
    ema_decay=0.9,
    cache=LITE0_CLIPS,
    settings=StrandSettings(
        encoder="lite0", evidence=True, refine=True, feature_noise=0.1, loss_weights=LossWeights(visibility=1.0)
    ),
)
"""From a backbone from ImageNet (`tools/lite0_backbone.py --fresh` makes the weights for `--init`) to a tracker, in one
command of about 75 minutes of a core. Each stage's rate falls to almost nothing, so that the weights at the end count;
what needs more than 24 frames (drift, points that come back late) comes last, from clips that are really that long."""
LITE0_FEATURES = replace(
    LITE0, stages=(replace(MATCH, steps=700),), final_rate=0.03, ema_decay=0.995, cache=replace(LITE0_CLIPS, clips=640)
)
"""Its heads alone, shorter, as those of the weights in the package began."""
LITE0_TRACKING = replace(
    LITE0_FEATURES, stages=(replace(TRACK, steps=900, learning_rate=3e-4),), warmup=30, ema_decay=0.99
)
"""A tracking part that knows other features already, on top of `LITE0_FEATURES`, features frozen."""
LITE0_REFINEMENT = replace(
    LITE0_FEATURES,
    stages=(replace(MATCH, steps=2600, size=224, batch=3, train_encoder=False, learning_rate=1e-3),),
    final_rate=0.02,
    warmup=30,
    cache=ClipCache(240, size=384, solids=0.55, crowded=0.6),
)
"""The refinement alone (`models.strand.refinement`), features frozen; what follows them need not know of it."""
LITE0_TOGETHER = replace(
    LITE0_TRACKING,
    stages=(replace(TRACK, steps=300, points=80, train_encoder=True, train_backbone=False, learning_rate=1.5e-4),),
)
"""Heads and tracking part together, after `LITE0_TRACKING`."""
PRESETS = {
    "cpu": CPU,
    "laptop": LAPTOP,
    "datacenter": DATACENTER,
    "finetune": FINETUNE,
    "pseudo-labels": PSEUDO,
    "lite0": LITE0,
    "lite0-features": LITE0_FEATURES,
    "lite0-tracking": LITE0_TRACKING,
    "lite0-refinement": LITE0_REFINEMENT,
    "lite0-together": LITE0_TOGETHER,
}

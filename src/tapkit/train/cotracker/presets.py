"""Curricula of the CoTrackers. Each number's source is in docs/training.md.

The authors train on 32 GPUs with one clip on each (`accumulate` makes up for fewer). They average no weights over time.
"""

from __future__ import annotations

from dataclasses import replace

from tapkit.models.cotracker.network3 import CoTracker3Config
from tapkit.train.augmentation import Augmentation
from tapkit.train.config import ClipCache, Stage, TrainConfig
from tapkit.train.cotracker.settings import CoTrackerSettings
from tapkit.train.queries import QuerySampling

KUBRIC_LOOK = Augmentation(
    erase=0.5,
    colours=0.25,
    brightness=0.2,
    contrast=0.2,
    saturation=0.2,
    hue=0.25 / 3.14,
    blur=0.25,
    pad=25,
    scale=(0.75, 1.25),
    scale_drift=0.05,
    crop_drift=15.0,
    flip=0.5,
)
"""CoTracker3, appendix A."""

# -- CoTracker3 online --------------------------------------------------------------------------------

KUBRIC_ONLINE = TrainConfig(
    stages=(Stage(steps=50_000, size=512, height=384, frames=64, batch=1, points=384, native=True),),
    learning_rate=5e-4,
    warmup=2505,
    weight_decay=5e-4,
    clip_norm=1.0,
    ema_decay=0.0,
    model="cotracker3-online",
    settings=CoTrackerSettings(queries=QuerySampling(any_frame=0.25)),
    schedule="one-cycle-cosine",
    betas=(0.9, 0.999),
    undecayed=(),
    augmentation=KUBRIC_LOOK,
)
PSEUDO_ONLINE = replace(
    KUBRIC_ONLINE,
    stages=(replace(KUBRIC_ONLINE.stages[0], steps=15_000, paces=(1, 2, 3)),),
    learning_rate=5e-5,
    warmup=0,
    weight_decay=1e-5,
    clip_norm=10.0,
    settings=CoTrackerSettings(judge=False),
    augmentation=None,
)
"""The student of pseudo-labelled videos (section 3.1 and appendix)."""
FINETUNE_ONLINE = replace(
    PSEUDO_ONLINE,
    stages=(replace(KUBRIC_ONLINE.stages[0], steps=3000),),
    settings=KUBRIC_ONLINE.settings,
    augmentation=KUBRIC_LOOK,
)
"""Annotated clips of one's own: losses, queries and augmentation as on Kubric, the rates of the students."""
TINY_SIZES = CoTracker3Config(channels=(16, 24, 32, 32), features=32, width=64, depth=2, hidden=32, embedding=32)
TINY_ONLINE = TrainConfig(
    stages=(
        Stage(steps=1300, size=96, frames=16, batch=1, points=40),
        Stage(steps=200, size=96, frames=24, batch=1, points=40),
    ),
    learning_rate=1e-3,
    warmup=80,
    weight_decay=1e-5,
    clip_norm=1.0,
    ema_decay=0.998,
    cache=ClipCache(400, size=144, frames=24, points=160),
    model="cotracker3-online",
    settings=CoTrackerSettings(iterations=2, queries=QuerySampling(any_frame=0.25), sizes=TINY_SIZES),
    schedule="one-cycle-cosine",
    betas=(0.9, 0.999),
    undecayed=(),
)
"""Half an hour of one core: to see that it learns, and for tests."""
TINY_PSEUDO_ONLINE = replace(
    TINY_ONLINE,
    stages=(replace(TINY_ONLINE.stages[0], steps=100),),
    learning_rate=PSEUDO_ONLINE.learning_rate,
    warmup=0,
    cache=None,
    settings=replace(TINY_ONLINE.settings, queries=PSEUDO_ONLINE.settings.queries, judge=False),
)
"""The student of pseudo-labels in small."""
PRESETS_ONLINE = {
    "finetune": FINETUNE_ONLINE,
    "pseudo-labels": PSEUDO_ONLINE,
    "kubric": KUBRIC_ONLINE,
    "tiny": TINY_ONLINE,
    "tiny-pseudo-labels": TINY_PSEUDO_ONLINE,
}

# -- CoTracker3 offline -------------------------------------------------------------------------------

_WHOLE = CoTrackerSettings(queries=QuerySampling(any_frame=1.0), before_query=True)
KUBRIC_OFFLINE = replace(
    KUBRIC_ONLINE,
    stages=(replace(KUBRIC_ONLINE.stages[0], frames=59, least_frames=30, points=512, paces=(1, 2, 3, 4)),),
    model="cotracker3-offline",
    settings=_WHOLE,
)
PSEUDO_OFFLINE = replace(
    PSEUDO_ONLINE,
    stages=(replace(PSEUDO_ONLINE.stages[0], frames=79, least_frames=40),),
    model="cotracker3-offline",
    settings=replace(_WHOLE, queries=QuerySampling(), judge=False),
)
FINETUNE_OFFLINE = replace(
    FINETUNE_ONLINE,
    stages=(replace(KUBRIC_OFFLINE.stages[0], steps=3000),),
    model="cotracker3-offline",
    settings=_WHOLE,
)
TINY_OFFLINE = replace(
    TINY_ONLINE, model="cotracker3-offline", settings=replace(_WHOLE, iterations=2, sizes=TINY_SIZES)
)
PRESETS_OFFLINE = {
    "finetune": FINETUNE_OFFLINE,
    "pseudo-labels": PSEUDO_OFFLINE,
    "kubric": KUBRIC_OFFLINE,
    "tiny": TINY_OFFLINE,
}

# -- CoTracker2 ---------------------------------------------------------------------------------------

KUBRIC2 = replace(
    KUBRIC_ONLINE,
    stages=(Stage(steps=50_000, size=512, height=384, frames=24, batch=1, points=768, native=True),),
    weight_decay=1e-5,
    clip_norm=10.0,
    model="cotracker2",
    settings=CoTrackerSettings(loss="cotracker2", queries=QuerySampling(any_frame=0.25)),
    schedule="one-cycle-linear",
    augmentation=replace(KUBRIC_LOOK, replace=0.5),
)
FINETUNE2 = replace(
    KUBRIC2, stages=(replace(KUBRIC2.stages[0], steps=3000),), learning_rate=5e-5, warmup=0, schedule="one-cycle-cosine"
)
PRESETS2 = {"finetune": FINETUNE2, "kubric": KUBRIC2}

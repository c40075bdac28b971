"""What a training run does, as data: the curriculum, the losses' weights, the optimiser's settings."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from tapkit.errors import UsageError


@dataclass(frozen=True)
class Pool:
    """Made clips that are kept on disk and cut into lessons again and again."""

    clips: int
    """How many there are."""
    size: int = 256
    """Side of their frames."""
    frames: int = 24
    points: int = 256
    speeds: tuple[float, ...] = (0.3, 0.12, 0.3, 0.5, 0.2, 0.3, 0.5, 0.8)
    """`Stage.speed` of the clips, in turn."""
    solids: float = 0.25
    """`Stage.solids` of the clips."""

    def __post_init__(self) -> None:
        if min(self.clips, self.points, len(self.speeds)) < 1 or self.frames < 4 or self.size < 64:
            raise UsageError("a pool needs at least 1 clip of 4 frames of 64x64 with 1 point, and one speed")


@dataclass(frozen=True)
class Stage:
    """A part of the curriculum. A clip is [frames,3,size,size]."""

    steps: int
    """Optimiser steps."""
    size: int
    """Side of the frames in pixels, a multiple of 16."""
    frames: int
    """Length of a clip."""
    batch: int
    """Clips in a step, on each process."""
    points: int
    """Points in a clip."""
    speed: float = 1.0
    """How fast things move, as a factor of the generator's own motion."""
    solids: float = 0.25
    """Share of made clips with a textured body in perspective."""
    truncate: int = 0
    """Gradients go back through at most so many frames; 0: through all of them."""
    task: Literal["clips", "pairs"] = "clips"
    """"pairs": only features, from frames in any order (`train.pairs`); "clips": tracking."""
    encoder: bool = True
    """Whether features learn too. Where they do not, a step costs a third."""
    rate: float | None = None
    """Peak learning rate of a warm-up and cosine of its own; None: a part of the whole curriculum's."""

    def __post_init__(self) -> None:
        if self.task not in ("clips", "pairs"):
            raise UsageError(f"a stage's task is clips or pairs, not {self.task!r}")
        if self.size % 16 or self.size < 64:
            raise UsageError(f"a stage's size must be a multiple of 16 and at least 64, got {self.size}")
        if min(self.steps, self.batch, self.points) < 1 or self.frames < 2 or self.truncate < 0:
            raise UsageError("a stage needs at least 1 step, 1 clip of 2 frames and 1 point")


@dataclass(frozen=True)
class LossWeights:
    """Factors of the parts of the loss; each part is a mean over the points that it concerns."""

    position: float = 1.0
    """Huber of the last position, in cells of the fine map."""
    refined: float = 0.5
    """The same of each candidate after its look."""
    hidden: float = 0.1
    """What a hidden point counts in these, beside 1 for a visible one."""
    matching: float = 0.5
    """Cross-entropy of global matching over the cells of the frame."""
    around: float = 0.3
    """Cross-entropy of the last look over the cells of the fine map."""
    score: float = 0.3
    """Which candidates are right."""
    visible: float = 0.5
    confidence: float = 0.3


@dataclass(frozen=True)
class TrainConfig:
    """A whole run."""

    stages: tuple[Stage, ...]
    rate: float = 6e-4
    """Peak learning rate of AdamW."""
    last_rate: float = 0.03
    """Share of it that is left at the end of a half cosine."""
    warmup: int = 300
    """Steps of linear growth of the rate."""
    decay: float = 1e-4
    """Weight decay, of matrices only."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    ema: float = 0.9995
    """Decay of the averaged weights; smaller during the first steps."""
    radius: float = 8.0
    """Confidence is P(error < radius), in pixels of a 256x256 frame."""
    fade: float = 0.93
    """How much of itself a query's patch keeps from frame to frame at least, in training (`train.unroll.Fading`)."""
    haze: float = 0.2
    """Largest length of the noise on features, in training."""
    stray: float = 0.4
    """Share of points whose pixels lead astray, in training (`train.unroll.Straying`)."""
    mislead: float = 0.25
    """Share of matches that are led to the best wrong place, in training."""
    seed: int = 0
    pool: Pool | None = None
    """Where set, lessons are cut from so many made clips; None: each lesson is made for itself."""
    weights: LossWeights = field(default_factory=LossWeights)

    @property
    def steps(self) -> int:
        """Of all stages."""
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> tuple[int, Stage]:
        """Number and settings of the stage that `step` (from 0) belongs to; the last one beyond the end."""
        for number, stage in enumerate(self.stages):
            if step < stage.steps:
                return number, stage
            step -= stage.steps
        return len(self.stages) - 1, self.stages[-1]

    def begins(self, number: int) -> int:
        """The first step of a stage."""
        return sum(stage.steps for stage in self.stages[:number])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        """The inverse of `to_dict`."""
        plain = {name: value for name, value in values.items() if name not in ("stages", "weights", "pool")}
        stages = tuple(Stage(**stage) for stage in values["stages"])
        pool = values.get("pool")
        if pool is not None:
            pool = Pool(**{**pool, "speeds": tuple(pool["speeds"])})
        return cls(stages=stages, weights=LossWeights(**values["weights"]), pool=pool, **plain)


# Cheap first: features from pairs of frames, which costs nothing but the encoder; then tracking with features as they
# are; then all together. What needs length (re-detection, memory, momentum) comes last. A processor makes clips more
# slowly than it learns from them, so it cuts its lessons from a pool; a GPU makes them as it goes.
# docs/training.md says how long each takes where.
CPU = TrainConfig(
    stages=(
        Stage(steps=2250, size=160, frames=4, batch=8, points=96, task="pairs", rate=1.5e-3),
        Stage(steps=2600, size=192, frames=4, batch=6, points=128, task="pairs", rate=1.1e-3),
        Stage(steps=650, size=256, frames=12, batch=4, points=64, truncate=6, encoder=False, rate=1e-3),
        Stage(steps=2000, size=256, frames=24, batch=2, points=64, truncate=8, encoder=False, rate=8e-4),
        Stage(steps=1000, size=256, frames=24, batch=2, points=80, truncate=8, rate=3e-4),
    ),
    warmup=200,
    ema=0.999,
    pool=Pool(2400, solids=0.55),
)
LAPTOP = TrainConfig(
    stages=(
        Stage(steps=10_000, size=192, frames=4, batch=16, points=192, speed=3.0, task="pairs", rate=1.5e-3),
        Stage(steps=10_000, size=256, frames=12, batch=4, points=128, truncate=6, encoder=False, rate=1e-3),
        Stage(steps=20_000, size=256, frames=16, batch=4, points=128, speed=0.7, truncate=8, rate=4e-4),
        Stage(steps=10_000, size=256, frames=32, batch=2, points=96, truncate=16, rate=2e-4),
    ),
)
DATACENTER = TrainConfig(
    stages=(
        Stage(steps=8000, size=256, frames=4, batch=48, points=256, speed=3.0, task="pairs", rate=2e-3),
        Stage(steps=8000, size=256, frames=16, batch=16, points=192, speed=0.7, truncate=8, encoder=False, rate=1e-3),
        Stage(steps=16_000, size=256, frames=24, batch=8, points=192, speed=0.7, truncate=12, rate=5e-4),
        Stage(steps=4000, size=256, frames=120, batch=3, points=128, truncate=24, rate=2e-4),
    ),
    warmup=500,
)
FINETUNE = TrainConfig(
    stages=(Stage(steps=3000, size=256, frames=16, batch=1, points=96, truncate=8),),
    rate=5e-5,
    warmup=100,
    ema=0.998,
)
PRESETS = {"cpu": CPU, "laptop": LAPTOP, "datacenter": DATACENTER, "finetune": FINETUNE}


def preset(name: str, steps: int | None = None, **changes: Any) -> TrainConfig:
    """A preset by name, its stages shortened or lengthened in proportion to `steps` in all, fields changed.

    Raises `UsageError` for an unknown name.
    """
    if name not in PRESETS:
        raise UsageError(f"there is no preset {name!r}; there are {', '.join(PRESETS)}")
    config = PRESETS[name]
    if steps is not None:
        if steps < len(config.stages):
            raise UsageError(f"{name} has {len(config.stages)} stages and needs at least as many steps, got {steps}")
        # Ends in proportion, but a step for each at least; the last end is exact.
        ends = [sum(stage.steps for stage in config.stages[: n + 1]) for n in range(len(config.stages))]
        left = len(ends) - 1
        ends = [min(max(round(end * steps / config.steps), n + 1), steps - left + n) for n, end in enumerate(ends)]
        lengths = [end - before for before, end in zip([0, *ends], ends, strict=False)]
        stages = [replace(stage, steps=count) for stage, count in zip(config.stages, lengths, strict=True)]
        config = replace(config, stages=tuple(stages), warmup=min(config.warmup, max(steps // 20, 1)))
    return replace(config, **changes)

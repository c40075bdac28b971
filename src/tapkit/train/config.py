"""What a training run does, as data: the curriculum, the optimiser's settings, the model's own settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeVar, get_args

from tapkit.errors import StorageError, UsageError

T = TypeVar("T")
Task = Literal["tracking", "matching"]


@dataclass(frozen=True)
class ClipCache:
    """Synthetic clips that are kept on disk; batches are random crops of them."""

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
            raise UsageError("a clip cache needs at least 1 clip of 4 frames of 64x64 with 1 point, and one speed")


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
    """Clips in a batch, on each process."""
    points: int
    """Points in a clip."""
    speed: float = 1.0
    """How fast things move, as a factor of the generator's own motion."""
    solids: float = 0.25
    """Share of synthetic clips with a textured body in perspective."""
    truncate: int = 0
    """Truncated backpropagation through time: gradients pass at most so many frames; 0: all of them."""
    task: Task = "tracking"
    """"matching": features alone are pre-trained, on frames in any order; "tracking": points are tracked."""
    train_encoder: bool = True
    """False: features are frozen, and a step costs a third."""
    train_backbone: bool = True
    """False: a backbone that was trained elsewhere stays as it is; what is above it learns as `train_encoder` says."""
    learning_rate: float | None = None
    """Peak of a warm-up and cosine of this stage alone; None: a part of the whole curriculum's."""

    def __post_init__(self) -> None:
        if self.task not in get_args(Task):
            raise UsageError(f"a stage's task is tracking or matching, not {self.task!r}")
        if self.size % 16 or self.size < 64:
            raise UsageError(f"a stage's size must be a multiple of 16 and at least 64, got {self.size}")
        if min(self.steps, self.batch, self.points) < 1 or self.frames < 2 or self.truncate < 0:
            raise UsageError("a stage needs at least 1 step, 1 clip of 2 frames and 1 point")


@dataclass(frozen=True)
class TrainConfig:
    """A whole run."""

    stages: tuple[Stage, ...]
    learning_rate: float = 6e-4
    """Peak of AdamW's."""
    final_rate: float = 0.03
    """Share of the peak learning rate that is left at the end of the half cosine."""
    warmup: int = 300
    """Steps of linear growth of the learning rate."""
    weight_decay: float = 1e-4
    """Of matrices only."""
    clip_norm: float = 1.0
    """Largest norm of the gradient."""
    ema_decay: float = 0.9995
    """Of the exponential moving average of the weights; smaller during the first steps."""
    seed: int = 0
    cache: ClipCache | None = None
    """Where set, batches are crops of so many cached synthetic clips; None: each batch is synthesised anew."""
    model: str = "strand"
    """Whose recipe it is (`train.recipe`)."""
    settings: Any = None
    """The recipe's own settings, a frozen dataclass; None: its defaults."""

    @property
    def steps(self) -> int:
        """Of all stages."""
        return sum(stage.steps for stage in self.stages)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """The inverse of `to_dict`. Configurations of older versions are read too, whatever their fields were called.

        Raises `StorageError` for fields that are not known.
        """
        from tapkit.train.recipe import recipe

        named = renamed(values, OLD_NAMES)
        # Older versions had the settings of strand beside the others.
        known = {field.name for field in fields(cls)}
        beside = {name: named.pop(name) for name in list(named) if name not in known}
        read_settings = recipe(named.get("model", cls.model)).read_settings
        if beside or named.get("settings") is not None:
            named["settings"] = read_settings({**(named.get("settings") or {}), **beside})
        cache = named.get("cache")
        if cache is not None:
            named["cache"] = from_fields(ClipCache, {**cache, "speeds": tuple(cache["speeds"])})
        named["stages"] = tuple(_stage(stage) for stage in named["stages"])
        return from_fields(cls, named)


OLD_NAMES = {
    "rate": "learning_rate",
    "last_rate": "final_rate",
    "decay": "weight_decay",
    "clip": "clip_norm",
    "ema": "ema_decay",
    "pool": "cache",
}
OLD_STAGE_NAMES = {"rate": "learning_rate", "encoder": "train_encoder"}
OLD_TASKS = {"clips": "tracking", "pairs": "matching"}


def _stage(values: Mapping[str, Any]) -> Stage:
    named = renamed(values, OLD_STAGE_NAMES)
    if named.get("task") in OLD_TASKS:
        named["task"] = OLD_TASKS[named["task"]]
    return from_fields(Stage, named)


def renamed(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The values by their present names, `names` being old -> present."""
    return {names.get(name, name): value for name, value in values.items()}


def from_fields(kind: type[T], values: Mapping[str, Any]) -> T:
    """A dataclass of these fields. Raises `StorageError` naming those that it does not have, or that are missing."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - known)
    if unknown:
        raise StorageError(
            f"the configuration of the run has fields that this version does not know: {', '.join(unknown)}"
        )
    try:
        return kind(**values)
    except TypeError as error:
        raise StorageError(f"the configuration of the run is not complete: {error}") from error

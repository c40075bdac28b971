"""What a training run does, as data: the curriculum, the optimiser's settings, the model's own settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeVar, get_args

from tapkit.errors import StorageError, UsageError
from tapkit.train.augmentation import Augmentation

T = TypeVar("T")
Task = Literal["tracking", "matching"]
Schedule = Literal["cosine", "one-cycle-cosine", "one-cycle-linear"]


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
    crowded: float = 0.0
    """Share of them that have several large bodies (`Stage.crowded`), spread evenly."""
    long: int = 0
    """How many more there are with `long_frames`, for stages whose clips are longer than `frames`; 0: these play the
    others forwards and backwards."""
    long_frames: int = 120

    def __post_init__(self) -> None:
        if min(self.clips, self.points, len(self.speeds)) < 1 or self.frames < 4 or self.size < 64:
            raise UsageError("a clip cache needs at least 1 clip of 4 frames of 64x64 with 1 point, and one speed")
        if self.long < 0:
            raise UsageError(f"long clips are 0 or more, got {self.long}")
        if self.long and self.long_frames < self.frames:
            raise UsageError(f"long clips have at least the {self.frames} frames of others, got {self.long_frames}")
        if not 0 <= self.crowded <= 1:
            raise UsageError(f"crowded is a share from 0 to 1, got {self.crowded}")

    def is_crowded(self, number: int) -> bool:
        """Whether that clip has."""
        return int((number + 1) * self.crowded) > int(number * self.crowded)

    def length(self, number: int) -> int:
        """Frames of that clip; the long ones are the last numbers."""
        return self.frames if number < self.clips else self.long_frames

    def numbers(self, frames: int) -> range:
        """Of the clips that pieces of so many frames are taken from."""
        return range(self.clips, self.clips + self.long) if self.long and frames > self.frames else range(self.clips)


@dataclass(frozen=True)
class Stage:
    """A part of the curriculum. A clip is [frames,3,height,size]."""

    steps: int
    """Optimiser steps."""
    size: int
    """Width of the frames in pixels, and their height where that is not given; multiples of 16."""
    frames: int
    """Length of a clip, or the largest where `least_frames` is given."""
    batch: int
    """Clips in a batch, on each process."""
    points: int
    """Points in a clip."""
    speed: float = 1.0
    """How fast things move, as a factor of the generator's own motion."""
    solids: float = 0.25
    """Share of synthetic clips with a textured body in perspective."""
    crowded: float = 0.0
    """Share of synthetic batches with several large bodies in every clip instead (`SynthConfig.crowded`)."""
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
    height: int | None = None
    """Of the frames; None: they are squares."""
    least_frames: int | None = None
    """Lengths of clips are drawn from here to `frames`; None: all are equally long."""
    paces: tuple[int, ...] = (1,)
    """Of clips on disk every so many frames are taken; drawn from those for which a clip is long enough."""
    native: bool = False
    """Crops of clips on disk are as many pixels of the clip itself (enlarged where that is smaller); by default
    the clip is first shrunk to a quarter more than the crop."""

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the frames."""
        return self.height or self.size, self.size

    def __post_init__(self) -> None:
        if self.task not in get_args(Task):
            raise UsageError(f"a stage's task is tracking or matching, not {self.task!r}")
        if self.size % 16 or self.size < 64:
            raise UsageError(f"a stage's size must be a multiple of 16 and at least 64, got {self.size}")
        if min(self.steps, self.batch, self.points) < 1 or self.frames < 2 or self.truncate < 0:
            raise UsageError("a stage needs at least 1 step, 1 clip of 2 frames and 1 point")
        if self.height is not None and (self.height % 16 or self.height < 64):
            raise UsageError(f"a stage's height must be a multiple of 16 and at least 64, got {self.height}")
        if self.least_frames is not None and not 2 <= self.least_frames <= self.frames:
            raise UsageError(f"a stage's least_frames must be from 2 to {self.frames}, got {self.least_frames}")
        if min(self.paces, default=0) < 1:
            raise UsageError(f"a stage's paces are numbers from 1 on, got {self.paces}")
        if not 0 <= self.crowded <= 1:
            raise UsageError(f"a stage's crowded is a share from 0 to 1, got {self.crowded}")


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
    clip_norm: float | None = 1.0
    """Largest norm of the gradient; None: any."""
    ema_decay: float = 0.9995
    """Of the exponential moving average of the weights; smaller during the first steps."""
    seed: int = 0
    cache: ClipCache | None = None
    """Where set, batches are crops of so many cached synthetic clips; None: each batch is synthesised anew."""
    model: str = "strand"
    """Whose recipe it is (`train.recipe`)."""
    settings: Any = None
    """The recipe's own settings, a frozen dataclass; None: its defaults."""
    schedule: Schedule = "cosine"
    """"cosine": linear warm-up, then half a cosine to `final_rate`. "one-cycle-cosine", "one-cycle-linear": from a 25th
    of the peak up and down to nearly nothing, in that shape (PyTorch's OneCycleLR; `final_rate` is unused)."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Of AdamW."""
    undecayed: tuple[str, ...] | None = None
    """Parameters without weight decay, by patterns of their names ("*bias*"); None: all but matrices."""
    accumulate: int = 1
    """Batches whose gradients are added up before each step."""
    augmentation: Augmentation | None = None
    """What is done to the clips of batches; None: nothing (the cache of synthetic clips has its own)."""

    def __post_init__(self) -> None:
        if self.schedule not in get_args(Schedule):
            raise UsageError(f"a schedule is one of {', '.join(get_args(Schedule))}, not {self.schedule!r}")
        if self.accumulate < 1 or not self.stages:
            raise UsageError("a run needs at least one stage, and at least one batch for each step")

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
        for name in ("betas", "undecayed"):
            if named.get(name) is not None:
                named[name] = tuple(named[name])
        if named.get("augmentation") is not None:
            named["augmentation"] = from_fields(Augmentation, as_tuples(named["augmentation"]))
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
    return from_fields(Stage, as_tuples(named))


def as_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with tuples where JSON has lists."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


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

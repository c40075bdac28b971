"""Drivers: how a session runs a model. One for each kind of `card.streaming`; sessions know only this contract.

A driver speaks tensors: points are known by integer *keys* (given by the session, rising, never used twice) and
live in pixels of the frames the model is handed. Frames are counted from 0 in the order they are stepped.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from tapkit.errors import UsageError
from tapkit.models.base import BeginsOnQueries, Model, Prediction, Size

DRIVERS: dict[str, str] = {
    "causal": "tapkit.engine.causal:CausalDriver",
    "window": "tapkit.engine.windows:WindowDriver",
    "offline": "tapkit.engine.clip:ClipDriver",
}
"""Kind of tracker (`card.streaming`) -> its driver. Another kind is another entry; nothing else in the engine asks for
the kind: what else differs is on the card (`bidirectional`, `uses_past`, `latency`), or a named ability."""


SEVERAL_DEVICES = "tapkit.engine.several:SeveralDriver"
"""The driver of models that are on several devices."""
BEGINS_ON_QUERIES = "tapkit.engine.groups:GroupDriver"
"""The driver of window models that `BeginsOnQueries`."""


@runtime_checkable
class PreparesFrames(Protocol):
    """A driver that can do a good half of the work on a frame before the one before it is done with."""

    @property
    def prepares(self) -> bool:
        """Whether it can, with its model."""
        ...

    @property
    def frames_at_once(self) -> int:
        """How many frames it does that to in the least time for each."""
        ...

    def prepare(self, frames: Sequence[Tensor]) -> list[Any]:
        """Of frames that follow each other, one by one, for `step`. Another thread may be within `step`, with an
        earlier frame. If it fails it is as if the call had not been made."""
        ...


@runtime_checkable
class HasCopies(Protocol):
    """A model that is on several devices."""

    copies: tuple[Model, ...]


def driver_of(model: Model) -> type[Driver]:
    """The class that drives a model. Raises `UsageError` for one of a kind that is unknown."""
    kind = model.card.streaming
    if kind not in DRIVERS:
        raise UsageError(f"there is no way to run a tracker of kind {kind!r} (known: {', '.join(DRIVERS)})")
    if isinstance(model, HasCopies):
        module, _, name = SEVERAL_DEVICES.partition(":")
        several: type[Driver] = getattr(import_module(module), name)
        return several
    begins_on_queries = kind == "window" and isinstance(model, BeginsOnQueries)
    module, _, name = (BEGINS_ON_QUERIES if begins_on_queries else DRIVERS[kind]).partition(":")
    found: type[Driver] = getattr(import_module(module), name)
    return found


class DriverResult(NamedTuple):
    """What a model says about the points `keys` on one frame."""

    frame: int
    keys: Tensor
    """[M] int64."""
    prediction: Prediction
    """xy [M,2], visible [M], confidence [M]; on the host."""
    final: bool = True
    """False: a later result for the same frame replaces it."""


class Driver(Protocol):
    """Runs one model over frames that arrive one by one."""

    def __init__(self, model: Any, size: Size, budget: int | None = None, frames: int | None = None) -> None:
        """For `frames` frames (None: as many as come) of `size`; `budget` bytes for what it can bound while it runs."""

    @staticmethod
    def points_at_once(model: Any, size: Size, budget: int | None, count: int) -> int:
        """How many of `count` points a session may hold under a budget in bytes; the others get passes of their own.

        Raises `MemoryBudgetError` where not even one fits.
        """
        ...

    @property
    def earliest(self) -> int:
        """The first frame on which points can still be added."""
        ...

    def add(self, keys: Tensor, queries: Tensor) -> None:
        """Points `keys` [M] with queries [M,3] (t, x, y) float32; every t >= `earliest`."""
        ...

    def remove(self, keys: Tensor) -> None:
        """Forget these points (unknown keys are an error of the caller)."""
        ...

    def step(self, index: int, frame: Tensor, ready: Any = None) -> list[DriverResult]:
        """Take frame `index` (the one after the last), uint8 [3,h,w] on the model's device.

        `ready` is what `prepare` made of it, of a driver that `PreparesFrames`; None: nothing.

        Returns what is known now: final results (each frame once for each point), and provisional ones. Results
        for frames before a point's query may be left out unless the card is `bidirectional`.
        """
        ...

    def finish(self) -> list[DriverResult]:
        """No more frames will come: all results still owed, final."""
        ...

    def snapshot(self) -> dict[str, Tensor]:
        """Everything needed to go on later from here, as named tensors."""
        ...

    def restore(self, snapshot: dict[str, Tensor]) -> None:
        """The inverse of `snapshot`, on a new driver of the same model and frame size."""
        ...

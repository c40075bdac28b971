"""One tracker on several devices: each has a copy of the model and a share of the points, or of the videos.

Points that do not see one another are shared out within a video: every device sees all frames, and tracks its points,
at the same time as the others. Those of joint models need one another, so there only videos are shared out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

from tapkit.engine.driver import Driver, DriverResult, driver_of
from tapkit.errors import StorageError, UsageError
from tapkit.models.base import BeginsOnQueries, Model, Prediction, Size
from tapkit.types import ModelCard

Result = TypeVar("Result")


class SeveralDevices:
    """A `Model` made of copies of one, each on a device of its own."""

    def __init__(self, copies: Sequence[Model]) -> None:
        self.copies = tuple(copies)
        self.card: ModelCard = copies[0].card
        self.options: Mapping[str, Any] = copies[0].options

    @property
    def device(self) -> torch.device:
        """Where frames are handed over."""
        return self.copies[0].device

    @property
    def devices(self) -> tuple[torch.device, ...]:
        """All of them."""
        return tuple(copy.device for copy in self.copies)

    def to(self, device: torch.device | str) -> Self:
        """Refused: where the copies are is decided when they are made."""
        raise UsageError(f"{self.card.id} is on {len(self.copies)} devices; load it anew for another")

    def frame_size(self, size: Size) -> Size | None:
        """See `Model.frame_size`."""
        return self.copies[0].frame_size(size)


def shares_points(model: Model) -> bool:
    """Whether the points of one video may be shared out."""
    return not model.card.joint and not isinstance(model, BeginsOnQueries)


class SeveralDriver:
    """Drives a `SeveralDevices`: a driver for each copy, which work at the same time."""

    def __init__(self, model: SeveralDevices, size: Size, budget: int | None = None, frames: int | None = None) -> None:
        if not shares_points(model.copies[0]):
            raise UsageError(
                f"the points of {model.card.id} are tracked together, so one video is not split over devices: load it "
                "on one device, or give several videos (track_batch)"
            )
        self.model = model
        self.drivers: list[Driver] = [driver_of(copy)(copy, size, budget, frames) for copy in model.copies]
        self._owner = torch.zeros(0, dtype=torch.long)
        """By key: the driver that has it; -1: forgotten."""
        self._threads = ThreadPoolExecutor(len(self.drivers), thread_name_prefix="tapkit-device")

    @staticmethod
    def points_at_once(model: SeveralDevices, size: Size, budget: int | None, count: int) -> int:
        """See `Driver.points_at_once`; the budget is that of each device."""
        if not shares_points(model.copies[0]):
            return max(count, 1)
        share = -(-count // len(model.copies))
        together = sum(driver_of(copy).points_at_once(copy, size, budget, share) for copy in model.copies)
        return max(min(together, count), 1)

    @property
    def earliest(self) -> int:
        """See `Driver.earliest`."""
        return max(driver.earliest for driver in self.drivers)

    def add(self, keys: Tensor, queries: Tensor) -> None:
        """See `Driver.add`: each goes where there are fewest."""
        held = [int((self._owner == number).sum()) for number in range(len(self.drivers))]
        chosen = torch.empty(len(keys), dtype=torch.long)
        for row in range(len(keys)):
            number = held.index(min(held))
            chosen[row] = number
            held[number] += 1
        for number, driver in enumerate(self.drivers):
            mine = chosen == number
            if mine.any():
                driver.add(keys[mine], queries[mine])
        room = int(keys.max()) + 1 - len(self._owner) if len(keys) else 0
        self._owner = torch.cat([self._owner, self._owner.new_full((max(room, 0),), -1)])
        self._owner[keys] = chosen

    def remove(self, keys: Tensor) -> None:
        """See `Driver.remove`."""
        for number, driver in enumerate(self.drivers):
            mine = keys[self._owner[keys] == number]
            if len(mine):
                driver.remove(mine)
        self._owner[keys] = -1

    def step(self, index: int, frame: Tensor, ready: Any = None) -> list[DriverResult]:
        """See `Driver.step`."""
        return self._together(lambda driver, copy: driver.step(index, frame.to(copy.device)))

    def finish(self) -> list[DriverResult]:
        """See `Driver.finish`."""
        results = self._together(lambda driver, copy: driver.finish())
        self._threads.shutdown(wait=False)
        return results

    def _together(self, call: Callable[[Driver, Model], list[DriverResult]]) -> list[DriverResult]:
        """What all drivers say, joined by frame: final answers in the order of frames, then what may change."""
        parts = at_once(self._threads, call, self.drivers, self.model.copies)
        found: dict[tuple[bool, int], list[DriverResult]] = {}
        for result in (result for part in parts for result in part):
            found.setdefault((not result.final, result.frame), []).append(result)
        return [_joined(found[key]) for key in sorted(found)]

    def snapshot(self) -> dict[str, Tensor]:
        """See `Driver.snapshot`."""
        flat = {"owner": self._owner}
        for number, driver in enumerate(self.drivers):
            flat |= {f"device{number}.{name}": part for name, part in driver.snapshot().items()}
        return flat

    def restore(self, snapshot: dict[str, Tensor]) -> None:
        """See `Driver.restore`; the number of devices must be the same."""
        count = len({name.split(".")[0] for name in snapshot if name.startswith("device")})
        if count != len(self.drivers):
            raise StorageError(f"the state is that of {count} devices, and there are {len(self.drivers)}")
        self._owner = snapshot["owner"]
        for number, driver in enumerate(self.drivers):
            prefix = f"device{number}."
            driver.restore({k.removeprefix(prefix): v for k, v in snapshot.items() if k.startswith(prefix)})


def at_once(threads: ThreadPoolExecutor, call: Callable[..., Result], *arguments: Sequence[Any]) -> list[Result]:
    """`call` with the first of all arguments, the second of all, ... at the same time, one in each thread.

    All are waited for, also if one fails; its exception is then raised. Without gradients, as the caller is.
    """

    def quietly(*some: Any) -> Result:
        with torch.inference_mode():
            return call(*some)

    running = [threads.submit(quietly, *some) for some in zip(*arguments, strict=True)]
    for one in running:
        one.exception()
    return [one.result() for one in running]


def _joined(results: list[DriverResult]) -> DriverResult:
    """The answers of several devices for one frame."""
    if len(results) == 1:
        return results[0]
    keys = torch.cat([result.keys for result in results])
    columns = zip(*(result.prediction for result in results), strict=True)
    prediction = Prediction(*(torch.cat(column) for column in columns))
    return DriverResult(results[0].frame, keys, prediction, results[0].final)

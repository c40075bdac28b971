"""ClipDriver: for models that want the whole clip. Features are kept, everything is tracked at the end."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tapkit.engine.costs import points_within
from tapkit.engine.driver import DriverResult
from tapkit.engine.fetch import to_host
from tapkit.engine.memory import device_memory, release, stepped_down
from tapkit.engine.state import flatten, unflatten
from tapkit.errors import DeviceMemoryError
from tapkit.models.base import ClipModel, Prediction, Size
from tapkit.nn.transfer import sent

_BLOCK = 64
"""Frames for which room is made at once, or as many as there will be. On a CPU room that is not used costs nothing, and
clips of up to so many frames are never copied."""


class ClipDriver:
    """Drives a `ClipModel`.

    Each frame is encoded when it comes and only its features are kept. With a memory budget, points are tracked in
    groups that fit beside the features: for a model whose points do not see one another that changes nothing, for a
    joint one the results differ a little from those of all points together (and the provenance says so). A group is
    every k-th point, so that each is spread over the frame as the whole is.
    """

    def __init__(self, model: ClipModel, size: Size, budget: int | None = None, frames: int | None = None) -> None:
        self.model = model
        self.size = size
        self.budget = budget
        self.keys = torch.zeros(0, dtype=torch.long)
        self.queries = torch.zeros(0, 3)
        self.frames = 0
        self._blocks: list[Any] = []
        self._used = 0
        """Frames in the last block."""
        self._room = _BLOCK if frames is None else min(_BLOCK, max(frames, 1))
        """Frames that a block holds."""

    @staticmethod
    def points_at_once(model: ClipModel, size: Size, budget: int | None, count: int) -> int:
        """See `Driver.points_at_once`: all, since they are split after the clip has been encoded once."""
        return max(count, 1)

    @property
    def earliest(self) -> int:
        """0: the features of all frames are there."""
        return 0

    def add(self, keys: Tensor, queries: Tensor) -> None:
        """See `Driver.add`."""
        self.keys = torch.cat([self.keys, keys])
        self.queries = torch.cat([self.queries, queries])

    def remove(self, keys: Tensor) -> None:
        """See `Driver.remove`."""
        keep = ~torch.isin(self.keys, keys)
        self.keys, self.queries = self.keys[keep], self.queries[keep]

    def step(self, index: int, frame: Tensor, ready: Any = None) -> list[DriverResult]:
        """See `Driver.step`: nothing is known before the end."""
        self._store(self.model.encode(frame[None]))
        return []

    def finish(self) -> list[DriverResult]:
        """See `Driver.finish`."""
        if not self.frames or not len(self.keys):
            return []
        features = self._whole()
        prediction = to_host(self._track(features, sent(self.queries, self.model.device)))
        return [
            DriverResult(frame, self.keys, Prediction(*(part[:, frame] for part in prediction)))
            for frame in range(self.frames)
        ]

    def _track(self, features: Any, queries: Tensor) -> Prediction:
        """The prediction for all queries, in groups that fit into the budget."""
        at_once = points_within(self.budget, self.model, self.size, len(queries), "offline", self.frames)
        groups = -(-len(queries) // at_once)
        try:
            with device_memory(self.model.device, -(-len(queries) // groups)):
                return self._in_groups(features, queries, groups)
        except DeviceMemoryError as error:
            if len(queries) <= groups:
                raise
            stepped_down(error, -(-len(queries) // (2 * groups)))
        # Outside of the handler, which holds on to what had been made.
        release(self.model.device)
        with device_memory(self.model.device, -(-len(queries) // (2 * groups))):
            return self._in_groups(features, queries, 2 * groups)

    def _in_groups(self, features: Any, queries: Tensor, groups: int) -> Prediction:
        """The prediction for all queries, every `groups`-th of them together."""
        if groups == 1:
            return self.model.track(features, self.size, queries)
        count, frames, device = len(queries), self.frames, queries.device
        whole = Prediction(
            torch.empty(count, frames, 2, device=device),
            torch.empty(count, frames, device=device),
            torch.empty(count, frames, device=device),
        )
        for first in range(groups):
            some = self.model.track(features, self.size, queries[first::groups])
            for all_points, part in zip(whole, some, strict=True):
                all_points[first::groups] = part
        return whole

    def snapshot(self) -> dict[str, Tensor]:
        """See `Driver.snapshot`."""
        flat = {"keys": self.keys, "queries": self.queries, "frames": torch.tensor(self.frames)}
        for number, block in enumerate(self._blocks):
            used = self._used if number == len(self._blocks) - 1 else self._room
            flat |= {name: part[:used] for name, part in flatten(block, f"block{number}").items()}
        return flat

    def restore(self, snapshot: dict[str, Tensor]) -> None:
        """See `Driver.restore`."""
        self.keys, self.queries = snapshot["keys"], snapshot["queries"]
        self.frames, self._blocks, self._used = 0, [], 0
        frames = int(snapshot["frames"])
        if frames:
            blank = torch.zeros(1, 3, *self.size, dtype=torch.uint8, device=self.model.device)
            template = self.model.encode(blank)
            number = 0
            while self.frames < frames:
                self._store(unflatten(template, snapshot, f"block{number}"))
                number += 1

    def _store(self, features: Any) -> None:
        """Append the features of some frames, which fit into one block."""
        parts = flatten(features)
        count = len(next(iter(parts.values())))
        if not self._blocks or self._used + count > self._room:
            room = {name: part.new_empty(max(self._room, count), *part.shape[1:]) for name, part in parts.items()}
            self._blocks.append(unflatten(features, room))
            self._used = 0
        for name, part in flatten(self._blocks[-1]).items():
            part[self._used : self._used + count] = parts[name]
        self._used += count
        self.frames += count

    def _whole(self) -> Any:
        """The features of all frames, without a second copy where one block holds them."""
        template = self._blocks[-1]
        blocks = [flatten(block) for block in self._blocks]
        self._blocks = []
        blocks[-1] = {name: part[: self._used] for name, part in blocks[-1].items()}
        whole = {}
        for name in list(blocks[0]):
            parts = [block.pop(name) for block in blocks]  # frees each level as soon as it has been copied
            whole[name] = parts[0] if len(parts) == 1 else torch.cat(parts)
        return unflatten(template, whole)

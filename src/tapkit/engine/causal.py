"""CausalDriver: a frame goes in, the answer for that frame comes out; memory does not grow."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from tapkit.engine.costs import points_within
from tapkit.engine.driver import DriverResult
from tapkit.engine.fetch import to_host
from tapkit.engine.slots import FixedSteps
from tapkit.engine.state import flatten, part, unflatten
from tapkit.models.base import CausalModel, ComparesFrames, EncodesFrames, ExpectsPoints, Prediction, Size
from tapkit.nn.transfer import sent

AT_ONCE, PIXELS = 4, 600_000
"""Frames that are prepared at once: so many, or so many pixels. More of small ones take hardly less time for each, and
large ones, which fill a core's cache by themselves, no less at all."""


class CausalDriver:
    """Drives a `CausalModel`.

    Points may be added on the frame that was stepped last (a click on the picture one is looking at): the model
    steps over that frame once more from the state it had before, this time with the new points. States are
    immutable, so that costs one step and nothing else; of a model that `EncodesFrames` not even that: the frame is
    encoded once.

    On a GPU, and where parts of the network are compiled, frames on which no point begins are stepped by `FixedSteps`.
    """

    def __init__(self, model: CausalModel, size: Size, budget: int | None = None, frames: int | None = None) -> None:
        # The budget was kept already, by `points_at_once`. It was measured of steps as they are, not of recorded ones.
        self.model = model
        self._fixed = FixedSteps.serve(model) if budget is None else None
        self.size = size
        self.keys = torch.zeros(0, dtype=torch.long)
        self.last = -1
        self._state: Any = model.start(size)
        """Maybe with spare rows; `_plain` is without."""
        self._before: Any = self._state
        self._frame: Tensor | None = None
        self._features: Any = None
        """Of that frame, if the model `EncodesFrames` and has done so."""
        self._prepared: Any = None
        """Features of the frame prepared last. Its own thread's, as all of `prepare`."""
        self._new_xy = torch.zeros(0, 2)
        self._waiting_keys = torch.zeros(0, dtype=torch.long)
        self._waiting = torch.zeros(0, 3)

    @staticmethod
    def points_at_once(model: CausalModel, size: Size, budget: int | None, count: int) -> int:
        """See `Driver.points_at_once`."""
        return points_within(budget, model, size, count, "causal")

    @property
    def earliest(self) -> int:
        """The frame stepped last, while it is held; else the next one."""
        return self.last if self._frame is not None else self.last + 1

    def add(self, keys: Tensor, queries: Tensor) -> None:
        """See `Driver.add`."""
        now = queries[:, 0] == self.last
        if now.any():
            self._join(keys[now], queries[now, 1:])
        self._waiting_keys = torch.cat([self._waiting_keys, keys[~now]])
        self._waiting = torch.cat([self._waiting, queries[~now]])

    def _join(self, keys: Tensor, xy: Tensor) -> None:
        assert self._frame is not None
        new_xy = torch.cat([self._new_xy, xy])
        before = self._plain(self._before)
        self._state, _, self._features = self._take(before, self._frame, self._features, new_xy)
        self._new_xy = new_xy
        self.keys = torch.cat([self.keys, keys])

    def remove(self, keys: Tensor) -> None:
        """See `Driver.remove`."""
        waiting = ~torch.isin(self._waiting_keys, keys)
        self._waiting_keys, self._waiting = self._waiting_keys[waiting], self._waiting[waiting]
        keep = ~torch.isin(self.keys, keys)
        if keep.all():
            return
        # The state before the last frame holds the rows that were not new on it, in the same order.
        old = len(self.keys) - len(self._new_xy)
        device = self.model.device
        before, state = self._plain(self._before), self._plain(self._state)
        self._before = self.model.select(before, sent(keep[:old].nonzero()[:, 0], device))
        self._state = self.model.select(state, sent(keep.nonzero()[:, 0], device))
        self._new_xy = self._new_xy[keep[old:]]
        self.keys = self.keys[keep]

    @property
    def prepares(self) -> bool:
        """See `PreparesFrames`. A fixed step begins with the frame itself."""
        return self._fixed is None and isinstance(self.model, EncodesFrames)

    @property
    def frames_at_once(self) -> int:
        """See `PreparesFrames`."""
        return max(min(PIXELS // (self.size[0] * self.size[1]), AT_ONCE), 1)

    def prepare(self, frames: Sequence[Tensor]) -> list[Any]:
        """See `PreparesFrames`."""
        assert isinstance(self.model, EncodesFrames)
        together = self.model.encode(torch.stack(list(frames)))
        features = [part(together, slice(number, number + 1)) for number in range(len(frames))]
        before, self._prepared = self._prepared, features[-1]
        if not isinstance(self.model, ComparesFrames):
            return features
        if before is None:
            return features[:1] + self.model.compare(features)
        return self.model.compare([before, *features])

    def _plain(self, state: Any) -> Any:
        return state if self._fixed is None else self._fixed.plain(state)

    def _take(self, state: Any, frame: Tensor, features: Any, new_xy: Tensor) -> tuple[Any, Prediction, Any]:
        """The model's step, and the features of the frame, which need not be there yet."""
        # Parts that are compiled would be compiled anew for each number of points; fixed steps have few.
        compiled = self._fixed is not None and getattr(self.model, "compiled", False)
        with torch.compiler.set_stance("force_eager") if compiled else nullcontext():
            return self._as_it_is(state, frame, features, new_xy)

    def _as_it_is(self, state: Any, frame: Tensor, features: Any, new_xy: Tensor) -> tuple[Any, Prediction, Any]:
        model, new_xy = self.model, sent(new_xy, self.model.device)
        nobody = not len(self.keys) and not len(new_xy)  # the model need not look at the frame, but may count it
        if not isinstance(model, EncodesFrames) or nobody:
            return *self.model.step(state, frame, new_xy), features
        if features is None:
            features = model.encode(frame[None])
        return *model.follow(state, features, (frame.shape[-2], frame.shape[-1]), new_xy), features

    def step(self, index: int, frame: Tensor, ready: Any = None) -> list[DriverResult]:
        """See `Driver.step`."""
        if len(self._waiting) and isinstance(self.model, ExpectsPoints):
            self._state = self.model.expect(self._plain(self._state), len(self._waiting))
        starts = self._waiting[:, 0] == index
        new_xy, before = self._waiting[starts, 1:], self._state
        fixed = None if self._fixed is None or len(new_xy) else self._fixed.step(before, len(self.keys), frame)
        if fixed is None:
            before = self._plain(before)
            after, prediction, features = self._take(before, frame, ready, new_xy)
            answer = to_host(prediction)
        else:
            before, after, answer, features = fixed.before, fixed.after, fixed.prediction, fixed.features or None
        # Only now: a step that fails, for want of memory say, leaves everything as it was.
        self._state, self._new_xy = after, new_xy
        self.keys = torch.cat([self.keys, self._waiting_keys[starts]])
        self._waiting_keys, self._waiting = self._waiting_keys[~starts], self._waiting[~starts]
        self._before, self._frame, self._features, self.last = before, frame, features, index
        return [DriverResult(index, self.keys, answer)]

    def finish(self) -> list[DriverResult]:
        """See `Driver.finish`: everything has been said."""
        if self._fixed is not None:
            self._state = self._before = self._fixed.end(self._state)
            self._frame = self._features = None
        return []

    def snapshot(self) -> dict[str, Tensor]:
        """See `Driver.snapshot`. (The last frame is not kept: right after a restore, points start on the next.)"""
        own = {
            "keys": self.keys,
            "last": torch.tensor(self.last),
            "new": torch.tensor(len(self._new_xy)),
            "waiting_keys": self._waiting_keys,
            "waiting": self._waiting,
        }
        return {**own, **flatten(self._plain(self._state), "state")}

    def restore(self, snapshot: dict[str, Tensor]) -> None:
        """See `Driver.restore`."""
        self.keys, self.last = snapshot["keys"], int(snapshot["last"])
        self._waiting_keys, self._waiting = snapshot["waiting_keys"], snapshot["waiting"]
        self._state = unflatten(self.model.start(self.size), snapshot, "state")
        self._before, self._frame, self._features, self._new_xy = self._state, None, None, torch.zeros(0, 2)

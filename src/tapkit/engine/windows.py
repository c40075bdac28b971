"""WindowDriver: sliding windows over a stream. Every frame is encoded once; windows overlap on kept features."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tapkit.engine.costs import points_within
from tapkit.engine.driver import DriverResult
from tapkit.engine.fetch import to_host
from tapkit.engine.state import flatten, unflatten
from tapkit.models.base import EndsWithClip, Prediction, Size, WindowModel
from tapkit.nn.transfer import sent


class WindowDriver:
    """Drives a `WindowModel`.

    A window is tracked as soon as its last frame is there. The frames that the next window sees again are answered
    provisionally, the others finally. Points may be added on any frame that the next window will see, and join with
    it. A clip that ends within a window is continued with the features of its last frame, as most authors do (so are
    clips shorter than one window); or, for a model that `EndsWithClip`, its last window is moved back.
    """

    def __init__(self, model: WindowModel, size: Size, budget: int | None = None, frames: int | None = None) -> None:
        # The budget was kept already, by `points_at_once`.
        self.model = model
        self.size = size
        self.keys = torch.zeros(0, dtype=torch.long)
        self.queries = torch.zeros(0, 3)
        self._sent: Tensor | None = None
        """The queries on the model's device; None: not there yet."""
        self._state: Any = model.start(size)
        self._moves_back = isinstance(model, EndsWithClip)
        if isinstance(model, EndsWithClip) and frames is not None:
            self._state = model.expect_frames(self._state, frames)
        self._joined = 0
        """Rows that the state holds; the others join in the next window."""
        self._window: Any = None
        """Features of frames from `_held_from` on, `_filled` of them so far."""
        self._filled = 0
        self._held_from = 0
        self._first = 0
        """The first frame of the next window."""
        self._pending: Prediction | None = None
        """What is said provisionally of the frames from `_said` on, for the rows that the state holds."""
        self._said = 0

    @staticmethod
    def points_at_once(model: WindowModel, size: Size, budget: int | None, count: int) -> int:
        """See `Driver.points_at_once`: the features of one window are held beside the points."""
        return points_within(budget, model, size, count, "window")

    @property
    def earliest(self) -> int:
        """The first frame of the next window."""
        return self._first

    def add(self, keys: Tensor, queries: Tensor) -> None:
        """See `Driver.add`."""
        self.keys = torch.cat([self.keys, keys])
        self.queries, self._sent = torch.cat([self.queries, queries]), None

    def remove(self, keys: Tensor) -> None:
        """See `Driver.remove`."""
        keep = ~torch.isin(self.keys, keys)
        rows = keep[: self._joined].nonzero()[:, 0]
        if len(rows) < self._joined:
            self._state = self.model.select(self._state, sent(rows, self.model.device))
            if self._pending is not None:
                self._pending = Prediction(*(part[rows] for part in self._pending))
            self._joined = len(rows)
        self.keys, self.queries, self._sent = self.keys[keep], self.queries[keep], None

    def step(self, index: int, frame: Tensor, ready: Any = None) -> list[DriverResult]:
        """See `Driver.step`."""
        self._store(self.model.encode(frame[None]))
        if self._filled < self.model.window or self._held_from < self._first:
            # A window that is moved back may yet begin `window` frames before the end, if this is the end.
            return self._settle(index + 1 - self.model.window) if self._moves_back else []
        first = self._first
        results = self._settle(first)
        self._pending, self._said = self._run(first), first
        self._advance()
        results += self._settle(first + 1 if self._moves_back else self._first)
        return results + self._results(self._said, self._pending, final=0)

    def finish(self) -> list[DriverResult]:
        """See `Driver.finish`."""
        end = self._held_from + self._filled
        covered = 0 if self._pending is None else self._first - self.model.stride + self.model.window
        if end > covered:
            first, prediction = self._last_window(end)
            self._said = max(self._said, first)
            left = Prediction(*(part[:, self._said - first : end - first] for part in prediction))
            return self._results(self._said, left, final=end - self._said)
        results: list[DriverResult] = []
        if self._pending is not None:
            results += self._results(self._said, self._pending, final=end - self._said)
            if self._joined < len(self.keys):  # points that were added after the last window
                old = self._joined
                first, prediction = self._last_window(end)
                late = Prediction(*(part[old:, : end - first] for part in prediction))
                results += self._results(first, late, final=end - first, keys=self.keys[old:])
        return results

    def snapshot(self) -> dict[str, Tensor]:
        """See `Driver.snapshot`."""
        counts = torch.tensor([self._joined, self._filled, self._first, int(self._pending is not None)])
        places = torch.tensor([self._held_from, self._said])
        flat = {"keys": self.keys, "queries": self.queries, "counts": counts, "places": places}
        flat |= flatten(self._state, "state")
        if self._filled:
            kept = {name: part[: self._filled] for name, part in flatten(self._window, "window").items()}
            flat |= kept
        if self._pending is not None:
            flat |= flatten(self._pending, "pending")
        return flat

    def restore(self, snapshot: dict[str, Tensor]) -> None:
        """See `Driver.restore`."""
        self.keys, self.queries, self._sent = snapshot["keys"], snapshot["queries"], None
        joined, filled, first, pending = snapshot["counts"].tolist()
        self._state = unflatten(self.model.start(self.size), snapshot, "state")
        self._joined, self._first, self._filled = joined, first, 0
        self._held_from, self._said = snapshot["places"].tolist() if "places" in snapshot else (first, first)
        self._window, self._pending = None, None
        device = self.model.device
        if filled:
            blank = torch.zeros(1, 3, *self.size, dtype=torch.uint8, device=device)
            self._store(unflatten(self.model.encode(blank), snapshot, "window"))
        if pending:
            empty = torch.zeros(0)
            self._pending = unflatten(Prediction(empty, empty, empty), snapshot, "pending")

    # -- the window ---------------------------------------------------------------------------------

    def _store(self, features: Any) -> None:
        """Append the features of some frames; the oldest make room for them where all are held."""
        parts = flatten(features)
        count, window = len(next(iter(parts.values()))), self.model.window
        if self._window is None:
            room = {name: part.new_empty(window, *part.shape[1:]) for name, part in parts.items()}
            self._window = unflatten(features, room)
        self._drop(max(self._filled + count - window, 0))
        for name, part in flatten(self._window).items():
            part[self._filled : self._filled + count] = parts[name]
        self._filled += count

    def _drop(self, count: int) -> None:
        """Forget the features of the first `count` frames."""
        if not count:
            return
        for part in flatten(self._window).values():
            for place in range(count, self._filled):  # one by one: without a copy of them all
                part[place - count] = part[place]
        self._filled -= count
        self._held_from += count

    def _pad(self) -> None:
        """Repeat the last frame to the end of the window."""
        for part in flatten(self._window).values():
            part[self._filled :] = part[self._filled - 1 : self._filled]

    def _advance(self) -> None:
        """Go on to the next window; of the frames it does not see, only one that may be moved back needs any."""
        self._first += self.model.stride
        if not self._moves_back:
            self._drop(self.model.stride)

    def _last_window(self, end: int) -> tuple[int, Prediction]:
        """The window that ends with the clip, or beyond it: its first frame, and what it says."""
        if not self._moves_back or end < self.model.window:
            self._pad()
        return self._held_from, self._run(self._held_from)

    def _run(self, first: int) -> Prediction:
        """Track the window from frame `first` on, which lies ready."""
        if self._sent is None:  # sent to the device once, not for every window
            self._sent = sent(self.queries, self.model.device)
        queries = self._sent
        self._state, prediction = self.model.step(self._state, self._window, first, queries)
        self._joined = len(self.keys)
        return to_host(prediction)

    def _settle(self, until: int) -> list[DriverResult]:
        """Nothing can change any more about the frames before `until`: what is pending about them, for good."""
        count = until - self._said
        if count <= 0 or self._pending is None:
            return []
        first, pending = self._said, self._pending
        self._said, self._pending = until, Prediction(*(part[:, count:] for part in pending))
        return self._results(first, Prediction(*(part[:, :count] for part in pending)), final=count)

    def _results(
        self, first: int, prediction: Prediction, final: int, keys: Tensor | None = None
    ) -> list[DriverResult]:
        """One result for each frame from `first` on, the first `final` of them for good; begun points only."""
        keys = self.keys[: len(prediction.xy)] if keys is None else keys
        t = self.queries[torch.isin(self.keys, keys), 0]
        results = []
        for offset in range(prediction.xy.shape[1]):
            frame = first + offset
            begun = t <= frame
            if begun.any():
                rows = begun.nonzero()[:, 0]
                one = Prediction(*(part[rows, offset] for part in prediction))
                results.append(DriverResult(frame, keys[begun], one, offset < final))
        return results

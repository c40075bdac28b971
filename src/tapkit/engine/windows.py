"""WindowDriver: sliding windows over a stream. Every frame is encoded once; windows overlap on kept features."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tapkit.engine.driver import DriverResult
from tapkit.engine.memory import points_at_once
from tapkit.engine.state import flatten, unflatten
from tapkit.models.base import Prediction, Size, WindowModel


class WindowDriver:
    """Drives a `WindowModel`.

    A window is tracked as soon as its last frame is there. The frames that the next window sees again are answered
    provisionally, the others finally. Points may be added on any frame that the next window will see, and join with
    it. A clip that ends within a window is continued with the features of its last frame, as the authors do; so are
    clips shorter than one window.
    """

    def __init__(self, model: WindowModel, size: Size, budget: int | None = None) -> None:
        # The budget was kept already, by `points_at_once`.
        self.model = model
        self.size = size
        self.keys = torch.zeros(0, dtype=torch.long)
        self.queries = torch.zeros(0, 3)
        self._state: Any = model.start(size)
        self._joined = 0
        """Rows that the state holds; the others join in the next window."""
        self._window: Any = None
        """Features of the next window, its first `_filled` frames so far."""
        self._filled = 0
        self._first = 0
        self._pending: Prediction | None = None
        """What is said provisionally of the frames from `_first` on, for the rows that the state holds."""

    @staticmethod
    def points_at_once(model: WindowModel, size: Size, budget: int | None, count: int) -> int:
        """See `Driver.points_at_once`: the features of one window are held beside the points."""
        return points_at_once(budget, model.window * model.frame_bytes(size), model.point_bytes(size), count)

    @property
    def earliest(self) -> int:
        """The first frame of the next window."""
        return self._first

    def add(self, keys: Tensor, queries: Tensor) -> None:
        """See `Driver.add`."""
        self.keys = torch.cat([self.keys, keys])
        self.queries = torch.cat([self.queries, queries])

    def remove(self, keys: Tensor) -> None:
        """See `Driver.remove`."""
        keep = ~torch.isin(self.keys, keys)
        rows = keep[: self._joined].nonzero()[:, 0].to(self.model.device)
        if len(rows) < self._joined:
            self._state = self.model.select(self._state, rows)
            if self._pending is not None:
                self._pending = Prediction(*(part[rows] for part in self._pending))
            self._joined = len(rows)
        self.keys, self.queries = self.keys[keep], self.queries[keep]

    def step(self, index: int, frame: Tensor) -> list[DriverResult]:
        """See `Driver.step`."""
        self._store(self.model.encode(frame[None]))
        if self._filled < self.model.window:
            return []
        first, stride = self._first, self.model.stride
        prediction = self._run()
        self._pending = Prediction(*(part[:, stride:] for part in prediction))
        self._advance()
        return self._results(first, prediction, final=stride)

    def finish(self) -> list[DriverResult]:
        """See `Driver.finish`."""
        covered = 0 if self._pending is None else self.model.window - self.model.stride
        results: list[DriverResult] = []
        if self._filled > covered:
            length = self._filled
            self._pad()
            prediction = Prediction(*(part[:, :length] for part in self._run()))
            return self._results(self._first, prediction, final=length)
        if self._pending is not None:
            results += self._results(self._first, self._pending, final=covered)
            if self._joined < len(self.keys):  # points that were added after the last window
                old = self._joined
                self._pad()
                late = Prediction(*(part[old:, :covered] for part in self._run()))
                results += self._results(self._first, late, final=covered, keys=self.keys[old:])
        return results

    def snapshot(self) -> dict[str, Tensor]:
        """See `Driver.snapshot`."""
        counts = torch.tensor([self._joined, self._filled, self._first, int(self._pending is not None)])
        flat = {"keys": self.keys, "queries": self.queries, "counts": counts, **flatten(self._state, "state")}
        if self._filled:
            kept = {name: part[: self._filled] for name, part in flatten(self._window, "window").items()}
            flat |= kept
        if self._pending is not None:
            flat |= flatten(self._pending, "pending")
        return flat

    def restore(self, snapshot: dict[str, Tensor]) -> None:
        """See `Driver.restore`."""
        self.keys, self.queries = snapshot["keys"], snapshot["queries"]
        joined, filled, first, pending = snapshot["counts"].tolist()
        self._state = unflatten(self.model.start(self.size), snapshot, "state")
        self._joined, self._first, self._filled = joined, first, 0
        self._window, self._pending = None, None
        device = self.model.device
        if filled:
            blank = torch.zeros(1, 3, *self.size, dtype=torch.uint8, device=device)
            self._store(unflatten(self.model.encode(blank), snapshot, "window"))
        if pending:
            empty = torch.zeros(0, device=device)
            self._pending = unflatten(Prediction(empty, empty, empty), snapshot, "pending")

    # -- the window ---------------------------------------------------------------------------------

    def _store(self, features: Any) -> None:
        """Append the features of some frames."""
        parts = flatten(features)
        count = len(next(iter(parts.values())))
        if self._window is None:
            window = {name: part.new_empty(self.model.window, *part.shape[1:]) for name, part in parts.items()}
            self._window = unflatten(features, window)
        for name, part in flatten(self._window).items():
            part[self._filled : self._filled + count] = parts[name]
        self._filled += count

    def _pad(self) -> None:
        """Repeat the last frame to the end of the window."""
        for part in flatten(self._window).values():
            part[self._filled :] = part[self._filled - 1 : self._filled]

    def _advance(self) -> None:
        """Keep the frames that the next window sees again."""
        stride = self.model.stride
        self._filled = self.model.window - stride
        for part in flatten(self._window).values():
            part[: self._filled] = part[stride:].clone()
        self._first += stride

    def _run(self) -> Prediction:
        """Track the window that lies ready."""
        queries = self.queries.to(self.model.device)
        self._state, prediction = self.model.step(self._state, self._window, self._first, queries)
        self._joined = len(self.keys)
        return prediction

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
                rows = begun.nonzero()[:, 0].to(prediction.xy.device)
                one = Prediction(*(part[rows, offset] for part in prediction))
                results.append(DriverResult(frame, keys[begun], one, offset < final))
        return results

"""GroupDriver: sliding windows that begin on the frames of the queries. Points of one frame are a group."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tapkit.engine.costs import points_within
from tapkit.engine.driver import DriverResult
from tapkit.engine.fetch import to_host
from tapkit.engine.state import flatten, unflatten
from tapkit.models.base import Prediction, Size, WindowModel
from tapkit.nn.transfer import sent


@dataclass
class _Group:
    """The points of one frame. Its next window begins on frame `first`; what lies before is answered for good."""

    first: int
    keys: Tensor
    queries: Tensor
    state: Any
    pending: Prediction | None = None
    """What the last window said of the frames from `first` on; None before the first window."""


@dataclass
class _Held:
    """Final answers that wait until all groups have answered for their frame."""

    keys: Tensor
    prediction: Prediction
    """Of one frame."""


@dataclass
class _Frames:
    """Features of the last frames, one by one, the first of them that of frame `begin`."""

    begin: int = 0
    features: list[dict[str, Tensor]] = field(default_factory=list)

    @property
    def end(self) -> int:
        """The frame that comes next."""
        return self.begin + len(self.features)

    def of(self, template: Any, first: int, stop: int) -> Any:
        """Features of frames first..stop as the model takes them."""
        some = self.features[first - self.begin : stop - self.begin]
        return unflatten(template, {name: torch.cat([one[name] for one in some]) for name in some[0]})


class GroupDriver:
    """Drives a `WindowModel` that `BeginsOnQueries`.

    Frames are encoded once for all groups. A group's window is tracked as soon as its last frame is there: its first
    `stride` frames are then answered for good, the others provisionally. Groups are out of step with one another, so
    final answers wait until no group owes one for an earlier frame: they come frame by frame, in order. Points may be
    added on any frame that is still held and not answered for good.
    """

    def __init__(self, model: WindowModel, size: Size, budget: int | None = None, frames: int | None = None) -> None:
        # The budget was kept already, by `points_at_once`.
        self.model = model
        self.size = size
        self._frames = _Frames()
        self._groups: dict[int, _Group] = {}
        """By the frame that their points begin on."""
        self._held: dict[int, list[_Held]] = {}
        """By frame."""
        self._answered = 0
        """Frames before this one have been answered for good."""
        self._template: Any = None

    @staticmethod
    def points_at_once(model: WindowModel, size: Size, budget: int | None, count: int) -> int:
        """See `Driver.points_at_once`: the features of one window, and a step's share, are held beside the points."""
        return points_within(budget, model, size, count, "window")

    @property
    def earliest(self) -> int:
        """The first frame whose features are held and which has not been answered for good."""
        return max(self._frames.begin, self._answered)

    # -- points -----------------------------------------------------------------------------------

    def add(self, keys: Tensor, queries: Tensor) -> None:
        """See `Driver.add`."""
        begin = queries[:, 0].round().long()
        for t in torch.unique(begin).tolist():
            rows = begin == t
            group = self._groups.get(t)
            if group is None:
                self._groups[t] = _Group(t, keys[rows], queries[rows], self.model.start(self.size))
            else:  # it has not run yet: on frames that are answered for good no point is taken
                group.keys = torch.cat([group.keys, keys[rows]])
                group.queries = torch.cat([group.queries, queries[rows]])

    def remove(self, keys: Tensor) -> None:
        """See `Driver.remove`."""
        for t, group in list(self._groups.items()):
            keep = ~torch.isin(group.keys, keys)
            if keep.all():
                continue
            if not keep.any():
                del self._groups[t]
                continue
            group.keys, group.queries = group.keys[keep], group.queries[keep]
            if group.pending is not None:
                rows = keep.nonzero()[:, 0]
                group.state = self.model.select(group.state, sent(rows, self.model.device))
                group.pending = Prediction(*(part[rows] for part in group.pending))
        for frame, parts in list(self._held.items()):
            self._held[frame] = [kept for part in parts if (kept := _without(part, keys)) is not None]

    # -- frames -----------------------------------------------------------------------------------

    def step(self, index: int, frame: Tensor, ready: Any = None) -> list[DriverResult]:
        """See `Driver.step`."""
        self._store(self.model.encode(frame[None]))
        window = self.model.window
        provisional: list[DriverResult] = []
        for group in self._in_order():
            if self._frames.end == group.first + window:
                provisional += self._run(group, window)
        # What no window can need any more, once the next frame has come.
        while len(self._frames.features) >= window:
            self._frames.features.pop(0)
            self._frames.begin += 1
        final = self._released(min((group.first for group in self._groups.values()), default=self._frames.end))
        waiting = [
            DriverResult(frame, part.keys, part.prediction, final=False)
            for frame, parts in self._held.items()
            for part in parts
        ]
        return final + sorted(waiting + provisional, key=lambda result: result.frame)

    def finish(self) -> list[DriverResult]:
        """See `Driver.finish`."""
        end = self._frames.end
        for group in self._in_order():
            covered = 0 if group.pending is None else group.pending.xy.shape[1]
            if end - group.first > covered:
                self._run(group, end - group.first)
            if group.pending is not None:  # what the last window said of the rest is what is said of it
                self._hold(group, group.pending)
        return self._released(end)

    def _store(self, features: Any) -> None:
        self._template = features
        self._frames.features.append(flatten(features))

    def _in_order(self) -> Iterable[_Group]:
        return sorted(self._groups.values(), key=lambda group: group.first)

    def _run(self, group: _Group, length: int) -> list[DriverResult]:
        """Track a group's next window, `length` frames of which are there; what is final of it is held."""
        features = self._frames.of(self._template, group.first, group.first + length)
        queries = sent(group.queries, self.model.device)
        group.state, answer = self.model.step(group.state, features, group.first, queries)
        prediction = to_host(answer)
        stride = min(self.model.stride, length)
        self._hold(group, Prediction(*(part[:, :stride] for part in prediction)))
        group.pending = Prediction(*(part[:, stride:] for part in prediction))
        group.first += stride
        later = range(length - stride)
        return [DriverResult(group.first + i, group.keys, _of_frame(group.pending, i), final=False) for i in later]

    def _hold(self, group: _Group, prediction: Prediction) -> None:
        """Final answers of a group, from frame `group.first` on."""
        for offset in range(prediction.xy.shape[1]):
            held = _Held(group.keys, _of_frame(prediction, offset))
            self._held.setdefault(group.first + offset, []).append(held)

    def _released(self, end: int) -> list[DriverResult]:
        """The final answers for frames before `end`, one for each frame."""
        results = []
        for frame in sorted(frame for frame in self._held if frame < end):
            parts = self._held.pop(frame)
            if parts:
                keys = torch.cat([part.keys for part in parts])
                columns = zip(*(part.prediction for part in parts), strict=True)
                prediction = Prediction(*(column[0] if len(column) == 1 else torch.cat(column) for column in columns))
                results.append(DriverResult(frame, keys, prediction))
            self._answered = max(self._answered, frame + 1)
        return results

    # -- saving -----------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Tensor]:
        """See `Driver.snapshot`."""
        flat = {"counts": torch.tensor([self._frames.begin, len(self._frames.features), self._answered])}
        if self._frames.features:
            first, stop = self._frames.begin, self._frames.end
            flat |= flatten(self._frames.of(self._template, first, stop), "frames")
        begins = sorted(self._groups)
        flat["groups"] = torch.tensor(begins, dtype=torch.long)
        for t in begins:
            group = self._groups[t]
            flat |= {f"group{t}.keys": group.keys, f"group{t}.queries": group.queries}
            flat |= {f"group{t}.first": torch.tensor(group.first), **flatten(group.state, f"group{t}.state")}
            if group.pending is not None:
                flat |= flatten(group.pending, f"group{t}.pending")
        held = [(frame, part) for frame in sorted(self._held) for part in self._held[frame]]
        flat["held"] = torch.tensor([frame for frame, _ in held], dtype=torch.long)
        for number, (_, part) in enumerate(held):
            flat |= {f"held{number}.keys": part.keys, **flatten(part.prediction, f"held{number}")}
        return flat

    def restore(self, snapshot: dict[str, Tensor]) -> None:
        """See `Driver.restore`."""
        device, empty = self.model.device, self.model.start(self.size)
        nothing = torch.zeros(0)
        blank = Prediction(nothing, nothing, nothing)
        begin, count, self._answered = snapshot["counts"].tolist()
        self._frames = _Frames(begin)
        if count:
            black = torch.zeros(1, 3, *self.size, dtype=torch.uint8, device=device)
            self._template = self.model.encode(black)
            parts = flatten(unflatten(self._template, snapshot, "frames"))
            self._frames.features = [{name: part[i : i + 1] for name, part in parts.items()} for i in range(count)]
        self._groups, self._held = {}, {}
        for t in snapshot["groups"].tolist():
            own = {name: snapshot[f"group{t}.{name}"] for name in ("keys", "queries")}
            state = unflatten(empty, snapshot, f"group{t}.state")
            group = _Group(int(snapshot[f"group{t}.first"]), own["keys"], own["queries"], state)
            if f"group{t}.pending.xy" in snapshot:
                group.pending = unflatten(blank, snapshot, f"group{t}.pending")
            self._groups[t] = group
        for number, frame in enumerate(snapshot["held"].tolist()):
            prediction = unflatten(blank, snapshot, f"held{number}")
            self._held.setdefault(frame, []).append(_Held(snapshot[f"held{number}.keys"], prediction))


def _of_frame(prediction: Prediction, offset: int) -> Prediction:
    """One frame of a window's prediction."""
    return Prediction(*(part[:, offset] for part in prediction))


def _without(held: _Held, keys: Tensor) -> _Held | None:
    """What is left of held answers when these points are removed."""
    keep = ~torch.isin(held.keys, keys)
    if not keep.any():
        return None
    rows = keep.nonzero()[:, 0]
    return _Held(held.keys[keep], Prediction(*(part[rows] for part in held.prediction)))

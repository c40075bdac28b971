"""Steps of causal trackers with a fixed number of rows: points take up slots, and what is left of them is spare.

A step for 37 points is other work than one for 38, and would have to be recorded or compiled anew with every click. So
rows are filled up to the next of a few numbers (`rung`): the step is then the same work, whoever comes or goes. On
frames on which points begin it is done as ever, without spare rows and without a recording.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tapkit.engine.recording import Recording, Work
from tapkit.engine.state import flatten, unflatten
from tapkit.models.base import Carried, FixedStep, Prediction
from tapkit.nn.measured import Faster

LEAST, MOST = 16, 4096
"""Rows at least; with more rows than the second number the device is busy without help."""
PATIENCE = 3
"""Frames of a kind that are stepped as ever before the work is recorded: short clips, and points that come one by one,
are not worth it."""
IDLE = 2
"""Recordings that a model keeps for the sessions to come."""


def rung(count: int) -> int | None:
    """Rows for `count` points: the next power of two, or three quarters of one. None: as many as there are points.

    >>> [rung(count) for count in (1, 16, 17, 24, 25, 64, 65, 400, 5000)]
    [16, 16, 24, 24, 32, 64, 96, 512, None]
    """
    rows = max(1 << (count - 1).bit_length(), LEAST)
    if rows > MOST:
        return None
    lower = rows * 3 // 4
    return lower if LEAST <= count <= lower else rows


class Padded(NamedTuple):
    """A state with spare rows, as `FixedSteps` hands it from frame to frame."""

    state: Any
    """Of `rows` points, the first `points` of which are meant."""
    points: int
    rows: int


class Stepped(NamedTuple):
    """What a fixed step gives."""

    before: Padded
    """The state that it went on from: where that was may have been written to."""
    after: Padded
    prediction: Prediction
    """Of the points that are meant, on the host."""
    features: Any
    """Of the frame; an empty tuple: the model has none."""


NEAR = 1e-4
"""By how much of the largest coordinate recorded answers may differ: the kernels are the same."""


@lru_cache(maxsize=64)
def _faster(name: str, options: str) -> Faster:
    return Faster(f"the recorded step of {name}", near=NEAR)


def recorded_where_it_wins(model: Any, kind: Hashable, work: Work, inputs: Any) -> Recording | None:
    """The work recorded, if it then gives the same in less time; None if not."""
    device = model.device
    made: list[Recording] = []

    def kernel() -> Tensor:
        if not made:
            made.append(Recording(work, inputs, device))
        answers: Tensor = made[0](inputs)[1]
        return answers

    def plain() -> Tensor:
        answers: Tensor = work(inputs)[1]
        return answers

    won = _faster(model.card.id, repr(model.options)).wins((kind, device), kernel, plain)
    if won and not made:  # known from another session
        try:
            made.append(Recording(work, inputs, device))
        except RuntimeError:  # out of memory, for instance
            return None
    return made[0] if won else None


def step_work(model: Any, facts: Hashable) -> Work:
    """The step as a function of nested tensors: (state, frame, held) -> (state, answers [K,4], features)."""

    def work(inputs: Any) -> Any:
        tensors, frame, held = inputs
        after, prediction, features = model.fixed_step(Carried(tensors, facts), frame, held)
        parts = [prediction.xy, prediction.visible[:, None], prediction.confidence[:, None]]
        return after, torch.cat([part.float() for part in parts], 1), features

    return work


class FixedSteps:
    """The fixed steps of one session of a model with a `FixedStep`.

    `record`: whether they are recorded where that wins. `always`: whether they have a fixed number of rows where they
    are not recorded, too, and from the first one on (that is what `torch.compile` needs).
    """

    def __init__(self, model: Any, record: bool = True, always: bool = False) -> None:
        self.model, self._record, self.always = model, record, always
        self._kind: Hashable = None
        self._seen = 0
        self._rows = 0
        self._recorded: Recording | None = None
        self._refused = False
        self._held, self._count = torch.zeros(0, dtype=torch.bool), 0

    @staticmethod
    def serve(model: Any) -> FixedSteps | None:
        """Those of a model, if it is to have any: on CUDA, and where its parts are compiled; not where the user said
        that nothing is to be (`TorchModel.fixed_steps`)."""
        asked, cuda = getattr(model, "fixed_steps", False), model.device.type == "cuda"
        if not isinstance(model, FixedStep) or asked is False:
            return None
        if not cuda and asked is None:
            return None
        return FixedSteps(model, cuda, asked is True)

    def step(self, state: Any, count: int, frame: Tensor) -> Stepped | None:
        """The step of `count` points that are in `state`, on `frame`; None: it is to be done as ever."""
        if not count or self._rows_for(count) is None:
            return None
        carried = self.model.carried(state.state if isinstance(state, Padded) else state)
        if carried is None:
            return None
        kind = (self._rows, carried.facts, tuple(frame.shape), getattr(self.model, "settled", 0))
        if kind != self._kind:  # what there was is not kept: the state may still lie in it
            self._kind, self._seen, self._refused, self._recorded = kind, 0, False, None
        self._seen += 1
        waited = self._seen > PATIENCE or kind in self._idle()
        recording = self._record and not self._refused and waited
        if not recording and not self.always:
            return None
        padded = self._padded(state, count)
        carried = self.model.carried(padded.state)
        inputs = (carried.tensors, frame, self._holding(count, frame.device))
        work = step_work(self.model, carried.facts)
        if recording and self._recorded is None:
            known = self._idle().pop(kind, None)
            self._recorded = known or recorded_where_it_wins(self.model, kind, work, inputs)
            self._refused = self._recorded is None
        if self._recorded is None and not self.always:
            return None
        tensors, answers, features = (self._recorded or work)(inputs)
        if self._recorded is not None:  # that is where they were copied to
            padded = padded._replace(state=_with(self.model, padded.state, self._recorded.inputs[0]))
        answers = answers[:count].cpu()
        after = Padded(self.model.after(padded.state, tensors), count, padded.rows)
        return Stepped(padded, after, Prediction(answers[:, :2], answers[:, 2], answers[:, 3]), features)

    def _rows_for(self, count: int) -> int | None:
        """As many rows as before, unless there are too few of them, or more than four times what is needed."""
        wanted = rung(count)
        if wanted is None or not wanted <= self._rows <= 4 * wanted:
            self._rows = wanted or 0
        return wanted

    def _holding(self, count: int, device: torch.device) -> Tensor:
        """Which rows are meant, bool [rows]: the first `count`."""
        if len(self._held) != self._rows or self._count != count or self._held.device != device:
            self._held, self._count = torch.arange(self._rows, device=device) < count, count
        return self._held

    def _padded(self, state: Any, count: int) -> Padded:
        """The state with as many rows as are wanted: what is spare are copies of the first point."""
        if isinstance(state, Padded):
            if state.rows == self._rows and state.points == count:
                return state
            state = self.plain(state)
        if count == self._rows:
            return Padded(state, count, count)
        own = torch.arange(self._rows, device=self.model.device)
        return Padded(self.model.select(state, own * (own < count)), count, self._rows)

    def plain(self, state: Any) -> Any:
        """The state without spare rows."""
        if not isinstance(state, Padded):
            return state
        if state.rows == state.points:
            return state.state
        return self.model.select(state.state, torch.arange(state.points, device=self.model.device))

    # -- recordings outlive sessions: the next one, of frames as large and about as many points, need not record ------

    def _idle(self) -> dict[Hashable, Recording]:
        kept: dict[Hashable, Recording] = self.model.__dict__.setdefault("_idle_recordings", {})
        return kept

    def end(self, state: Any) -> Any:
        """No more steps. What was recorded may serve another session from here on, which will write to where it left
        the state: returned is one, without spare rows, that lies elsewhere."""
        state = self.plain(state)
        if self._recorded is None:
            return state
        state = unflatten(state, {name: part.clone() for name, part in flatten(state).items()})
        idle = self._idle()
        idle[self._kind] = self._recorded
        while len(idle) > IDLE:
            idle.pop(next(iter(idle)), None)
        self._kind = self._recorded = None
        return state


def forget(model: Any) -> None:
    """Give up what was recorded and is not in use: the device has no room."""
    model.__dict__.pop("_idle_recordings", None)


def _with(model: Any, state: Any, tensors: Any) -> Any:
    """`state`, its tensors being those."""
    own = flatten(model.carried(state).tensors)
    swapped = {id(part): flatten(tensors)[name] for name, part in own.items()}
    return unflatten(state, {name: swapped.get(id(part), part) for name, part in flatten(state).items()})

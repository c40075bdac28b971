"""Steps with a fixed number of rows: the same answers, whoever comes or goes, and however many rows are spare."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
import contract
from contract import answers

from tapkit.engine import slots
from tapkit.engine.slots import FixedSteps, Padded, rung
from tapkit.engine.state import flatten, unflatten
from tapkit.types import VideoInfo

TRACKERS = ["strand", "tapir-causal", "tapnext", "track-on2"]
"""One of each network with a fixed step."""
NEAR = 1e-4


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rungs at 2, 3, 4, 6, ... rows, so that a few points go through several."""
    monkeypatch.setattr(slots, "LEAST", 2)


def play(subject: contract.Subject) -> contract.Answers:
    """Points come while it runs, on the frame to come, on the one just seen, and on a later one; and go."""
    points = [(0, 20.0, 30.0), (0, 50.0, 40.0), (2, 60.0, 22.0)]
    session = subject.tracker.start(VideoInfo(contract.WIDTH, contract.HEIGHT), points)
    results = []
    for index, frame in enumerate(np.concatenate([subject.frames, subject.frames[::-1]])):
        if index == 3:
            session.add([(4, 33.0, 21.0), (5, 70.0, 50.0)])
        if index == 5:
            session.remove(["1"])
        if index == 6:
            session.add([(session.earliest, 40.0, 21.0)])
        results += session.step(frame)
    return answers(results + session.finish())


@pytest.mark.parametrize("name", TRACKERS)
def test_answers_are_those_of_plain_steps(name: str, few_rows: None) -> None:
    subject = contract.subject.__wrapped__(name)
    plain = play(subject)
    subject.model.fixed_steps = True
    contract.same(play(subject), plain, NEAR)


class Watched(FixedSteps):
    """Keeps how many rows each step had, and puts something else into the spare ones."""

    rows: ClassVar[list[int]] = []

    def _padded(self, state: Any, count: int) -> Padded:
        padded = super()._padded(state, count)
        Watched.rows.append(padded.rows)
        model = self.model
        first, each = getattr(model, "supporting", 0), 1
        if model.card.id == "tapnext":
            first, each = len(model._positions), model.slots
        rows = slice(first + each * count, first + each * padded.rows)

        def changed(part: Tensor) -> Tensor:
            part = part.clone()
            part[rows] = -3 * part[rows] + 1
            return part

        if model.card.id == "strand":
            others = {name: getattr(padded.state, name) for name in ("hidden", "xy", "motion", "seen", "template")}
            return padded._replace(state=padded.state._replace(**{k: changed(v) for k, v in others.items()}))
        name = "memory" if model.card.id == "tapnext" else "points"
        inner = unflatten(
            getattr(padded.state, name),
            {key: changed(part) for key, part in flatten(getattr(padded.state, name)).items() if key != "age"}
            | {key: part for key, part in flatten(getattr(padded.state, name)).items() if key == "age"},
        )
        return padded._replace(state=padded.state._replace(**{name: inner}))


@pytest.mark.parametrize("name", ["strand", "track-on2", "tapnext"])
def test_spare_rows_change_nothing_and_grow_by_rungs(
    name: str, few_rows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = contract.subject.__wrapped__(name)
    plain = play(subject)
    Watched.rows.clear()
    monkeypatch.setattr("tapkit.engine.causal.FixedSteps.serve", lambda model: Watched(model, False, True))
    contract.same(play(subject), plain, NEAR)
    assert Watched.rows == [2, 3, 6, 6], "frames on which nobody begins"


def test_rungs() -> None:
    assert [rung(count) for count in (1, 15, 16, 17, 24, 25, 33, 48, 49, 1000, 4096, 4097)] == [
        16, 16, 16, 24, 24, 32, 48, 48, 64, 1024, 4096, None,
    ]  # fmt: skip
    assert all((rung(count) or 0) >= count for count in range(1, 4097))


def test_a_removed_point_does_not_make_other_rows(few_rows: None) -> None:
    steps = FixedSteps(contract.subject.__wrapped__("strand").model, False, True)
    seen = []
    for count in (6, 5, 4, 2, 1, 3, 7):
        steps._rows_for(count)
        seen.append(steps._rows)
    assert seen == [6, 6, 6, 6, 6, 6, 8]
    steps._rows_for(2)
    assert steps._rows == 8
    steps._rows = 64
    steps._rows_for(2)
    assert steps._rows == 2, "far too many"


def test_on_a_cpu_nobody_has_them_who_did_not_ask() -> None:
    model = contract.subject.__wrapped__("strand").model
    assert FixedSteps.serve(model) is None
    model.fixed_steps = True
    steps = FixedSteps.serve(model)
    assert steps is not None and steps.always and not steps._record
    assert FixedSteps.serve(contract.subject.__wrapped__("lucas-kanade").model) is None


def test_a_session_is_saved_without_spare_rows(few_rows: None) -> None:
    subject = contract.subject.__wrapped__("strand")
    plain = subject.start([(0, 20.0, 30.0), (0, 50.0, 40.0), (0, 60.0, 40.0), (0, 60.0, 20.0), (0, 30.0, 20.0)])
    subject.model.fixed_steps = True
    fixed = subject.start([(0, 20.0, 30.0), (0, 50.0, 40.0), (0, 60.0, 40.0), (0, 60.0, 20.0), (0, 30.0, 20.0)])
    for frame in subject.frames[:3]:
        plain.step(frame)
        fixed.step(frame)
    assert isinstance(fixed._driver._state, Padded)
    ours, theirs = fixed.state_dict(), plain.state_dict()
    assert {name: part.shape for name, part in ours.items()} == {name: part.shape for name, part in theirs.items()}
    subject.model.fixed_steps = None
    again = subject.start()
    again.load_state_dict(ours)
    contract.same(answers(again.step(subject.frames[3])), answers(plain.step(subject.frames[3])), NEAR)

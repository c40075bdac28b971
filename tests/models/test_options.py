"""Options of trackers: one way to give them, checked in one place, listed as data."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, dataclass
from typing import Literal

import pytest

from tapkit import registry
from tapkit.errors import UsageError
from tapkit.models.options import EXACT, MEASURED, NetworkOptions, Options


@dataclass(frozen=True)
class Some(Options):
    """Options of all types."""

    steps: int = 4
    """How often."""
    rate: float = 0.5
    """How much,
    in one line."""
    mode: Literal["a", "b"] = "a"
    size: tuple[int, int] | None = (256, 256)
    sizes: tuple[tuple[int, int], ...] | None = None
    name: str = ""
    fast: bool = False

    def check(self) -> None:
        if self.steps < 1:
            raise UsageError(f"steps must be at least 1, got {self.steps}")


def test_values_are_brought_to_their_types() -> None:
    given = {"steps": 8.0, "rate": 1, "size": 64, "sizes": [[8, 16], 32], "fast": True}
    some = Some.of("toy", given)
    assert some == Some(steps=8, rate=1.0, size=(64, 64), sizes=((8, 16), (32, 32)), fast=True)
    assert Some.of("toy", {"size": [48, 64]}).size == (48, 64) and Some.of("toy", {"size": None}).size is None
    assert json.loads(json.dumps(some.to_json()))["sizes"] == [[8, 16], [32, 32]]
    with pytest.raises(FrozenInstanceError):
        some.steps = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"step": 3}, "toy has no option 'step'; did you mean 'steps'"),
        ({"zzz": 3}, "known: steps, rate"),
        ({"steps": "3"}, "option steps of toy must be a whole number, got '3'"),
        ({"steps": 2.5}, "must be a whole number"),
        ({"steps": True}, "must be a whole number"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"rate": "x"}, "must be a number"),
        ({"mode": "c"}, "must be 'a' or 'b', got 'c'"),
        ({"size": "256x256"}, r"must be \(height, width\) or None"),
        ({"size": (1, 2, 3)}, r"must be \(height, width\) or None"),
        ({"fast": 1}, "must be true or false"),
    ],
)
def test_what_cannot_be_is_one_sentence(given: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Some.of("toy", given)


def test_options_are_listed_with_what_they_do() -> None:
    listed = {field.name: field for field in Some.listed()}
    assert (listed["rate"].type, listed["rate"].default, listed["rate"].help) == (
        "a number",
        0.5,
        "How much, in one line.",
    )


@pytest.mark.parametrize("model", sorted(registry.cards()))
def test_every_option_of_every_tracker_is_documented_and_in_its_provenance(model: str) -> None:
    fields = registry.options(model)
    assert fields and all(field.help and field.type for field in fields)
    assert {field.name for field in fields} == set(registry.build(model).options)
    precision = {field.name: field.default for field in fields}.get("precision")
    if precision is not None:
        ours = model.startswith("strand")
        assert precision == (MEASURED if ours or registry.card(model).half_precision_is_safe else EXACT)
        assert registry.build(model).options["precision"] == (MEASURED if ours else EXACT)
    with pytest.raises(UsageError, match=f"{model} has no option 'windw'"):
        registry.build(model, windw=3)


def test_the_default_precision_is_stated_once() -> None:
    assert NetworkOptions().precision == EXACT == "float32"

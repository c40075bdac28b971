"""Which trackers compute in bfloat16 where nothing is said, and that this is what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tapkit
from tapkit import registry
from tapkit.evaluation.run import Contestant

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "half_precision"
MEASURED = sorted(path.stem for path in RESULTS.glob("*.json"))


@pytest.mark.parametrize("model", MEASURED)
def test_the_card_says_what_was_measured(model: str) -> None:
    change = json.loads((RESULTS / f"{model}.json").read_text())["change_px"]
    assert registry.card(model).half_precision_px == (round(change["median"], 3), round(change["p90"], 3))


@pytest.mark.parametrize(
    ("model", "safe"), [("cotracker3-online", True), ("tapir", False), ("tapnext", False), ("taptr", False)]
)
def test_it_is_the_default_only_where_positions_hardly_move(model: str, safe: bool) -> None:
    listed = {field.name: field.default for field in registry.options(model)}
    assert listed["precision"] == ("auto" if safe else "float32")


def test_loaded_it_is_auto_and_evaluated_float32_and_asked_for_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []
    build = registry.build

    def without_weights(model: str, weights: object, **options: str) -> object:
        made = build(model, None, **options)
        built.append(made.options["precision"])
        return made

    monkeypatch.setattr(registry, "build", without_weights)
    tapkit.load("locotrack-small", {}, "cpu")
    tapkit.load("locotrack-small", {}, "cpu", precision="float32")
    assert built == ["auto", "float32"]
    asked: list[dict[str, str]] = []
    monkeypatch.setattr("tapkit.evaluation.run.load", lambda *_, **options: asked.append(options))
    Contestant.of("locotrack-small").tracker()
    Contestant.of("locotrack-small", precision="bfloat16").tracker()
    Contestant.of("strand").tracker()
    assert asked == [{"precision": "float32"}, {"precision": "bfloat16"}, {}]

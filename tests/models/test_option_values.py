"""Option values that no tracker can work with are refused in one sentence, before anything is built."""

from __future__ import annotations

from typing import Any

import pytest

from tapkit import registry
from tapkit.errors import UsageError


@pytest.mark.parametrize(
    ("model", "option", "value", "says"),
    [
        ("tapir", "softmax_temperature", float("nan"), "softmax_temperature of tapir must be a number"),
        ("tapir", "softmax_temperature", float("inf"), "softmax_temperature of tapir must be a number"),
        ("tapir", "softmax_temperature", 0.0, "softmax_temperature must be above 0"),
        ("tapir-causal", "softmax_temperature", -1, "softmax_temperature must be above 0"),
        ("lucas-kanade", "precision", "half", "precision must be"),
        ("lucas-kanade", "window", 2, "window must be at least 3"),
        ("lucas-kanade", "levels", -1, "levels must be at least 0"),
        ("lucas-kanade", "max_side", 0, "max_side must be at least 1"),
        ("lucas-kanade", "patch", 2, "patch must be at least 3"),
        ("lucas-kanade", "search", 0, "search must be at least 1"),
        ("lucas-kanade", "neighbours", 0, "neighbours must be at least 1"),
    ],
)
def test_a_value_that_cannot_be_is_refused(model: str, option: str, value: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        registry.build(model, None, **{option: value})


def test_a_temperature_that_is_given_is_the_one_in_force() -> None:
    assert registry.build("tapir", None, softmax_temperature=5).options["softmax_temperature"] == 5.0


def test_lucas_kanade_takes_the_precisions_that_networks_take() -> None:
    for precision in ("float32", "bfloat16", "auto"):
        assert "precision" not in registry.build("lucas-kanade", None, precision=precision).options

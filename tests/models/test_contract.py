"""All trackers keep the contract (contract.py says what it is): every card x every promise."""

from __future__ import annotations

from pathlib import Path

import pytest
from contract import PROPERTIES, NotApplicable, Property, known_fault, subject

from tapkit import registry


@pytest.mark.parametrize("promise", PROPERTIES, ids=lambda promise: promise.name.replace(" ", "_"))
@pytest.mark.parametrize("model", list(registry.cards()))
def test_the_contract_is_kept(model: str, promise: Property, request: pytest.FixtureRequest) -> None:
    if fault := known_fault(model, promise.name):
        request.applymarker(pytest.mark.xfail(strict=True, reason=fault, raises=AssertionError))
    try:
        promise.check(subject(model))
    except NotApplicable as reason:
        pytest.skip(str(reason))


def test_the_page_has_every_tracker_and_every_promise() -> None:
    """docs/reference/contract.md is written by tools/contract_table.py; a new tracker or promise needs a new page."""
    page = Path(__file__).parents[2] / "docs" / "reference" / "contract.md"
    head, *rows = [line for line in page.read_text().splitlines() if line.startswith("|")]
    ours = [card.id for card in registry.cards().values() if card.factory.startswith("tapkit.")]
    assert head.split("|")[2:-1] == [f" {model} " for model in ours]
    assert [row.split("|")[1].strip() for row in rows[1:]] == [promise.name for promise in PROPERTIES]
    assert "BROKEN" not in page.read_text()

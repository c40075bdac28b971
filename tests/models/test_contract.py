"""All trackers keep the contract (contract.py says what it is): every card x every promise."""

from __future__ import annotations

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

"""What pages do to the process is undone after each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tapkit import registry


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Trackers that a page registers are of that page."""
    yield
    for name in list(registry._ADDED):
        registry.unregister(name)

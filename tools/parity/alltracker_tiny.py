"""Parity cases of the tiny AllTracker (vectors/alltracker_tiny/README.md)."""

from __future__ import annotations

from typing import Any

from parity import Check, Parity
from parity.alltracker import checks
from tapkit.models.alltracker.tracker import build_tiny


def run(case: dict[str, Any], name: str, parity: Parity) -> list[Check]:
    """The checks of one case."""
    return checks(case, parity, "alltracker_tiny", build_tiny)

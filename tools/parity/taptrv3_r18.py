"""Parity cases of TAPTRv3 with ResNet-18 (vectors/taptrv3_r18/README.md)."""

from __future__ import annotations

from typing import Any

from parity import Check, Parity, taptrv3


def run(case: dict[str, Any], name: str, parity: Parity) -> list[Check]:
    """One case of TAPTRv3 with ResNet-18."""
    return taptrv3.run(case, name, parity, "taptrv3_r18")

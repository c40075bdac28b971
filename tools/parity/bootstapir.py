"""Runner of vectors/bootstapir."""

from __future__ import annotations

import numpy as np

from parity import Check, Parity
from parity.tapir import offline


def run(case: dict[str, np.ndarray], name: str, parity: Parity) -> list[Check]:
    """An offline case of BootsTAPIR."""
    return offline(case, parity, "bootstapir")

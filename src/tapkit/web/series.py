"""Arrays as lists for JSON."""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np


def numbers(values: np.ndarray, digits: int = 3) -> list[Any]:
    """An array [n] as a list, rounded; None where it is no number."""
    rounded: list[Any] = np.round(values.astype(np.float64), digits).tolist()
    if not np.isfinite(values).all():
        rounded = [value if isfinite(value) else None for value in rounded]
    return rounded

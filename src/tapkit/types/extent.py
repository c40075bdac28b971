"""How long a clip, and how large a table of positions, is believed before memory is taken for it."""

from __future__ import annotations

import os

LONGEST = 10_000_000
"""Frames: 46 hours at 60 a second. A file that speaks of more counts something else, or is damaged."""
CELL_BYTES = 80
"""What a position costs while a file is read: its arrays in double precision and those made of them."""


def check_extent(points: int, frames: int) -> None:
    """Raise `ValueError` for a clip of `frames` frames with `points` points that cannot be meant or held.

    >>> check_extent(100, 1000)
    >>> check_extent(1, 2_000_000_000)
    Traceback (most recent call last):
        ...
    ValueError: it speaks of 2000000000 frames, more than any clip has (10000000)
    """
    if frames > LONGEST:
        raise ValueError(f"it speaks of {frames} frames, more than any clip has ({LONGEST})")
    if points * frames * CELL_BYTES > memory():
        raise ValueError(f"{points} points on {frames} frames do not fit into memory")


def memory() -> int:
    """Bytes of memory of this machine; 64 GiB where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 64 << 30

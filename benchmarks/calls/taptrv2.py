"""TAPTRv2 at 512x512 with 64 points: what four more frames of a stream cost, as for TAPTR (`calls/taptr.py`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from calls.taptr import windowed
from tapkit.models.taptr.tracker import build_v2

REFERENCE = None


def reference_call(parity: Any, plain: bool = False, **options: Any) -> Callable[[], Any]:
    """Four frames of TAPTRv2."""
    return windowed(build_v2(parity.weights("taptrv2"), **{"support": "none", **options}), parity, plain)

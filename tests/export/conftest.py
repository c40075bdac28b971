"""Makes the shared example clip importable (`example_clip`) and a fixture of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tapkit.types import Tracks

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def tracks() -> Tracks:
    """Three points with a gap, a late start and an occlusion."""
    from example_clip import three_tracks

    return three_tracks()

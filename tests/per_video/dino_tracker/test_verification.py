"""The fit to a clip whose correspondences are known (benchmarks/dino_tracker_fit.py): its start, and its stored end."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
import dino_tracker_fit


def test_the_first_step_is_as_bad_as_the_originals() -> None:
    """Mean and median of what its authors' networks, not yet fitted, miss by on this clip."""
    (row,) = dino_tracker_fit.run(0, (0,))
    assert row["background"] == pytest.approx([38.7, 29.4], abs=0.1)
    assert row["square"] == pytest.approx([21, 21], abs=0.5)


def test_the_stored_run_reached_what_the_original_reaches() -> None:
    rows = {row["step"]: row for row in json.loads(dino_tracker_fit.RESULT.read_text())}
    assert rows[200]["background"][1] < 3 and rows[200]["background"][0] < 4.1
    assert rows[200]["square"][0] < 6.8 and rows[200]["flow"] < 1e-3 < rows[0]["flow"]
    assert rows[0]["background"] == pytest.approx([38.7, 29.4], abs=0.1)


def test_the_scene_knows_where_points_go() -> None:
    scene = dino_tracker_fit.Scene()
    assert scene.velocity == pytest.approx([0.545, 0.123], abs=1e-3)

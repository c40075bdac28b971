"""A result keeps the skeleton of the tracks that are tracked again, or the one that is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tapkit
from tapkit.errors import UsageError
from tapkit.types import Queries, Tracks

CLIP = np.random.default_rng(0).integers(0, 255, (3, 48, 64, 3), dtype=np.uint8)
ASKED = Queries([0, 0], [[20.0, 20.0], [40.0, 30.0]], ["a", "b"])


def test_tracks_that_are_tracked_again_keep_theirs(tmp_path: Path) -> None:
    tracker = tapkit.load("lucas-kanade")
    first = tracker.track(CLIP, ASKED, skeleton=(("a", "b"),))
    assert first.skeleton == (("a", "b"),)
    assert tapkit.track(CLIP, first, model="lucas-kanade").skeleton == first.skeleton
    assert tracker.track(CLIP, first).skeleton == first.skeleton
    assert tracker.track(CLIP, first, skeleton=()).skeleton == ()
    assert Tracks.load(tracker.track_to(tmp_path / "t.npz", CLIP, first)).skeleton == first.skeleton


def test_a_wrong_one_is_said_before_anything_is_tracked(tmp_path: Path) -> None:
    tracker = tapkit.load("lucas-kanade")
    with pytest.raises(UsageError, match="no point is called 'c'"):
        tracker.track_to(tmp_path / "t.npz", CLIP, ASKED, skeleton=(("a", "c"),), progress=pytest.fail)
    assert not list(tmp_path.iterdir())

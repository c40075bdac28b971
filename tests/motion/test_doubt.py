"""What is said of tracks that jump or are not sure of themselves."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from tapkit.motion import doubt
from tapkit.types import Queries, Tracks, VideoInfo

FRAMES = 100


def made(names: list[str]) -> Tracks:
    count = len(names)
    xy = np.zeros((count, FRAMES, 2), np.float32) + [100, 60]
    xy[..., 0] += np.arange(FRAMES) * 0.5
    ones = np.ones((count, FRAMES), np.float32)
    queries = Queries.at(0, xy[:, 0], names)
    return Tracks(xy, ones, ones, ones > 0, queries, VideoInfo(320, 240, Fraction(25), frames=FRAMES))


def test_steady_and_sure_tracks_are_said_to_be_so() -> None:
    assert doubt.sentence(made(["a", "b"])) == "no point jumped, none is unsure for long"
    assert doubt.doubts(made([])) == ([], [])


def test_jumps_and_lasting_doubt_are_counted_and_placed() -> None:
    tracks = made(["a", "left_block", "b", "c", "d"])
    xy, confidence = tracks.xy.copy(), tracks.confidence.copy()
    xy[1, 66:] += [120, 0]
    xy[2, 30:] += [0, 40]
    xy[0, 50:] += [40, 0]
    confidence[2:, 80:] = 0.2
    confidence[3, 95] = 0.9  # a single sure frame ends nothing
    said = tracks.with_(xy=xy, confidence=confidence)
    assert doubt.sentence(said) == "3 points jumped (left_block at frame 66), 3 are unsure from frame 80 on"
    assert [(each.point, each.frame) for each in doubt.doubts(said).jumps] == [(0, 50), (1, 66), (2, 30)]
    facts = doubt.facts(said)
    assert facts["unsure"] == [{"id": name, "first": 80, "last": 99} for name in ("b", "c", "d")]
    assert facts["jumps"][1] == {"id": "left_block", "frame": 66, "pixels": 120.5}


def test_doubt_that_passes_short_doubt_and_hidden_points() -> None:
    tracks = made(["nose", "ear", "tail"])
    visible, confidence = tracks.visible.copy(), tracks.confidence.copy()
    confidence[0, 30:42] = 0.4
    confidence[1, 10 : 10 + doubt.SHORTEST - 1] = 0.1  # too short
    confidence[2, 50:] = 0.1
    visible[2, 50:] = 0.3  # said to be out of sight: not a claim to be doubted
    said = tracks.with_(visible=visible, confidence=confidence)
    assert doubt.doubts(said).unsure == [(0, 30, 41)]
    assert doubt.sentence(said) == "1 point is unsure for a while (nose in frames 30 to 41)"


def test_many_points_are_looked_at_in_parts(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    tracks = made([f"p{i}" for i in range(7)])
    xy = tracks.xy.copy()
    xy[5, 20:] += 100
    whole = doubt.doubts(tracks.with_(xy=xy))
    monkeypatch.setattr(doubt, "_CELLS", 2 * FRAMES)
    assert doubt.doubts(tracks.with_(xy=xy)) == whole and whole.jumps[0].point == 5

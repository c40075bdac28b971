"""Blender itself runs the script; `python tools/blender_venv.py` makes the environment for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from example_clip import three_tracks
from oracles import run_blender
from PIL import Image

from tapkit.types import Tracks


@pytest.fixture(scope="module")
def in_blender(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tracks, dict, Path]:
    folder = tmp_path_factory.mktemp("blender")
    (folder / "shot").mkdir()
    for number in range(1, 13):
        Image.new("RGB", (320, 180), (number * 20, 0, 0)).save(folder / f"shot/{number:04d}.png")
    tracks = three_tracks(path=str(folder / "shot/0001.png"))
    dump, saved = run_blender(tracks.to_blender(folder / "tracks.py"))
    return tracks, dump, saved


def test_blender_has_every_marker_where_the_track_is(in_blender: tuple[Tracks, dict, Path]) -> None:
    tracks, dump, _ = in_blender
    assert dump["size"] == [320, 180]
    assert [name for name, _, _ in dump["tracks"]] == tracks.ids.tolist()
    worst = 0.0
    for row, (_, weight, markers) in enumerate(dump["tracks"]):
        assert weight == pytest.approx(0.75)
        found = {m[0] - 1: m for m in markers}
        for frame in np.flatnonzero(tracks.valid[row]).tolist():
            _, u, v, keyed, muted = found.pop(frame)
            worst = max(worst, *np.abs(np.array([u * 320, (1 - v) * 180]) - tracks.xy[row, frame]).tolist())
            assert keyed == tracks.keyframe[row, frame]
            assert muted == (not tracks.visible_at()[row, frame])
        assert all(muted for *_, muted in found.values()), "what else there is only ends a span"
    assert worst < 1e-3


def test_what_is_corrected_in_blender_comes_back_as_a_human_keyframe(in_blender: tuple[Tracks, dict, Path]) -> None:
    tracks, _, saved = in_blender
    corrected = Tracks.read(saved, "blender", original=tracks)
    changed = np.abs(corrected.xy - tracks.xy).max(-1) > 1e-3
    assert np.argwhere(changed).tolist() == [[0, 3]]
    assert corrected.xy[0, 3].tolist() == pytest.approx([160, 135])
    assert (corrected.keyframe & ~tracks.keyframe).sum() == 1
    alone = Tracks.read(saved, "blender")
    assert (alone.keyframe == corrected.keyframe).all()
    assert (alone.valid == tracks.valid).all()
    assert alone.video.fps == tracks.video.fps

"""Blender itself runs the script; `python tools/blender_venv.py` makes the environment for it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tapkit.types import Tracks

INTERPRETER = Path(__file__).parents[2] / ".venv-blender/bin/python"
DRIVER = """
import json, os, runpy, sys
import bpy
script, dump, saved = sys.argv[1:]
runpy.run_path(script, run_name="__main__")
clip = bpy.data.movieclips[0]
seen = [[t.name, t.weight, [[m.frame, *m.co, m.is_keyed, m.mute] for m in t.markers]] for t in clip.tracking.tracks]
runpy.run_path(script, run_name="__main__")
assert len(clip.tracking.tracks) == len(seen), "a second run adds nothing"
marker = clip.tracking.tracks["gap"].markers.find_frame(4)
marker.co, marker.is_keyed = (0.5, 0.25), True
bpy.ops.tapkit.save_tracks(filepath=saved)
with open(dump, "w") as file:
    json.dump({"size": list(clip.size), "tracks": seen}, file)
os._exit(0)  # bpy as a module may hang while Python takes down classes that a script registered
"""


@pytest.fixture(scope="module")
def in_blender(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tracks, dict, Path]:
    if not INTERPRETER.exists():
        pytest.skip("Blender is not there: python tools/blender_venv.py")
    from example_clip import three_tracks

    folder = tmp_path_factory.mktemp("blender")
    (folder / "shot").mkdir()
    for number in range(1, 13):
        Image.new("RGB", (320, 180), (number * 20, 0, 0)).save(folder / f"shot/{number:04d}.png")
    tracks = three_tracks(path=str(folder / "shot/0001.png"))
    script = tracks.to_blender(folder / "tracks.py")
    (folder / "driver.py").write_text(DRIVER)
    command = [INTERPRETER, folder / "driver.py", script, folder / "dump.json", folder / "saved.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return tracks, json.loads((folder / "dump.json").read_text()), folder / "saved.json"


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

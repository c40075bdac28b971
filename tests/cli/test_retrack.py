"""`tapkit retrack`, and points that a table names more than once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import run

from tapkit.types import Tracks
from tapkit.video import open_video
from tapkit.video.samples import sample
from tapkit.video.writer import VideoWriter

pytest.importorskip("cv2")


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Twelve frames, and two points tracked through them."""
    folder = tmp_path_factory.mktemp("retrack")
    clip, points, result = folder / "clip.mp4", folder / "points.csv", folder / "clip.tracks.npz"
    with open_video(sample("blocks")) as source, VideoWriter(clip, source.info) as writer:
        for frame in source.frames(0, 12):
            writer.write(frame.image, frame.time)
    points.write_text("id,t,x,y\nleft,0,262,170\nright,0,403,164\n")
    run("track", clip, "--points", points, "-m", "lucas-kanade", "--set", "window=15", "-o", result, "-q")
    return clip, result


def test_a_key_is_passed_through_by_the_tracker_that_made_the_tracks(
    tracked: tuple[Path, Path], tmp_path: Path
) -> None:
    clip, result = tracked
    target = tmp_path / "better.npz"
    said = json.loads(run("retrack", clip, result, "--key", "left,6,266,168", "-o", target, "--json", "-q").stdout)
    old, new = Tracks.load(result), Tracks.load(target)
    assert said["positions"] == 5 + 5 and said["of"] == 24 and said["spans"] == 2 and said["changed"] == 1
    assert new.xy[0, 6].tolist() == [266, 168] and new.xy[0, 0].tolist() == [262, 170]
    np.testing.assert_array_equal(new.xy[1], old.xy[1])
    assert new.source.model == "lucas-kanade" and new.source.options["window"] == old.source.options["window"] == 15
    again = run("retrack", clip, target, "-o", tmp_path / "again.npz").stdout
    assert "no keyframe has changed" in again
    np.testing.assert_array_equal(Tracks.load(tmp_path / "again.npz").xy, new.xy)


def test_the_result_stands_beside_the_tracks_and_replaces_nothing(tracked: tuple[Path, Path]) -> None:
    clip, result = tracked
    keys = result.with_name("keys.csv")
    keys.write_text("id,t,x,y\nright,11,400,160\n")
    said = run("retrack", clip, result, "--keys", keys).stdout
    assert "clip.retracked.npz: 10 of 24 positions" in said
    assert "--force" in run("retrack", clip, result, "--keys", keys, code=2).stderr
    assert "what is read" in run("retrack", clip, result, "-o", result, "--force", code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--key", "left,6,266"], "id,frame,x,y"),
        (["--key", "chin,6,266,168"], "'chin'"),
        (["--key", "left,66,266,168"], "frame 66, outside"),
        (["--end", "5"], "the same part"),
        (["--start", "2"], "is it the same clip|part of the video"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    tracked: tuple[Path, Path], tmp_path: Path, arguments: list[str], says: str
) -> None:
    import re

    clip, result = tracked
    said = run("retrack", clip, result, *arguments, "-o", tmp_path / "no.npz", code=2).stderr
    assert re.search(says, said) and said.count("\n") <= 1, said
    assert not (tmp_path / "no.npz").exists()


def test_a_point_that_a_table_names_twice_has_keyframes(tracked: tuple[Path, Path], tmp_path: Path) -> None:
    clip, _ = tracked
    table, target = tmp_path / "points.csv", tmp_path / "out.npz"
    table.write_text("id,t,x,y\nleft,0,262,170\nleft,8,266,168\nright,0,403,164\n")
    run("track", clip, "--points", table, "-m", "lucas-kanade", "-o", target, "-q")
    tracks = Tracks.load(target)
    assert tracks.ids.tolist() == ["left", "right"] and tracks.xy[0, 8].tolist() == [266, 168]
    assert tracks.keyframe is not None and np.argwhere(tracks.keyframe).tolist() == [[0, 0], [0, 8]]

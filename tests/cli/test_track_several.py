"""`tapkit track` with several videos: each by itself, failures reported and passed over."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command_line import run

from tapkit.cli.clips import clips_of
from tapkit.errors import UsageError
from tapkit.types import Tracks
from tapkit.video import open_video
from tapkit.video.samples import sample
from tapkit.video.writer import VideoWriter

pytest.importorskip("cv2")
LK = ("-m", "lucas-kanade", "--grid", "3")


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("short") / "a.mp4"
    with open_video(sample("blocks")) as source, VideoWriter(path, source.info) as writer:
        for frame in source.frames(0, 4):
            writer.write(frame.image, frame.time)
    return path


@pytest.fixture
def takes(short: Path, tmp_path: Path) -> Path:
    """Two videos, one that is none, and something else."""
    folder = tmp_path / "takes"
    folder.mkdir()
    for name in ("a.mp4", "c.mov"):
        shutil.copy(short, folder / name)
    (folder / "b.mp4").write_bytes(b"no video at all")
    (folder / "notes.txt").write_text("x")
    return folder


def test_a_folder_of_videos_is_tracked_and_a_broken_one_passed_over(takes: Path) -> None:
    done = run("track", takes, *LK, "--overlay", takes, "--json", code=1)
    first, second, third = json.loads(done.stdout)
    assert first["points"] == third["points"] == 9 and "b.mp4" in second["video"] and second["error"]
    assert f"{takes / 'b.mp4'} failed: " in done.stderr and "2 of 3 videos tracked, 1 failed" in done.stderr
    for name in ("a", "c"):
        assert len(Tracks.load(takes / f"{name}.tracks.npz")) == 9 and (takes / f"{name}.overlay.mp4").exists()
    assert not (takes / "b.tracks.npz").exists() and not (takes / "b.overlay.mp4").exists()
    # The same command goes on with what is missing; what was drawn is not taken for footage.
    (takes / "b.mp4").unlink()
    shutil.copy(takes / "a.mp4", takes / "d.mp4")
    before = (takes / "a.tracks.npz").stat().st_mtime_ns
    done = run("track", takes, *LK, "--overlay", takes)
    assert "1 of 3 videos tracked, 2 there already" in done.stderr and (takes / "d.tracks.npz").exists()
    assert (takes / "a.tracks.npz").stat().st_mtime_ns == before


def test_several_names_and_a_folder_for_the_results(takes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("track", takes / "a.mp4", takes / "c.mov", *LK, "-o", out, "-q")
    assert done == ("", "") and sorted(path.name for path in out.iterdir()) == ["a.tracks.npz", "c.tracks.npz"]


def test_what_is_wrong_for_all_is_said_once(takes: Path, tmp_path: Path, short: Path) -> None:
    a, c = takes / "a.mp4", takes / "c.mov"
    assert "must be a folder" in run("track", a, c, *LK, "-o", tmp_path / "x.npz", code=2).stderr
    assert "named twice" in run("track", a, short, *LK, "-o", tmp_path / "out", code=2).stderr
    said = run("track", a, c, "-m", "lucas-kanad", code=2).stderr
    assert said.count("there is no tracker") == 1 and not list(takes.glob("*.npz"))


def test_what_is_one_video_and_what_are_several(takes: Path, tmp_path: Path) -> None:
    names = [str(takes / name) for name in ("a.mp4", "b.mp4", "c.mov")]
    assert clips_of([str(takes)]) == (names, True)
    assert clips_of([str(takes / "*.mp4")]) == (names[:2], True)
    assert clips_of([names[0]]) == (names[:1], False)
    assert clips_of(["rtsp://camera/1"]) == (["rtsp://camera/1"], False)
    assert clips_of([str(takes / "missing.mp4")]) == ([str(takes / "missing.mp4")], False)
    (takes / "still.png").write_bytes(b"")
    assert clips_of([str(takes)]) == ([str(takes)], False)
    with pytest.raises(UsageError, match="in quotes"):
        clips_of(["1.jpg", "2.jpg"])


def test_after_tracking_doubts_are_told_and_info_lists_them(short: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.npz"
    done = run("track", short, *LK, "-o", target).stdout.splitlines()
    assert done[1] == json.loads(run("info", target, "--json").stdout)["doubts"]
    tracks = Tracks.load(target)
    xy = tracks.xy.copy()
    xy[4, 2:] -= 120
    tracks.with_(xy=xy).save(target)
    said = json.loads(run("info", target, "--json").stdout)
    assert [(each["id"], each["frame"]) for each in said["jumps"]] == [("4", 2)]
    printed = run("info", target).stdout
    assert "1 point jumped (4 at frame 2)" in printed and "\njumps      4 at frame 2, by 16" in printed


def test_the_overlay_drawn_while_tracking_is_that_of_the_finished_tracks(short: Path, tmp_path: Path) -> None:
    """Rings around points in doubt included: which they are is known some frames later only."""
    import numpy as np
    from PIL import Image

    target = tmp_path / "a.npz"
    run("track", sample("blocks"), *LK, "--end", 30, "-o", target, "--overlay", tmp_path / "one" / "%03d.png", "-q")
    assert Tracks.load(target).frames == 30
    run("draw", sample("blocks"), target, tmp_path / "two" / "%03d.png", "--end", 30, "-q")
    one, two = (sorted((tmp_path / name).iterdir()) for name in ("one", "two"))
    assert len(one) == len(two) == 30
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(first)), np.asarray(Image.open(second)))

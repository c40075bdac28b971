"""`tapkit camera`, run as a person runs it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import run

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import camera_scenes

from tapkit.apps.camera import Trajectory, score_cameras
from tapkit.apps.camera.rigid import inverse, quaternion
from tapkit.types import Queries, Tracks, VideoInfo
from tapkit.video.writer import VideoWriter


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, camera_scenes.Clip]:
    """A rendered clip of ten small frames, as pictures, and its true cameras."""
    folder = tmp_path_factory.mktemp("clip")
    made = camera_scenes.rendered(0, frames=10, size=(96, 128))
    with VideoWriter(folder / "shot", VideoInfo(128, 96, frames=10)) as writer:
        for image in made.images:
            writer.write(image)
    pose = inverse(made.pose)
    rows = np.concatenate([np.arange(10)[:, None] / 25, pose[:, :3, 3], quaternion(pose[:, :3, :3])], 1)
    np.savetxt(folder / "truth.tum", rows)
    return folder, made


def test_a_rendered_clip_gives_its_cameras(
    clip: tuple[Path, camera_scenes.Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, made = clip
    monkeypatch.chdir(tmp_path)
    focal = f"{made.camera[0]:.1f}"
    done = run(
        "camera", folder / "shot", "--focal", focal, "--truth", folder / "truth.tum", "-o", "a.npz", "-o", "sparse",
        "-o", "a.chan", "--images", "images", "--save-tracks", "t.npz", "--points", "40", "--every", "5",
    )  # fmt: skip
    assert done.stdout.splitlines()[:5] == ["a.npz", "sparse", "a.chan", "t.npz", "images"]
    assert "10 of 10 frames: path" in done.stderr
    cameras = Trajectory.load(tmp_path / "a.npz")
    scores = score_cameras(cameras, inverse(made.pose))
    assert scores.relative < 0.02, "the bar for static scenes with the tracker's own tracks"
    assert f"ATE {scores.ate:.6g}"[:8] in done.stdout.splitlines()[5]
    assert len(list((tmp_path / "images").glob("*.png"))) == 10
    assert {p.name for p in (tmp_path / "sparse").iterdir()} == {"cameras.txt", "images.txt", "points3D.txt"}
    tracks = Tracks.load(tmp_path / "t.npz")
    assert len(tracks) == len(cameras.points) and set(tracks.queries.t.tolist()) == {0, 5}
    # What was found before is only written anew.
    run("camera", "a.npz", "-o", "b.chan", "-q")
    assert (tmp_path / "b.chan").read_text() == (tmp_path / "a.chan").read_text()
    assert "give the tracks" in run("camera", "a.npz", "-o", "other", code=2).stderr
    run("camera", "a.npz", "--tracks", "t.npz", "-o", "other", "-q")
    assert (tmp_path / "other/images.txt").read_text() == (tmp_path / "sparse/images.txt").read_text()
    assert "found before" in run("camera", "a.npz", "--focal", "300", "-o", "c.chan", code=2).stderr


def test_stored_tracks_are_used_and_what_is_odd_is_said(
    clip: tuple[Path, camera_scenes.Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    xy = np.random.default_rng(0).uniform(10, 80, (30, 1, 2)) + np.zeros((30, 10, 2))
    ones = np.ones((30, 10))
    Tracks(xy, ones, ones, ones > 0, Queries.at(0, xy[:, 0]), VideoInfo(128, 96, frames=10)).save("still.npz")
    done = run("camera", clip[0] / "shot", "--tracks", "still.npz", "--fov", "60", "-o", "still.tum")
    assert "the camera only turned or stood still" in done.stderr
    assert len((tmp_path / "still.tum").read_text().splitlines()) == 10
    said = run("camera", clip[0] / "shot", "--end", "5", "--tracks", "still.npz", "-o", "a.tum", code=2).stderr
    assert "the tracks are of 10 frames" in said and "5 of 128x96" in said


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["-o", "a.fbx"], 2, ".chan (Nuke)"),
        (["--focal", "300", "--fov", "60"], 2, "say the same thing"),
        (["--fov", "190"], 2, "between 0 and 180"),
        (["--focal", "-3"], 2, "positive"),
        (["--intrinsics", "1,2,3"], 2, "FX,FY,CX,CY"),
        (["--points", "3"], 2, "8 points a frame"),
        (["--every", "0"], 2, "every must be 1"),
        (["--method", "leap"], 2, "leap needs a focal length"),
        (["--tracks", "none.npz"], 6, "does not exist"),
        (["--truth", "none.tum"], 6, "does not exist"),
        (["--model", "stand"], 2, "strand"),
        (["--end", "1"], 2, "this video has one"),
        (["-o", "a.tum", "-o", "./a.tum"], 2, "named twice"),
    ],
)
def test_bad_usage_is_a_sentence(
    clip: tuple[Path, camera_scenes.Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], code: int, said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    arguments = arguments if "-o" in arguments else [*arguments, "-o", "a.tum"]
    arguments = arguments if "--model" in arguments else [*arguments, "--model", "lucas-kanade"]
    done = run("camera", clip[0] / "shot", *arguments, code=code)
    assert said in " ".join(done.stderr.split())
    assert not list(tmp_path.iterdir())


def test_a_flat_video_has_nothing_to_track(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "flat", VideoInfo(64, 48, frames=4)) as writer:
        for _ in range(4):
            writer.write(np.full((48, 64, 3), 90, np.uint8))
    said = run("camera", tmp_path / "flat", "-o", tmp_path / "a.tum", "-m", "lucas-kanade", code=2).stderr
    assert "pictures are flat" in said

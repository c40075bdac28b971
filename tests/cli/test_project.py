"""`tapkit project`: from an empty folder to a file for another program."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import run
from PIL import Image

from tapkit.types import Queries, Tracks, VideoInfo

pytest.importorskip("sqlalchemy")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    picture = random.integers(0, 255, (48, 96, 3), dtype=np.uint8)
    (tmp_path / "shot").mkdir()
    for t in range(6):  # the picture moves by 2 pixels a frame
        Image.fromarray(picture[:, 12 - 2 * t : 76 - 2 * t]).save(tmp_path / "shot" / f"{t:04d}.png")
    xy = np.full((2, 6, 2), 20.5, np.float32)
    xy[..., 0] += 2 * np.arange(6)
    every = np.ones((2, 6))
    video = VideoInfo(64, 48, frames=6, path=str(tmp_path / "shot"))
    Tracks(xy, every, every, every > 0, Queries(np.zeros(2), xy[:, 0], ["nose", "tail"]), video).save("t.npz")
    return tmp_path


def test_from_tracks_to_nuke_and_back(here: Path) -> None:
    assert run("project", "new", "a").stdout == "a.tapproj\n"
    assert run("project", "add", "a.tapproj", "t.npz").stdout == "1  shot: 6 frames, 2 points\n"
    run("project", "export", "a.tapproj", "shot.nk", "--points", "tail", "-q")
    text = (here / "shot.nk").read_text()
    assert "tail" in text and "nose" not in text
    assert "--force replaces it" in run("project", "export", "a.tapproj", "shot.nk", code=2).stderr
    run("project", "export", "a.tapproj", "all.npz")
    assert Tracks.load(here / "all.npz").ids.tolist() == ["nose", "tail"]
    run("project", "export", "a.tapproj", "all.csv", "--to", "csv")
    corrected = (here / "all.csv").read_text().replace("0,0,0,20.5,20.5", "0,0,0,19.5,20.5")
    (here / "all.csv").write_text(corrected)
    assert "2 points" in run("project", "import", "a.tapproj", "all.csv").stdout
    run("project", "export", "a.tapproj", "all.pkl", "--all", "-q")
    assert run("data", "check", "all.pkl").stdout.startswith("TAP-Vid")
    assert "goes without" in run("project", "export", "a.tapproj", "b.pkl", "--all", "--to", "csv", code=2).stderr
    report = run("project", "report", "a.tapproj").stdout
    assert report.startswith("clip  frames  points") and "shot" in report
    found = json.loads(run("project", "report", "a.tapproj", "--json").stdout)
    assert found["clips"][0]["points"] == 2 and found["clips"][0]["fps"] == "25" and found["rows"][0]["keyframes"] == 2


def test_the_assist(here: Path) -> None:
    pytest.importorskip("cv2")
    from tapkit.annotate import Project

    run("project", "new", "a.tapproj", "shot", "-q")
    assert "no point has a keyframe" in run("project", "solve", "a.tapproj", code=2).stderr
    with Project.open("a.tapproj") as project:
        point = project.edit(1, [{"op": "add_point", "t": 0, "x": 30, "y": 20, "label": "nose"}]).points[0].id
        project.edit(1, [{"op": "set_keyframe", "point": point, "t": 5, "x": 40, "y": 20}])
    done = run("project", "solve", "a.tapproj", "--points", "nose", "--between")
    assert done.stdout == "filled 1 point along the motion (dis)\n" and "6 of 7" not in done.stdout
    with Project.open("a.tapproj") as project:
        (found,) = project.positions(1)
    np.testing.assert_allclose(found.xy[:, 0], 30 + 2 * np.arange(6), atol=0.5)


def test_a_tracker_through_the_keyframes(here: Path) -> None:
    from tapkit.annotate import Project

    run("project", "new", "a.tapproj", "shot", "-q")
    with Project.open("a.tapproj") as project:
        point = project.edit(1, [{"op": "add_point", "t": 1, "x": 32, "y": 20, "label": "nose"}]).points[0].id
        hidden = {"op": "set_keyframe", "point": point, "t": 3, "x": 36, "y": 20, "visible": False}
        project.edit(1, [{**hidden, "t": 4, "x": 38.5, "visible": True}, hidden])
        run("project", "solve", "a.tapproj", "-m", "lucas-kanade", "--between", "-q")
        (found,) = project.positions(1)
        assert found.source == "-kpkk-" and found.visible.tolist() == [False, True, True, False, True, False]
        done = run("project", "solve", "a.tapproj", "-m", "lucas-kanade")
        assert done.stdout == "tracked 1 point with lucas-kanade\n"
        (found,) = project.positions(1)
        assert found.source == "pkpkkp" and found.xy[4].tolist() == [38.5, 20]
        np.testing.assert_allclose(found.xy[[0, 1, 2, 3], 0], [30, 32, 34, 36], atol=0.3)
        assert project.to_tracks(1).source.model == "lucas-kanade" and len(project.events(1)) == 4


def test_what_is_meant_is_asked_for(here: Path) -> None:
    run("project", "new", "a.tapproj", "shot", "shot/0000.png", "-q")
    assert "which clip?" in run("project", "export", "a.tapproj", "x.npz", code=2).stderr
    said = run("project", "export", "a.tapproj", "x.npz", "--clip", "shotx", code=2).stderr
    assert "there is no clip 'shotx'" in said and "did you mean 'shot'?" in said
    run("project", "export", "a.tapproj", "x.npz", "--clip", "1", "-q")
    assert (
        "no point is called 'nose'"
        in run("project", "export", "a.tapproj", "y.npz", "-c", "shot", "--points", "nose", code=2).stderr
    )
    assert "there is no user 'ann'" in run("project", "report", "a.tapproj", "--user", "ann", code=2).stderr
    assert "is no project" in run("project", "report", "nothing", code=6).stderr
    assert "does not exist" in run("project", "new", "b.tapproj", "nothing.mp4", code=6).stderr
    assert not (here / "b.tapproj").exists()
    assert "is a project already" in run("project", "new", "a.tapproj", code=2).stderr

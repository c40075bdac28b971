"""What `tapkit live` says at the end: frames left out, scene cuts."""

from __future__ import annotations

from pathlib import Path

import pytest

import tapkit
from tapkit.cli.main import app
from tapkit.video.samples import sample
from tapkit.video.writer import VideoWriter


@pytest.fixture(scope="module")
def two_scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("live") / "two.mp4"
    with VideoWriter(path, tapkit.VideoInfo(320, 180)) as writer:
        for name in ("blocks", "rabbit"):
            with tapkit.open_video(sample(name)) as source:
                for frame in source.frames(0, 10, size=(180, 320)):
                    writer.write(frame.image)
    return path


def live(path: Path, *options: str) -> None:
    arguments = ["live", str(path), "--grid", "3", "--model", "lucas-kanade", *options]
    app.main(arguments, prog_name="tapkit", standalone_mode=False)


def test_cuts_are_named_and_new_corners_are_tracked_where_that_is_asked_for(
    two_scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live(two_scenes, "--every-frame", "-o", str(tmp_path / "noted.npz"))
    assert "scene cuts at the tracked frames 10\n" in capsys.readouterr().err
    assert len(tapkit.Tracks.load(tmp_path / "noted.npz")) == 9
    live(two_scenes, "--every-frame", "--cuts", "redetect", "-o", str(tmp_path / "anew.npz"))
    anew = tapkit.Tracks.load(tmp_path / "anew.npz")
    assert len(anew) == 18 and anew.queries.t.tolist() == [0] * 9 + [10] * 9
    assert not anew.valid[:9, 10:].any() and anew.valid[9:, 10:].all()
    capsys.readouterr()
    live(two_scenes, "--every-frame", "--cuts", "ignore")
    assert "cuts" not in capsys.readouterr().err


def test_frames_that_came_too_fast_are_counted(
    two_scenes: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tapkit.video import pace

    monkeypatch.setattr(pace, "as_it_plays", lambda source: (f for f in source.frames() if f.index not in (3, 4, 12)))
    live(two_scenes)
    assert "3 frames came too fast and were left out; 17 were tracked" in capsys.readouterr().err


def test_recorded_tracks_are_smoothed_if_asked(two_scenes: Path, tmp_path: Path) -> None:
    found = {}
    for name, options in (("plain", []), ("smooth", ["--smooth"])):
        live(two_scenes, "--every-frame", *options, "-o", str(tmp_path / f"{name}.npz"))
        found[name] = tapkit.Tracks.load(tmp_path / f"{name}.npz")
    plain, smooth = found["plain"], found["smooth"]
    seen = plain.visible_at()
    assert smooth.source.options["smooth"] == "one-euro" and "smooth" not in plain.source.options
    assert (plain.xy[:, 0] == smooth.xy[:, 0]).all() and (plain.visible == smooth.visible).all()
    moved = abs(plain.xy - smooth.xy).max(-1)[seen]
    assert 0 < moved.max() < 30 and plain.queries.xy.tolist() == smooth.queries.xy.tolist()

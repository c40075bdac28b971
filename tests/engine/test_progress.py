"""progress=: a function, a bar, nothing, or a sentence about what it should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tapkit
from tapkit.engine.control import Control, Progress
from tapkit.errors import UsageError
from tapkit.video.samples import sample

POINT = [(0, 262.0, 170.0)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with tapkit.open_video(sample("blocks")) as source:
        return [frame.image for frame in source.frames(0, 6, size=(90, 160))]


def test_true_shows_how_far_it_is_false_and_none_say_nothing(clip: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for silent in (False, None):
        tapkit.track(clip, [(0, 50, 40)], model="lucas-kanade", progress=silent)
        assert capsys.readouterr() == ("", "")
    tapkit.track(clip, [(0, 50, 40)], model="lucas-kanade", progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "tracking 1 points" in err and "100 %" in err


@pytest.mark.parametrize("wrong", ["yes", 3, [], 0])
def test_what_cannot_be_called_is_refused_with_a_sentence(clip: Any, wrong: Any, tmp_path: Path) -> None:
    tracker = tapkit.load("lucas-kanade")
    calls = (
        lambda: tapkit.track(clip, [(0, 50, 40)], model="lucas-kanade", progress=wrong),
        lambda: tracker.track(clip, [(0, 50, 40)], progress=wrong),
        lambda: tracker.track_to(tmp_path / "a.npz", clip, [(0, 50, 40)], progress=wrong),
        lambda: Control(wrong),
    )
    for call in calls:
        with pytest.raises(UsageError, match="progress must be a function"):
            call()
    assert not list(tmp_path.iterdir())


def test_drawing_says_how_far_it_is(clip: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracks = tapkit.track(clip, [(0, 50, 40)], model="lucas-kanade")
    seen: list[Progress] = []
    tapkit.draw(clip, tracks, tmp_path / "a.mp4", progress=seen.append)
    assert [(now.done, now.total, now.frame) for now in seen] == [(t + 1, 6, t) for t in range(6)]
    tapkit.draw(clip, tracks, tmp_path / "b.mp4", progress=True)
    assert "drawing 1 points: frame 5, 100 %" in capsys.readouterr().err


def test_the_command_that_draws_says_how_far_it_is(
    clip: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tapkit.cli.main import app

    tracks = tapkit.track(sample("blocks"), POINT, model="lucas-kanade")
    tracks.save(tmp_path / "a.npz")
    arguments = ["draw", str(sample("blocks")), str(tmp_path / "a.npz"), str(tmp_path / "a.mp4")]
    app.main(arguments, prog_name="tapkit", standalone_mode=False)
    assert "drawing 1 points: frame 99, 100 %" in capsys.readouterr().err
    app.main([*arguments, "--force", "--quiet"], prog_name="tapkit", standalone_mode=False)
    assert capsys.readouterr() == ("", "")

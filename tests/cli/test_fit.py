"""`tapkit fit`: one video, a queue, and the folder as a model of the other commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import run
from PIL import Image

SMALL = ("--preset", "cpu", "--device", "cpu", "--set", "steps=2", "--set", "max_side=48", "--set", "pairs=2")


@pytest.fixture
def here(tmp_path: Path, moving_clip, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, frames in (("shot", moving_clip[0][:5]), ("short", moving_clip[0][:2])):
        (tmp_path / name).mkdir()
        for t, picture in enumerate(frames):
            Image.fromarray(picture).save(tmp_path / name / f"{t:04d}.png")
    return tmp_path


def test_a_fit_is_a_model(here: Path) -> None:
    said = run("fit", "shot", *SMALL)
    assert "2 steps of about" in said.stderr and "shot.fit: cadex++, 2 steps" in said.stdout
    run("track", "shot", "--model", "shot.fit", "--at", "3,40,30", "-o", "t.csv", "-q")
    rows = [line for line in (here / "t.csv").read_text().splitlines() if not line.startswith(("#", "id"))]
    assert len(rows) == 5 and rows[3].startswith("0,3,") and ",40.00000,30.00000," in rows[3]
    assert (
        "weights and options are its own"
        in run(
            "track", "shot", "--model", "shot.fit", "--at", "0,1,1", "-o", "u.csv", "--set", "steps=3", code=2
        ).stderr
    )


def test_a_queue_passes_over_what_fails(here: Path) -> None:
    said = run("fit", "short", "shot", "-o", "fits", *SMALL, "--json", code=1)
    short, shot = json.loads(said.stdout)
    assert "2 frames is too short" in short["error"] and shot["fit"] == "fits/shot.fit" and shot["steps"] == 2
    assert (here / "fits" / "shot.fit" / "index.html").is_file()


def test_a_method_is_measured_by_fitting_to_each_clip(here: Path) -> None:
    clip = here / "set" / "one"
    (clip / "frames").mkdir(parents=True)
    for path in (here / "shot").iterdir():
        path.rename(clip / "frames" / path.name)
    xy = np.full((3, 5, 2), 30.0, np.float32)
    np.savez(clip / "tracks.npz", xy=xy, visible=np.ones((3, 5), bool))
    said = run("eval", "set", "-m", "cadex++", "--fit-preset", "cpu", "--figures", "--device", "cpu", *SMALL[4:])
    assert "one" in said.stdout and "steps 2" in said.stdout
    assert "is not" in run("eval", "set", "-m", "lucas-kanade", "--fit-preset", "cpu", "--figures", code=2).stderr
    run("eval", "set", "-m", "cadex++", "--fit-preset", "slow", "--figures", code=2)
    assert "omnimotion" in run("models", "--streaming", "per-video").stdout

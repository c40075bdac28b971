"""`tapkit servo`, run as a person runs it; what it does is tested in tests/apps/servo."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import run
from PIL import Image

from tapkit.apps.servo import Camera, Demonstration, Path2D, Plan, Stage, write_demonstration


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    xy = np.random.default_rng(0).uniform(20, 40, (4, 6, 2)).astype(np.float32)
    path = Path2D(np.zeros((64, 64, 3), np.uint8), xy, np.ones((4, 6), bool))
    stages = (Stage((path, path), grip="close", retreat=0.1), Stage((path,), ignore=(0, 2)))
    return Plan(Camera(64, 64, 42.0), stages).save(tmp_path / "plan")


@pytest.fixture
def takes(tmp_path: Path) -> list[Path]:
    """Two demonstrations in which nothing is to be seen."""
    shown = Demonstration(np.full((10, 64, 64, 3), 90, np.uint8), np.arange(10) > 5)
    return [write_demonstration(tmp_path / f"take{n}.mp4", shown) for n in (1, 2)]


def test_a_plan_is_read_and_said(plan: Path) -> None:
    said = run("servo", "show", plan).stdout.splitlines()
    assert said[0] == "stage 1: 6 points along 2 demonstrations, then close, back 10 cm"
    assert said[1] == "stage 2: 4 points along 1 demonstration"
    picture = plan.parent / "plan.png"
    assert run("servo", "show", plan, "--picture", picture).stdout.splitlines()[-1] == str(picture)
    with Image.open(picture) as drawn:
        assert drawn.size == (128, 128) and np.asarray(drawn).any()
    run("servo", "show", plan, "--picture", picture, code=2)  # it is there already
    assert "--picture takes" in run("servo", "show", plan, "--picture", "plan.gif", code=2).stderr
    (plan / "plan.toml").write_text((plan / "plan.toml").read_text().replace('grip = "close"', 'grip = "cloes"'))
    assert "grip must be close, open or none, got 'cloes'" in run("servo", "show", plan, code=2).stderr


def test_demonstrations_without_an_object_make_no_plan(takes: list[Path], tmp_path: Path) -> None:
    done = run("servo", "learn", *takes, "-o", tmp_path / "made", "--points", "8", code=2)
    assert "stage 1: no object is at the same place at its end" in done.stderr
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["learn", "none.mp4"], 6, "none.mp4 does not exist"),
        (["learn", "take1.mp4", "take2.mp4", "--focal", "-3"], 2, "the camera's focal must be positive"),
        (["learn", "take1.mp4", "--every", "1"], 2, "at least two demonstrations"),
        (["learn", "take1.mp4", "take2.mp4", "-o", "take1.mp4"], 2, "take1.mp4 is what is read here"),
        (["learn", "take1.mp4", "take2.mp4", "-m", "stand"], 2, "did you mean 'strand'"),
        (["demo", "--demos", "1"], 2, "--demos"),
        (["demo", "--distractors", "9"], 2, "--distractors"),
        (["demo", "--plan", "nowhere"], 6, "nowhere/plan.toml does not exist"),
        (["show", "nowhere"], 6, "nowhere/plan.toml does not exist"),
    ],
)
def test_bad_usage_is_a_sentence(
    takes: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in " ".join(run("servo", *arguments, code=code).stderr.split())
    assert not (tmp_path / "servo-demo").exists() and not (tmp_path / "plan").exists()


def test_without_mujoco_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "mujoco", None)
    assert 'pip install "tapkit[robot]"' in run("servo", "demo", code=5).stderr
    assert not (tmp_path / "servo-demo").exists()

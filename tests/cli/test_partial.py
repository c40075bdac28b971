"""`tapkit partial`, and when an interrupted run is continued."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import run
from PIL import Image

import tapkit
from tapkit import Control
from tapkit.errors import TapkitError

CLIP = np.random.default_rng(1).integers(0, 60, (10, 48, 64), dtype=np.uint8).astype(np.uint16) * 100


@pytest.fixture
def shot(tmp_path: Path) -> Path:
    (tmp_path / "shot").mkdir()
    for t, picture in enumerate(CLIP):
        Image.fromarray(picture).save(tmp_path / "shot" / f"{t:04d}.tif")
    return tmp_path / "shot"


def interrupted(shot: Path, target: Path, **options: object) -> dict:
    """Track, cancel after three frames; what job it says to be."""
    control = Control(lambda now: control.cancel() if now.done > 3 else None)
    with tapkit.open_video(str(shot), **options) as source, pytest.raises(TapkitError):  # type: ignore[arg-type]
        tapkit.load("lucas-kanade").track_to(target, source, [(0, 20.5, 20.5)], control=control)
    return json.loads((target.with_name(target.name + ".partial") / "job.json").read_text())


def test_list_and_clear(shot: Path, tmp_path: Path) -> None:
    interrupted(shot, tmp_path / "a.npz", value_range=(0, 6000))
    assert "can be continued" in run("partial", "list", tmp_path).stdout
    assert json.loads(run("partial", "list", tmp_path, "--json").stdout)[0]["resumable"] is True
    assert "removed 0" in run("partial", "clear", tmp_path, "--unfinished").stdout
    assert "removed 1" in run("partial", "clear", tmp_path).stdout
    assert "nothing is left" in run("partial", "list", tmp_path).stdout


def test_another_range_part_or_picture_is_another_run(shot: Path, tmp_path: Path) -> None:
    """What was computed of one is never continued with the other."""
    target = tmp_path / "a.npz"
    jobs = [
        interrupted(shot, target, **options)["sha256"]
        for options in (
            {"value_range": (0, 6000)}, {"value_range": (0, 5000)}, {"value_range": (0, 6000), "start": 1},
            {"value_range": (0, 6000), "end": 9}, {"value_range": (0, 6000), "step": 2},
        )
    ]  # fmt: skip
    assert interrupted(shot, target, value_range=(0, 6000))["sha256"] == jobs[0]
    Image.fromarray(CLIP[0]).save(shot / "0007.tif")
    jobs.append(interrupted(shot, target, value_range=(0, 6000))["sha256"])
    assert len(set(jobs)) == len(jobs)

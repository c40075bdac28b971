"""`tapkit objects`, run as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import run
from PIL import Image

from tapkit.apps.objects import read_detections
from tapkit.video import open_video


@pytest.fixture
def shot(tmp_path: Path) -> Path:
    """Eight pictures in which a textured card of 40 x 30 moves by (3, 1) pixels a frame from (20, 20)."""
    random = np.random.default_rng(0)
    back = np.asarray(Image.fromarray(random.integers(60, 120, (16, 24, 3), dtype=np.uint8)).resize((160, 112)))
    card = np.asarray(Image.fromarray(random.integers(0, 255, (8, 10, 3), dtype=np.uint8)).resize((40, 30)))
    (tmp_path / "shot").mkdir()
    for t in range(8):
        image = back.copy()
        image[20 + t : 50 + t, 20 + 3 * t : 60 + 3 * t] = card
        Image.fromarray(image).save(tmp_path / "shot" / f"{t:04d}.png")
    return tmp_path / "shot"


@pytest.fixture
def detections(tmp_path: Path) -> Path:
    path = tmp_path / "det.txt"
    path.write_text("".join(f"{t + 1},-1,{21 + 3 * t},{21 + t},40,30,0.9,-1,-1,-1\n" for t in range(8) if t != 4))
    return path


def test_detections_become_objects_with_an_overlay(shot: Path, detections: Path, tmp_path: Path) -> None:
    done = run("objects", shot, detections, "--overlay", tmp_path / "over.mp4")
    target = tmp_path / "shot.objects.txt"
    assert done.stdout.split() == [str(target), str(tmp_path / "over.mp4")]
    assert "1 objects in 8 frames" in done.stderr
    rows = [line.split(",") for line in target.read_text().splitlines()]
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "6", "7", "8"] and {row[1] for row in rows} == {"1"}
    with open_video(tmp_path / "over.mp4") as video:
        assert video.info.frames == 8
    run("objects", shot, detections, code=2)  # it is there already
    run("objects", shot, detections, "--force", "--interpolated", "-q")
    assert len(target.read_text().splitlines()) == 8


def test_a_box_of_one_frame_is_carried_on(shot: Path, tmp_path: Path) -> None:
    out = tmp_path / "card.json"
    run("objects", shot, "--box", "23,21,63,51,card", "--frame", "1", "-o", out, "-q")
    found = read_detections(out, (112, 160))
    assert sorted(found) == list(range(1, 8)) and found[7].label.tolist() == ["card"]
    assert np.abs(found[7].xyxy[0] - (41, 27, 81, 57)).max() < 3
    assert json.loads(out.read_text())["annotations"][3]["interpolated"] is True


def test_a_mask_of_one_frame_is_carried_on(shot: Path, tmp_path: Path) -> None:
    mask = np.zeros((112, 160), np.uint8)
    mask[20:50, 20:60] = 255
    Image.fromarray(mask).save(tmp_path / "card.png")
    run("objects", shot, "--mask", tmp_path / "card.png", "-o", tmp_path / "out.csv", "--rule", "nettrack", "-q")
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert len(lines) == 9 and lines[1].startswith("0,1,20.000,20.000,60.000,50.000,1.0000,card,0")
    Image.fromarray(mask[:50]).save(tmp_path / "small.png")
    said = run("objects", shot, "--mask", tmp_path / "small.png", "-o", tmp_path / "b.csv", code=2).stderr
    assert "160x50" in said and "160x112" in said


def test_a_part_of_a_video(shot: Path, tmp_path: Path) -> None:
    run("objects", shot, "--box", "26,22,66,52", "--start", "2", "--end", "6", "-o", tmp_path / "out.csv", "-q")
    frames = [int(line.split(",")[0]) for line in (tmp_path / "out.csv").read_text().splitlines()[1:]]
    assert frames == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "give a file of detections"),
        (["--box", "1,2,3"], 2, "--box takes"),
        (["--box", "30,30,10,40"], 2, "no area"),
        (["--box", "300,300,310,340"], 2, "outside the frame"),
        (["--box", "10,10,30,30", "--frame", "8"], 2, "frame 8, and the video has frames 0 to 7"),
        (["--box", "10,10,30,30", "-o", "out.xml"], 2, ".txt (MOTChallenge)"),
        (["--box", "10,10,30,30", "--rule", "iou"], 2, "rule iou needs detections"),
        (["--box", "10,10,30,30", "--points", "1"], 2, "2 points an object"),
        (["--box", "10,10,30,30", "--model", "stand"], 2, "strand"),
        (["none.txt"], 6, "does not exist"),
        (["--box", "10,10,30,30", "--high", "nan"], 2, "0..1"),
    ],
)
def test_bad_usage_is_a_sentence(
    shot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("objects", shot, *arguments, code=code)
    assert said in " ".join(done.stderr.split())
    assert not list(tmp_path.glob("*.objects.txt"))

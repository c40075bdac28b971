"""The package of CONTRIBUTING.md, taken from the page as it stands, installed beside tapkit and used."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)\n```", re.S)

USE = """
import pathlib
from fractions import Fraction
import numpy as np
import tapkit
from tapkit.datasets import open_dataset
from tapkit.video.writer import VideoWriter

# A textured picture that the camera pans over by (-2, -1) pixels a frame.
picture = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
info = tapkit.VideoInfo(width=96, height=64, fps=Fraction(25))
frames = [np.ascontiguousarray(picture[t : t + 64, 2 * t : 2 * t + 96]) for t in range(8)]
folder = pathlib.Path("set/one")
folder.mkdir(parents=True)
with VideoWriter(folder / "video.mp4", info, quality="high") as writer:
    for t, frame in enumerate(frames):
        writer.write(frame, t / 25)

# tracker
assert tapkit.cards()["panning"].commercial
tracks = tapkit.track(np.stack(frames), queries=[(0, 60.0, 40.0), (3, 30.0, 20.0)], model="panning", largest=8)
steps = np.diff(tracks.xy, axis=1)
assert np.abs(steps - (-2, -1)).max() < 1e-3, steps

# format: there and back
assert tracks.to_points_json(folder / "video.points.json", indent=True).is_file()
back = tapkit.Tracks.read(folder / "video.points.json", original=tracks)
assert np.nanmax(np.abs(back.xy - tracks.xy)) < 1e-4
assert back.ids.tolist() == tracks.ids.tolist()

# dataset: found by what lies there, and by name
for where in ("set", "mine:set"):
    dataset = open_dataset(where)
    assert dataset.name == "points as JSON" and list(dataset.names()) == ["one"]
clip = dataset.clip("one")
assert clip.xy.shape == (2, 8, 2) and clip.visible.sum() == back.visible_at().sum()
with clip.open() as source:
    assert sum(1 for _ in source.frames()) == 8

# application
from my_tapkit.alarm import watch
said = []
watch(folder / "video.mp4", [(0, 60.0, 40.0)], (50, 30, 56.5, 45), lambda *what: said.append(what),
      model="panning", overlay=pathlib.Path("alarm.mp4"), stop_at_first=True)
assert len(said) == 1 and said[0][0] == "0" and said[0][1] in (2, 3), said
assert pathlib.Path("alarm.mp4").stat().st_size > 0
print("used")
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with the package and what an installer would write about it."""
    site = tmp_path_factory.mktemp("site")
    found = dict(FILES.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    assert set(found) == {"pyproject.toml"} | {
        f"my_tapkit/{name}.py" for name in ("card", "tracker", "formats", "dataset", "alarm")
    }
    (site / "my_tapkit").mkdir()
    (site / "my_tapkit" / "__init__.py").touch()
    for name, content in found.items():
        (site / name).write_text(content + "\n", encoding="utf-8")
    project = tomllib.loads(found["pyproject.toml"])["project"]
    about = site / "my_tapkit-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (about / "entry_points.txt").write_text("\n".join(points))
    return site


def python(site: Path, folder: Path, *arguments: str) -> str:
    """What that Python prints, with the package on its path; an error of it is an error here."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT / "src")]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_everything_that_the_recipes_make_can_be_used(installed: Path, tmp_path: Path) -> None:
    assert python(installed, tmp_path, "-c", USE).endswith("used\n")


def test_the_tracker_of_the_recipe_keeps_the_contract(installed: Path) -> None:
    arguments = ["-m", "pytest", "-n", "0", "-v", "-p", "no:cacheprovider", "tests/models/test_contract.py"]
    said = python(installed, ROOT, *arguments, "-k", "panning")
    kept = re.search(r"(\d+) passed", said)
    assert kept is not None and int(kept[1]) >= 15, said


def test_the_command_line_knows_them(installed: Path, tmp_path: Path) -> None:
    listed = python(installed, tmp_path, "-m", "tapkit", "models")
    assert "panning" in listed
    assert "points-json" in python(installed, tmp_path, "-m", "tapkit", "export", "--list")

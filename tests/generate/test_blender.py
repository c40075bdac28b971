"""Blender itself films the calibration scene; `python tools/blender_venv.py` makes the environment for it."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("OpenEXR")
pytest.importorskip("embreex")

from tapkit.datasets.folder import FolderDataset
from tapkit.errors import MissingExtra
from tapkit.generate import program
from tapkit.generate.program import BlenderError, command, film, find_blender

ROOT = Path(__file__).parents[2]
BLENDER = ROOT / ".venv-blender/bin/python"
OPTIONS = {
    "--scenes": "calibration",
    "--frames": 4,
    "--size": "128x96",
    "--samples": 2,
    "--points": 300,
    "--seed": 3,
    "--device": "cpu",
    "--threads": 2,
}

BLENDERS_OWN = {ROOT / "src/tapkit/apps/camera/blender.py"}
"""Scripts that are handed to Blender as they are, and never imported."""

needs_blender = pytest.mark.skipif(not BLENDER.exists(), reason="Blender is not there: python tools/blender_venv.py")


def generate(out: Path) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    words = [
        sys.executable,
        "-m",
        "tapkit",
        "generate",
        "-o",
        str(out),
        *(str(each) for pair in OPTIONS.items() for each in pair),
    ]
    environment = {**os.environ, "TAPKIT_BLENDER": str(BLENDER)}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A set of one video, and what was said."""
    out = tmp_path_factory.mktemp("whole")
    process = generate(out)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0, said
    return out, said


@needs_blender
def test_rendered_and_computed_agree_in_every_check(whole: tuple[Path, str]) -> None:
    """Depths, masks, positions and colours are the renderer's; tracks are from triangles and rays of our own."""
    out, said = whole
    lines = [line.strip() for line in said.splitlines() if line.startswith("    ")]
    assert len(lines) == 10 and all(line.startswith("ok ") for line in lines), said
    assert "not seen" not in said
    clip = FolderDataset(out).clip("calibration_000003")
    assert clip.frames == 4 and clip.xy.shape[0] == 300 and 0.5 < clip.visible.mean() < 1


@needs_blender
def test_killed_while_rendering_it_goes_on_and_all_files_are_the_same(whole: tuple[Path, str], tmp_path: Path) -> None:
    process = generate(tmp_path)
    second = tmp_path / "calibration_000003.partial/00001.npz"
    while not second.exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "calibration_000003").exists()
    again = generate(tmp_path)
    said = again.communicate(timeout=120)[0]
    assert again.returncode == 0, said
    files = sorted(path.relative_to(whole[0]) for path in whole[0].rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    for file in files:
        if file.name == "overlay.mp4":  # encoded by several threads, which do not always cut it the same way
            continue
        assert (whole[0] / file).read_bytes() == (tmp_path / file).read_bytes(), file


def test_what_blender_says_last_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "python-broken"
    broken.write_text("#!/bin/sh\necho first >&2\necho 'no library \033[2J here' >&2\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(BlenderError, match=r"no library \?\[2J here") as told:
        film(broken, {}, tmp_path, print)
    assert "blender.log" in str(told.value)
    broken.write_text("#!/bin/sh\nkill -9 $$\n")
    with pytest.raises(BlenderError, match="ended by signal 9"):
        film(broken, {}, tmp_path, print)


def test_blender_is_found_or_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPKIT_BLENDER", "/none/blender")
    with pytest.raises(MissingExtra, match="no program that can be run"):
        find_blender()
    monkeypatch.setenv("TAPKIT_BLENDER", sys.executable)
    assert find_blender() == Path(sys.executable)
    monkeypatch.delenv("TAPKIT_BLENDER")
    monkeypatch.setattr(program, "ENVIRONMENT", "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingExtra, match=r"pip install 'bpy==4.5.\*'"):
        find_blender()
    (tmp_path / "blender").write_text("#!/bin/sh\n")
    (tmp_path / "blender").chmod(0o755)
    assert find_blender() == tmp_path / "blender"
    assert command(find_blender(), Path("job.json"))[-2:] == ["--", "job.json"]
    assert command(Path("/x/python3.11"), Path("job.json"))[1:] == [str(program.SCRIPT), "job.json"]


def test_nothing_of_the_library_imports_blender() -> None:
    """It is GPL, and a program apart; and its scripts run where there is no tapkit."""
    source = ROOT / "src/tapkit"
    inside = source / "generate/blender"
    for path in source.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if inside not in path.parents and path.parent.name != "scene" and not re.search("bpy|mathutils", text):
            continue  # no need to parse what does not even contain the names
        nodes = list(ast.walk(ast.parse(text)))
        names = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
        names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
        roots = {name.split(".")[0] for name in names}
        if inside in path.parents or path.parent.name == "scene":
            assert "tapkit" not in roots, path
        if inside not in path.parents and path not in BLENDERS_OWN:
            assert not roots & {"bpy", "mathutils"}, path

"""What interrupted runs leave is found, told apart from what users own, and cleared unless somebody is at work."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tapkit.engine import leftovers
from tapkit.engine.checkpoint import Checkpoint
from tapkit.errors import StorageError


def old(path: Path) -> None:
    """As if nothing had been written for an hour."""
    for each in (path, *path.rglob("*")):
        os.utime(each, (time.time() - 3600,) * 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Checkpoint(tmp_path / "deep/a.npz.partial", {"job": 1}) as run:
        run.results.write_bytes(bytes(1000))
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    (tmp_path / f".b.mp4.{int(ended.stdout)}-0123abcd.partial").write_bytes(bytes(500))
    (tmp_path / ".tapkit-x1y2.partial").mkdir()
    (tmp_path / ".tapkit-x1y2.partial/c.txt").write_text("half")
    (tmp_path / "mine.partial").mkdir()
    (tmp_path / "mine.partial/letter.txt").write_text("mine")
    (tmp_path / "other.partial").write_text("a download of another program")
    (tmp_path / ".hidden.partial").write_text("mine too")
    old(tmp_path)
    return tmp_path


def test_they_are_listed_and_what_is_not_ours_is_not(folder: Path) -> None:
    found = {each.path.name: each for each in leftovers.find(folder)}
    assert len(found) == 3 and not any(each.busy for each in found.values())
    run = found["a.npz.partial"]
    assert run.resumable and run.result == folder / "deep/a.npz" and run.size > 1000 and run.age > 3000
    half = next(each for name, each in found.items() if name.startswith(".b.mp4"))
    assert not half.resumable and half.result == folder / "b.mp4" and half.size == 500


def test_clearing_removes_them_and_nothing_else(folder: Path) -> None:
    assert len(leftovers.clear(leftovers.find(folder))) == 3
    assert leftovers.find(folder) == []
    left = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    assert left == [".hidden.partial", "mine.partial/letter.txt", "other.partial"]


def test_what_somebody_is_at_work_on_stays(folder: Path) -> None:
    (folder / f".d.npz.{os.getpid()}-0123abcd.partial").write_text("at work")
    (folder / ".tapkit-z9.partial").mkdir()  # changed just now
    with Checkpoint(folder / "deep/a.npz.partial", {"job": 1}):
        found = leftovers.find(folder)
        busy = {each.path.name for each in found if each.busy}
        assert busy == {f".d.npz.{os.getpid()}-0123abcd.partial", ".tapkit-z9.partial", "a.npz.partial"}
        assert {each.path.name for each in leftovers.clear(found)} & busy == set()
        assert (folder / "deep/a.npz.partial/job.json").exists()
    assert not next(each for each in leftovers.find(folder) if each.resumable).busy


def test_a_folder_of_the_users_is_not_taken_for_an_interrupted_run(folder: Path) -> None:
    with pytest.raises(StorageError, match="something else than an interrupted run"):
        Checkpoint(folder / "mine.partial", {"job": 1})
    assert (folder / "mine.partial/letter.txt").read_text() == "mine"
    assert not (folder / "mine.partial.lock").exists()
    with pytest.raises(StorageError, match="not a folder"):
        leftovers.find(folder / "none")

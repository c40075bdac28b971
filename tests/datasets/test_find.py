"""Readers of other packages: asked by name, or after tapkit's own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tapkit import plugins
from tapkit.datasets import Dataset, find, open_dataset
from tapkit.datasets.csv_tracks import CsvTracks
from tapkit.datasets.folder import FolderDataset, write_clip
from tapkit.errors import StorageError


class Theirs(Dataset):
    name = "Theirs"

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self):
        return ["one"]

    def clip(self, name):
        raise self.unknown(name)


def recognise(path: Path) -> Dataset | None:
    marked = path.suffix == ".theirs" or (path / "theirs.txt").exists() or (path / "tracks.npz").exists()
    return Theirs(path) if marked else None


@pytest.fixture(autouse=True)
def plugin(monkeypatch: pytest.MonkeyPatch):
    points = [SimpleNamespace(name="theirs", load=lambda: recognise)]
    monkeypatch.setattr(plugins.metadata, "entry_points", lambda group: points if group == "tapkit.datasets" else [])
    find._plugins.cache_clear()
    yield
    find._plugins.cache_clear()


def test_another_package_adds_a_reader_of_folders_and_files(tmp_path: Path) -> None:
    (tmp_path / "theirs.txt").write_text("")
    assert isinstance(open_dataset(tmp_path), Theirs)
    (tmp_path / "a.theirs").write_text("")
    assert isinstance(open_dataset(tmp_path / "a.theirs"), Theirs)


def test_it_goes_before_the_guess_that_any_csv_holds_labels(tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text("a,1,2,0\n")
    assert isinstance(open_dataset(tmp_path), CsvTracks)
    (tmp_path / "theirs.txt").write_text("")
    assert isinstance(open_dataset(tmp_path), Theirs)


def test_it_does_not_replace_our_own_unless_it_is_named(tmp_path: Path, made) -> None:
    write_clip(tmp_path / "walk", made.clip())
    assert isinstance(open_dataset(tmp_path / "walk"), FolderDataset)
    chosen = open_dataset(f"theirs:{tmp_path / 'walk'}")
    assert isinstance(chosen, Theirs) and chosen.path == tmp_path / "walk"


def test_what_nobody_recognises_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_text("")
    for where, message in {
        str(tmp_path): "or what theirs can read",
        str(tmp_path / "a.zip"): "no benchmark file.*what theirs can read; unpack it first",
        f"theirs:{tmp_path}": "holds nothing that theirs recognises",
        f"theirs:{tmp_path / 'none'}": "none does not exist",
        f"other:{tmp_path}": "does not exist",
    }.items():
        with pytest.raises(StorageError, match=message):
            open_dataset(where)

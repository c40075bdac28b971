"""Formats are found by name and by ending, those of other packages too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tapkit import plugins
from tapkit.errors import UsageError
from tapkit.export import Format, Job, library
from tapkit.types import Tracks


def count(job: Job, target: Path) -> None:
    target.write_text(str(len(job.names)))


class Point:
    """An entry point, as importlib.metadata gives it."""

    def __init__(self, name: str, content: dict[str, Format]) -> None:
        self.name, self.content = name, content

    def load(self) -> dict[str, Format]:
        return self.content


def test_another_package_adds_a_format_but_cannot_replace_ours(
    tracks: Tracks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = {
        "head-count": Format("head-count", ".n", "How many", count),
        "nuke": Format("nuke", ".n", "Not ours", count),
    }
    points = [Point("a", theirs)]
    monkeypatch.setattr(plugins.metadata, "entry_points", lambda group: points)
    library.formats.cache_clear()
    try:
        assert tracks.to_head_count(tmp_path / "a.n").read_text() == "3"
        assert tracks.write(tmp_path / "b.n").read_text() == "3"
        assert library.find("nuke") is library.FORMATS["nuke"]
    finally:
        library.formats.cache_clear()


def test_a_plugin_that_cannot_be_loaded_is_left_out_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Point):
        def load(self) -> dict[str, Format]:
            raise ImportError("no module named theirs")

    points = [Broken("broken", {}), Point("good", {"head-count": Format("head-count", ".n", "How many", count)})]
    monkeypatch.setattr(plugins.metadata, "entry_points", lambda group: points)
    library.formats.cache_clear()
    try:
        with pytest.warns(
            UserWarning, match="plugin 'broken' .tapkit.formats. cannot be loaded: no module named theirs"
        ):
            assert set(library.formats()) == {*library.FORMATS, "head-count"}
    finally:
        library.formats.cache_clear()


def test_formats_and_datasets_are_there_in_a_checkout_that_is_not_installed() -> None:
    """Without any entry point, as on a path that was only added to PYTHONPATH."""
    script = """
from importlib import metadata
metadata.entry_points = lambda **_: metadata.EntryPoints()
import tapkit
from tapkit.types import Tracks
from tapkit.export import formats
from tapkit.datasets import open_dataset
assert {"nuke", "csv", "parquet"} <= set(formats()), sorted(formats())
assert len(open_dataset("tiny").names()) > 0
assert callable(Tracks.__getattr__(None, "to_nuke"))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_tracks_are_imported_without_the_formats() -> None:
    script = "import sys, tapkit.types.tracks; assert not any(m.startswith('tapkit.export') for m in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_every_format_is_called_by_its_own_name_and_has_a_page_row() -> None:
    page = (Path(__file__).parents[2] / "docs/export/index.md").read_text()
    for name, entry in library.formats().items():
        assert entry.name == name
        assert f"\n| {name} | " in page, "python benchmarks/export.py --docs writes the tables"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a.rrd", "rerun"),
        ("a.csv", "csv"),
        ("b.analysis.h5", "sleap-analysis"),
        ("b.h5", "dlc-predictions"),
        ("a.nk", "nuke"),
        ("A.NK", "nuke"),
        ("a.exr", "stmap"),
        ("a.json", "coco"),
        ("a.setting", "fusion"),
    ],
)
def test_endings_name_a_format(path: str, name: str) -> None:
    assert library.by_suffix(path).name == name


def test_an_ending_of_many_programs_names_none() -> None:
    with pytest.raises(UsageError, match="may be any of ae, mocha, 3de"):
        library.by_suffix("a.txt")


@pytest.mark.parametrize(
    ("name", "path", "meant"),
    [
        ("aftereffects", None, "ae"),
        ("After-Effects", "shot.txt", "ae"),
        ("aftereffects", "shot.jsx", "ae-script"),
        ("resolve", "shot.comp", "fusion-comp"),
        ("fusion", "shot.comp", "fusion"),
        ("3DEqualizer", "points.txt", "3de"),
        ("deeplabcut", "labeled-data/clip", "dlc"),
        ("deeplabcut", "clip.h5", "dlc-predictions"),
        ("deeplabcut", "clip.csv", "dlc-predictions"),
        ("Nuke", None, "nuke"),
    ],
)
def test_programs_are_known_by_their_own_names(name: str, path: str | None, meant: str) -> None:
    assert library.find(name, path).name == meant


def test_aliases_are_names_of_nothing_else_and_name_formats() -> None:
    assert not set(library.ALIASES) & set(library.formats())
    assert all(meant in library.FORMATS for names in library.ALIASES.values() for meant in names)
    assert set(library.USUAL.values()) <= set(library.FORMATS)


def test_they_serve_everywhere(tracks: Tracks, tmp_path: Path) -> None:
    assert tracks.to_aftereffects(tmp_path / "a.txt").read_text() == tracks.to_ae(tmp_path / "b.txt").read_text()
    tracks.write(tmp_path / "a.jsx", "aftereffects")
    tracks.write(tmp_path / "b.jsx", "ae-script")
    assert (tmp_path / "a.jsx").read_text().replace("a.jsx", "b.jsx") == (tmp_path / "b.jsx").read_text()
    assert len(Tracks.read(tmp_path / "a.txt", "aftereffects", video=tracks.video)) == len(tracks)

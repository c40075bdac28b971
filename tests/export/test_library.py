"""Formats are found by name and by ending, those of other packages too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tapkit import plugins
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
    [("a.rrd", "rerun"), ("a.csv", "csv"), ("b.analysis.h5", "sleap-analysis"), ("b.h5", "dlc-predictions")],
)
def test_endings_name_a_format(path: str, name: str) -> None:
    assert library.by_suffix(path).name == name

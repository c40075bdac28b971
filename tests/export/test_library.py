"""Formats are found by name and by ending, those of other packages too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tapkit.export import Format, Job, library
from tapkit.types import Tracks, formats


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
    points = [Point("a", theirs), Point("tapkit", library.FORMATS)]
    monkeypatch.setattr(formats.metadata, "entry_points", lambda group: points)
    formats.formats.cache_clear()
    try:
        assert tracks.to_head_count(tmp_path / "a.n").read_text() == "3"
        assert tracks.write(tmp_path / "b.n").read_text() == "3"
        assert formats.find("nuke") is library.FORMATS["nuke"]
    finally:
        formats.formats.cache_clear()


def test_every_format_is_called_by_its_own_name_and_has_a_page_row() -> None:
    page = (Path(__file__).parents[2] / "docs/export/index.md").read_text()
    for name, entry in formats.formats().items():
        assert entry.name == name
        assert f"\n| {name} | " in page, "python benchmarks/export.py --docs writes the tables"


@pytest.mark.parametrize(
    ("path", "name"),
    [("a.rrd", "rerun"), ("a.csv", "csv"), ("b.analysis.h5", "sleap-analysis"), ("b.h5", "dlc-predictions")],
)
def test_endings_name_a_format(path: str, name: str) -> None:
    assert formats.by_suffix(path).name == name

"""What is written for the example clip, byte for byte.

The files in golden/ were looked at by hand against guides/ecosystem.md; test_layout.py says independently where a
point must be in each program. After a wanted change: python tests/export/test_golden.py writes them anew.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from example_clip import three_tracks

from tapkit.export import ExportWarning

GOLDEN = Path(__file__).parent / "golden"
TEXT = (
    "nuke", "nuke-script", "ae", "ae-script", "mocha", "3de", "3de3", "syntheyes", "pftrack", "boujou", "shake",
    "cvat", "coco", "dltdv", "csv", "csv-wide", "fusion", "fusion-comp",
)  # fmt: skip


def write(name: str, folder: Path, suffix: str = ".golden") -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExportWarning)
        return three_tracks(path="/footage/shot.mov").write(folder / f"{name}{suffix}", name)


@pytest.mark.parametrize("name", TEXT)
def test_the_example_clip_is_written_as_before(name: str, tmp_path: Path) -> None:
    path = write(name, tmp_path)
    assert path.read_bytes() == (GOLDEN / f"{name}.golden").read_bytes()


@pytest.mark.parametrize("name", ["cameras.txt", "images.txt", "points3D.txt"])
def test_the_colmap_model_is_written_as_before(name: str, tmp_path: Path) -> None:
    three_tracks().to_colmap(tmp_path / "colmap")
    assert (tmp_path / "colmap" / name).read_bytes() == (GOLDEN / "colmap" / name).read_bytes()


if __name__ == "__main__":
    for each in TEXT:
        write(each, GOLDEN)
    three_tracks().to_colmap(GOLDEN / "colmap")

"""Edges between points in the formats that have a place for them, there and back; others say that they have none."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from tapkit.export.format import ExportWarning
from tapkit.types import Tracks


@pytest.fixture
def joined(tracks: Tracks) -> Tracks:
    a, b, c = tracks.ids.tolist()
    return tracks.with_(skeleton=((b, a), (b, c)))


FILES = {
    "csv": "t.csv",
    "csv-wide": "wide.csv",
    "parquet": "t.parquet",
    "coco": "t.json",
    "sleap": "t.slp",
    "sleap-analysis": "t.analysis.h5",
}
NEEDS = {"parquet": "pyarrow", "sleap": "sleap_io", "sleap-analysis": "sleap_io"}


@pytest.mark.parametrize("form", FILES)
def test_edges_come_back(joined: Tracks, tmp_path: Path, form: str) -> None:
    if form in NEEDS:
        pytest.importorskip(NEEDS[form])
    with warnings.catch_warnings():
        warnings.simplefilter("error", ExportWarning)
        path = joined.write(tmp_path / FILES[form], form)
    back = Tracks.read(path, form, video=joined.video)
    assert sorted(back.skeleton) == sorted(joined.skeleton)
    again = Tracks.read(path, form, original=joined)
    assert sorted(again.skeleton) == sorted(joined.skeleton) and again.ids.tolist() == joined.ids.tolist()


def test_coco_counts_keypoints_from_one(joined: Tracks, tmp_path: Path) -> None:
    category = json.loads(joined.write(tmp_path / "t.json", "coco").read_text())["categories"][0]
    assert category["skeleton"] == [[2, 1], [2, 3]]


def test_pairs_of_coco_that_mean_nothing_are_left_out(joined: Tracks, tmp_path: Path) -> None:
    path = joined.write(tmp_path / "t.json", "coco")
    document = json.loads(path.read_text())
    document["categories"][0]["skeleton"] = [[1, 9], [0, 1], [1, 1], "x", [1, 2, 3], [1, 3]]
    path.write_text(json.dumps(document))
    ids = joined.ids.tolist()
    assert Tracks.read(path, "coco", video=joined.video).skeleton == ((ids[0], ids[2]),)


def test_a_program_without_skeletons_does_not_take_them_away(joined: Tracks, tmp_path: Path) -> None:
    with pytest.warns(ExportWarning, match="3de has no place for the skeleton"):
        path = joined.write(tmp_path / "t.txt", "3de")
    assert Tracks.read(path, "3de", original=joined).skeleton == joined.skeleton


def test_names_are_those_of_the_file(joined: Tracks, tmp_path: Path) -> None:
    odd = joined.with_(queries=joined.queries.with_ids(["a\nb", "c", "d"]))
    path = odd.write(tmp_path / "t.json", "coco")
    names = json.loads(path.read_text())["categories"][0]["keypoints"]
    assert Tracks.read(path, "coco", video=odd.video).skeleton == (("c", names[0]), ("c", "d"))
    assert Tracks.read(path, "coco", original=odd).skeleton == odd.skeleton


def test_deeplabcut_is_told_what_to_put_into_its_configuration(joined: Tracks, tmp_path: Path) -> None:
    pytest.importorskip("tables")
    yaml = pytest.importorskip("yaml")
    with pytest.warns(ExportWarning, match="config.yaml") as caught:
        joined.write(tmp_path / "p.h5", "dlc-predictions")
    said = next(str(w.message) for w in caught if "config.yaml" in str(w.message))
    pairs = yaml.safe_load(said[said.index("skeleton: [") :])["skeleton"]
    import pandas

    parts = pandas.read_hdf(tmp_path / "p.h5").columns.get_level_values("bodyparts").unique().tolist()
    assert pairs == [[parts[1], parts[0]], [parts[1], parts[2]]]


def test_points_without_positions_take_their_edges_along(joined: Tracks, tmp_path: Path) -> None:
    valid = joined.valid.copy()
    valid[0] = False
    path = joined.with_(valid=valid, keyframe=np.zeros_like(valid)).save(tmp_path / "t.csv")
    assert Tracks.load(path).skeleton == joined.skeleton[1:]

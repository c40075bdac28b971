"""Where the point at (20.25, 150) of a 320 x 180 frame is in each program, worked out by hand from the conventions."""

from __future__ import annotations

import ast
import base64
import json
import re
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest

from tapkit.export import ExportWarning
from tapkit.export.library import formats
from tapkit.types import Tracks

FIRST_KEY = {
    "nuke": "{curve x1 20.25000 ",  # from the bottom left: x, 180 - y = 30
    "ae": "\t0\t20.25000\t150.00000\t\n",
    "mocha": "\t0\t20.25000\t150.00000\t\n",
    "3de": "\n1 20.250000000000000 30.000000000000000\n",
    "3de3": "\t1\t20.250000\t30.000000\n",
    # 2 (20.25 - 0.5) / 319 - 1 and 2 (150 - 0.5) / 179 - 1, a first key
    "syntheyes": "gap 0 -0.876175549 0.670391061 15\n",
    "pftrack": "\n0 19.7500 29.5000 0.750\n",
    "boujou": "gap  0  20.2500  151.0000\n",
    "shake": "   1.00   20.2500   30.0000   0.750\n",
    "cvat": '<points frame="0" keyframe="1" outside="0" occluded="0" points="20.2500,150.0000"',
    "coco": '"keypoints": [19.7500, 149.5000, 2, ',
    "dltdv": "\n20.75000,150.50000,",
    "fusion": "[0] = { 0.063281250, Flags",  # 20.25 / 320; y is (180 - 150) / 180
    "fusion-comp": "[0] = { 0.166666667, Flags",
    "csv": "gap,0,0.000000,20.25000,150.00000,",
    "csv-wide": "\n0,0.000000,20.25,150,0.9",
}


@pytest.mark.filterwarnings("ignore::tapkit.export.ExportWarning")
@pytest.mark.parametrize("name", FIRST_KEY)
def test_the_first_position_is_in_the_programs_own_coordinates(name: str, tracks: Tracks, tmp_path: Path) -> None:
    text = tracks.write(tmp_path / f"out{formats()[name].suffix}", name).read_text()
    assert FIRST_KEY[name] in text


def test_no_format_says_zero_for_a_position_that_is_not_known(tracks: Tracks, tmp_path: Path) -> None:
    """The clip has no position within 10 pixels of a corner, so no text may have a pair of zeros."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExportWarning)
        for name in ("nuke", "ae", "3de", "3de3", "pftrack", "boujou", "shake", "cvat", "dltdv", "csv", "csv-wide"):
            text = tracks.write(tmp_path / f"{name}.x", name).read_text()
            assert not re.search(r"[\t ,]-?0\.0{2,}[\t ,]+-?0\.0{2,}(?=[\s,])", text), name


def test_nuke_rows_have_the_thirty_one_cells_of_the_header(tracks: Tracks, tmp_path: Path) -> None:
    text = tracks.to_nuke(tmp_path / "a.nk").read_text()
    assert "tracks { { 1 31 3 }" in text
    rows = re.findall(r"^ \{ (\{curve K.*) \}$", text, re.M)
    assert [len(re.findall(r'\{[^{}]*\}|"[^"]*"|\S+', row)) for row in rows] == [31, 31, 31]
    assert "{curve K x1 1 x5 0 x8 1}" in rows[0]
    cells = re.findall(r'\{[^{}]*\}|"[^"]*"|\S+', rows[0])
    assert cells[12:20] == ["-16", "-16", "16", "16", "-24", "-24", "24", "24"]
    assert cells[-2:] == ["{curve x1 15.50000}"] * 2, "key_centre_offset is half the pattern less half a pixel"
    assert rows[1].startswith("{curve K x1 0 x4 1}")


def test_a_corner_pin_needs_four_points_and_sorts_them(tmp_path: Path) -> None:
    from tapkit.types import Queries, VideoInfo

    xy = np.repeat(np.array([[90, 80], [10, 12], [12, 85], [95, 9.0]])[:, None], 3, 1) + np.arange(3)[None, :, None]
    every = np.ones((4, 3))
    tracks = Tracks(xy, every, every, every > 0, Queries.at(0, xy[:, 0], list("abcd")), VideoInfo(100, 100))
    text = tracks.to_nuke_cornerpin(tmp_path / "pin.nk").read_text()
    # Nuke: bottom left, bottom right, top right, top left; y up
    froms = [
        "from1 {12.00000 15.00000}",
        "from2 {90.00000 20.00000}",
        "from3 {95.00000 91.00000}",
        "from4 {10.00000 88.00000}",
    ]
    assert [line for line in froms if line not in text] == []
    assert "to1 {{curve x1 12.00000 13.00000 14.00000}" in text
    blocks = tracks.to_ae(tmp_path / "pin.txt", block="corner-pin").read_text().split("Effects\t")[1:]
    assert [b.split("\n")[2].split("\t")[2] for b in blocks] == ["10.00000", "95.00000", "90.00000", "12.00000"]


def test_motion_and_occlusion_survive_in_coco_and_cvat(tracks: Tracks, tmp_path: Path) -> None:
    coco = json.loads(tracks.to_coco(tmp_path / "a.json").read_text())
    flags = np.array([a["keypoints"][2::3] for a in coco["annotations"]]).T
    assert flags[0].tolist() == [2, 2, 2, 2, 0, 0, 0, 2, 2, 2, 2, 2]
    assert flags[1].tolist() == [0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2, 2]
    assert flags[2].tolist() == [2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2]
    cvat = tracks.to_cvat(tmp_path / "a.xml").read_text()
    assert re.findall(r'frame="(\d+)" keyframe="1" outside="1"', cvat) == ["4"]
    assert re.findall(r'frame="(\d+)" keyframe="1" outside="0" occluded="1"', cvat) == ["5", "6", "7"]


def test_the_blender_script_carries_the_keys_in_blenders_coordinates(tracks: Tracks, tmp_path: Path) -> None:
    """What real Blender makes of it is in test_blender.py; here the data are unpacked as the script does."""
    tree = ast.parse(tracks.to_blender(tmp_path / "a.py").read_text())
    constants = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }

    def unpacked(name: str, dtype: str) -> np.ndarray:
        return np.frombuffer(zlib.decompress(base64.b64decode(ast.literal_eval(constants[name]))), dtype)

    facts = json.loads(constants["FACTS"].args[0].value)  # type: ignore[attr-defined]
    assert facts["names"] == tracks.ids.tolist() and facts["counts"] == tracks.valid.sum(1).tolist()
    assert unpacked("FRAMES", "<i4").tolist() == (np.nonzero(tracks.valid)[1] + 1).tolist()
    unit = unpacked("POSITIONS", "<f4").reshape(-1, 2)
    expected = tracks.xy[tracks.valid] / (320, 180) * (1, -1) + (0, 1)
    assert np.allclose(unit, expected, atol=1e-6)
    assert unpacked("MUTED", "?").tolist() == (~tracks.visible_at()[tracks.valid]).tolist()
    assert unpacked("KEYED", "?").tolist() == tracks.keyframe[tracks.valid].tolist()

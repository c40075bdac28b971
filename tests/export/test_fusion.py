"""Fusion's settings and compositions: what is written is read again, and so are paths as Fusion itself writes them."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

from tapkit.errors import StorageError
from tapkit.export import ReadWarning
from tapkit.export.lua_table import parse
from tapkit.types import Tracks, VideoInfo

pytestmark = pytest.mark.filterwarnings("ignore::tapkit.export.ExportWarning")

POLYPATH = """{
	Tools = ordered() {
		Tracker1 = Tracker {
			Trackers = { { PatternTime = 0, PatternX = 0.25, PatternY = 0.25 } },
			Inputs = {
				Name1 = Input { Value = "Corner \\"A\\"", },
				TrackedCenter1 = Input { SourceOp = "PathA", Source = "Position", },
				TrackedCenter2 = Input { Value = { 0.1, 0.2 }, },
			},
		},
		PathA = PolyPath {
			DrawMode = "InsertAndModify",
			Inputs = {
				Displacement = Input { SourceOp = "PathADisplacement", Source = "Value", },
				PolyLine = Input {
					Value = Polyline {
						Points = {
							{ Linear = true, LockY = true, X = -0.25, Y = -0.25, RX = 0.01, RY = 0.0 },
							{ Linear = true, LockY = true, X = -0.20, Y = 0.25, LX = -0.01, LY = 0.0 },
							{ Linear = true, LockY = true, X = 0.25, Y = 0.25 },
						}
					},
				},
			},
		},
		PathADisplacement = BezierSpline {
			KeyFrames = {
				[3] = { 0, RH = { 3.3, 0.1 }, Flags = { Linear = true, LockedY = true } },
				[4] = { 0.9, Flags = { Linear = true, LockedY = true } }, --[[ arc length ]]
				[7] = { 1, Flags = { Linear = true, LockedY = true } },
			}
		}
	}
}
"""


def test_a_path_as_a_tracker_writes_it_has_a_key_for_each_of_its_points(tmp_path: Path) -> None:
    (tmp_path / "a.setting").write_text(POLYPATH)
    tracks = Tracks.read(tmp_path / "a.setting", video=VideoInfo(200, 100))
    assert tracks.ids.tolist() == ['Corner "A"']
    assert np.flatnonzero(tracks.valid[0]).tolist() == [3, 4, 7]
    assert tracks.xy[0, [3, 4, 7]] == pytest.approx(np.array([[50, 75], [60, 25], [150, 25]]), abs=1e-4)


def test_a_path_with_other_keys_than_points_is_followed_by_length_and_said(tmp_path: Path) -> None:
    shorter = re.sub(r"\s*\[4\] = .*", "", POLYPATH)
    straight = re.sub(r".*X = -0.20, .*", "", shorter)
    for key, where in (("[7] = { 1,", [150, 25]), ("[7] = { 0.5,", [100, 50])):
        (tmp_path / "a.setting").write_text(straight.replace("[7] = { 1,", key))
        with warnings.catch_warnings():
            warnings.simplefilter("error" if where == [150, 25] else "ignore", ReadWarning)
            tracks = Tracks.read(tmp_path / "a.setting", video=VideoInfo(200, 100))
        assert tracks.xy[0, 7] == pytest.approx(np.array(where), abs=1e-4)
    (tmp_path / "b.setting").write_text(shorter.replace("[7] = { 1,", "[7] = { 0.5,").replace("-0.20, Y", "-0.25, Y"))
    with pytest.warns(ReadWarning, match="other keys than points"):
        tracks = Tracks.read(tmp_path / "b.setting", video=VideoInfo(200, 100))
    assert tracks.xy[0, 7] == pytest.approx(np.array([50, 25]), abs=1e-4), "half of the way round the corner"


def test_a_composition_says_size_rate_range_and_numbers(tmp_path: Path) -> None:
    from fractions import Fraction

    from example_clip import three_tracks

    tracks = three_tracks(start_frame=1001, pixel_aspect=Fraction(4, 3))
    path = tracks.to_fusion_comp(tmp_path / "a.comp")
    assert "[1001] = { 0.063281250," in path.read_text()
    back = Tracks.read(path)
    assert (back.video.size, back.video.fps, back.frames) == (tracks.video.size, tracks.video.fps, tracks.frames)
    assert (back.valid == tracks.visible_at()).all() and back.ids.tolist() == tracks.ids.tolist()
    assert np.abs(back.xy - tracks.xy)[back.valid].max() < 1e-3


def test_names_stay_data(tmp_path: Path) -> None:
    from example_clip import three_tracks

    names = ['a", }, }, Evil = Fuse { "', "back\\slash\\", "]] .. os.exit() .. [["]
    tracks = three_tracks()
    tracks = tracks.with_(queries=tracks.queries.with_ids(names))
    path = tracks.to_fusion(tmp_path / "a.setting")
    tools = parse(path.read_text())["Tools"]
    assert [tools["Tracker1"]["Inputs"][f"Name{n}"]["Value"] for n in (1, 2, 3)] == names
    assert {name for name in tools if "Path" not in str(name)} == {"__kind", "Tracker1"}
    assert Tracks.read(path, original=tracks).ids.tolist() == names


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{ a = }}",
        "return os.exit()",
        "{ Tools = { } }",
        "{ Tools = { T = Tracker { Inputs = { } } } }",
        "{ @ }",
    ],
)
def test_what_is_no_setting_is_refused_in_a_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.setting").write_text(text)
    with pytest.raises(StorageError, match=r"a\.setting") as error:
        Tracks.read(tmp_path / "a.setting", video=VideoInfo(200, 100))
    assert "\n" not in str(error.value)

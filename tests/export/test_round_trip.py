"""Written, edited by hand, read again."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from example_clip import three_tracks

from tapkit.export import ExportWarning
from tapkit.export.library import formats
from tapkit.types import Tracks

BOTH_WAYS = [
    "nuke", "nuke-script", "ae", "mocha", "3de", "3de3", "syntheyes", "pftrack", "boujou", "shake", "cvat", "coco",
    "dlc", "dlc-predictions", "sleap", "dltdv", "csv", "csv-wide", "parquet", "fusion",
    "fusion-comp",
]  # fmt: skip
OPTIONS = {"dlc": {"frames": "all", "images": False}}
pytestmark = pytest.mark.filterwarnings("ignore::tapkit.export.ExportWarning")


def write(tracks: Tracks, name: str, folder: Path, **options: object) -> Path:
    needs = {"dlc": "pandas", "dlc-predictions": "tables", "sleap": "sleap_io", "parquet": "pyarrow"}
    if name in needs:
        pytest.importorskip(needs[name])
    suffix = formats()[name].suffix
    return tracks.write(folder / ("out" + suffix.strip("/")), name, **OPTIONS.get(name, {}), **options)


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_what_is_written_is_read_again_within_a_thousandth_of_a_pixel(
    name: str, tracks: Tracks, tmp_path: Path
) -> None:
    back = Tracks.read(write(tracks, name, tmp_path), name, video=tracks.video)
    expected = tracks.valid if formats()[name].occlusion else tracks.visible_at()
    assert (back.valid == expected).all()
    assert np.abs(back.xy - tracks.xy)[expected].max() < 1e-3
    if formats()[name].occlusion and name not in ("dlc-predictions", "sleap"):
        assert (back.visible_at() == tracks.visible_at()).all()


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_reading_what_was_not_edited_changes_nothing(name: str, tracks: Tracks, tmp_path: Path) -> None:
    back = Tracks.read(write(tracks, name, tmp_path), name, original=tracks)
    for field in ("xy", "visible", "confidence", "valid", "keyframe"):
        assert np.array_equal(getattr(back, field), getattr(tracks, field), equal_nan=True), field
    assert back.ids.tolist() == tracks.ids.tolist()


EDITS: dict[str, Callable[[str], str]] = {
    "nuke": lambda s: s.replace("279.12500", "280.62500", 1),
    "ae": lambda s: s.replace("\t3\t279.12500", "\t3\t280.62500"),
    "3de": lambda s: s.replace("\n4 279.125", "\n4 280.625"),
    "3de3": lambda s: s.replace("\t4\t279.125", "\t4\t280.625"),
    "cvat": lambda s: s.replace("279.1250,", "280.6250,", 1),
    "csv": lambda s: s.replace("late start,3,0.125125,279.125", "late start,3,0.125125,280.625"),
    "csv-wide": lambda s: s.replace("279.125", "280.625"),
    "coco": lambda s: s.replace("278.6250", "280.1250"),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_corrected_position_is_a_human_keyframe_and_nothing_else_is(
    name: str, tracks: Tracks, tmp_path: Path
) -> None:
    path = write(tracks, name, tmp_path)
    before = path.read_text()
    path.write_text(EDITS[name](before))
    assert path.read_text() != before
    back = Tracks.read(path, name, original=tracks)
    assert np.argwhere(back.keyframe != tracks.keyframe).tolist() == [[1, 3]]
    assert back.xy[1, 3, 0] == pytest.approx(280.625, abs=1e-3)
    assert back.visible[1, 3] == 1
    assert back.queries.xy[1].tolist() == back.xy[1, 3].tolist(), "the query moves along with its position"


def test_a_deleted_key_means_that_a_human_saw_no_point_there(tracks: Tracks, tmp_path: Path) -> None:
    path = tracks.to_3de(tmp_path / "a.txt")
    path.write_text(re.sub(r"\n12 222\..*", "", path.read_text()).replace("late_start\n0\n9\n", "late_start\n0\n8\n"))
    back = Tracks.read(path, "3de", original=tracks)
    assert np.argwhere(back.keyframe != tracks.keyframe).tolist() == [[1, 11]]
    assert back.visible[1, 11] == 0
    assert back.valid.sum() == tracks.valid.sum()


def test_a_point_added_by_hand_comes_last(tracks: Tracks, tmp_path: Path) -> None:
    path = tracks.to_3de(tmp_path / "a.txt")
    path.write_text("4" + path.read_text()[1:] + "new\n0\n2\n2 10.0 170.0\n3 11.0 171.0\n")
    back = Tracks.read(path, "3de", original=tracks)
    assert back.ids.tolist() == [*tracks.ids.tolist(), "new"]
    assert back.xy[3, 1:3].tolist() == [[10, 10], [11, 9]]
    assert back.keyframe[3].sum() == 2


@pytest.mark.parametrize("name", ["cvat", "csv", "parquet", "sleap"])
def test_human_keyframes_are_in_the_file_itself(name: str, tracks: Tracks, tmp_path: Path) -> None:
    back = Tracks.read(write(tracks, name, tmp_path), name, video=tracks.video)
    assert (back.keyframe == tracks.keyframe).all()


def test_nuke_marks_human_keyframes_and_queries(tracks: Tracks, tmp_path: Path) -> None:
    back = Tracks.read(tracks.to_nuke(tmp_path / "a.nk"), "nuke")
    assert np.argwhere(back.keyframe).tolist() == [[0, 0], [1, 3], [2, 9]]


def test_nuke_scripts_with_braces_around_names_and_curves_are_read_too(tracks: Tracks, tmp_path: Path) -> None:
    path = tracks.to_nuke(tmp_path / "a.nk")
    text = re.sub(r'"late start" (\{curve.*?\}) (\{curve.*?\})', r"{late start} {\1} {\2}", path.read_text())
    assert "{late start} {{curve" in text
    path.write_text(text)
    back = Tracks.read(path, "nuke")
    assert back.ids.tolist() == tracks.ids.tolist()
    assert np.nanmax(np.abs(back.xy - tracks.xy)) < 1e-3


def test_without_marks_or_an_original_everything_counts_as_human_unless_asked_otherwise(
    tracks: Tracks, tmp_path: Path
) -> None:
    path = tracks.to_3de(tmp_path / "a.txt")
    assert (Tracks.read(path, "3de", video=tracks.video).keyframe == tracks.visible_at()).all()
    assert not Tracks.read(path, "3de", video=tracks.video, human="none").keyframe.any()


@pytest.mark.parametrize("name", ["nuke-script", "3de3", "ae", "cvat", "csv", "coco"])
def test_files_that_name_the_size_need_no_video(name: str, tracks: Tracks, tmp_path: Path) -> None:
    back = Tracks.read(write(tracks, name, tmp_path), name)
    assert back.video.size == tracks.video.size
    if name in ("nuke-script", "ae", "csv"):
        assert back.video.fps == Fraction(24000, 1001)


@pytest.mark.parametrize("name", ["nuke", "shake", "csv", "cvat"])
def test_a_clip_that_starts_at_1001_comes_back_to_frame_zero(name: str, tmp_path: Path) -> None:
    tracks = three_tracks(start_frame=1001)
    path = write(tracks, name, tmp_path)
    starts = {"nuke": "{curve x1001 ", "shake": "   1001.00 ", "csv": "gap,0,", "cvat": 'frame="0"'}
    assert starts[name] in path.read_text()
    assert np.nanmax(np.abs(Tracks.read(path, name, original=tracks).xy - tracks.xy)) < 1e-3
    path = write(tracks, name, tmp_path, start_frame=5)
    again = Tracks.read(path, name, video=tracks.video, start_frame=5)
    assert np.nanmax(np.abs(again.xy - tracks.xy)) < 1e-3


def test_cvat_draws_lines_between_keyframes_and_fewer_of_them_stay_within_the_tolerance(
    tracks: Tracks, tmp_path: Path
) -> None:
    exact = tracks.to_cvat(tmp_path / "exact.xml").read_text()
    sparse = tracks.to_cvat(tmp_path / "sparse.xml", tolerance=0.5)
    assert sparse.read_text().count("<points ") < 0.8 * exact.count("<points ")
    back = Tracks.read(sparse, "cvat")
    assert (back.valid == tracks.valid).all()
    assert np.nanmax(np.abs(back.xy - tracks.xy)) <= 0.5 + 1e-3
    assert (back.visible_at() == tracks.visible_at()).all()


def test_after_effects_widens_x_for_square_comps_only(tmp_path: Path) -> None:
    tracks = three_tracks(pixel_aspect=Fraction(2))
    assert "\t0\t20.25000\t150" in tracks.to_ae(tmp_path / "a.txt").read_text()
    square = tracks.to_ae(tmp_path / "b.txt", square=True)
    assert "\t0\t40.50000\t150" in square.read_text()
    assert np.nanmax(np.abs(Tracks.read(square, "ae", original=tracks).xy - tracks.xy)) < 1e-3


def test_tapvid_pickles_hold_the_pictures_and_come_back(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "shot").mkdir()
    for number in range(12):
        Image.new("RGB", (320, 180), (number, 0, 0)).save(tmp_path / f"shot/{number:03d}.png")
    tracks = three_tracks(path=str(tmp_path / "shot"))
    for jpeg in (False, True):
        path = tracks.to_tapvid(tmp_path / "shot.pkl", jpeg=jpeg)
        back = Tracks.read(path, "tapvid")
        assert back.video.size == (180, 320)
        assert (back.visible_at() == tracks.visible_at()).all()
        assert np.abs(back.xy - tracks.xy)[tracks.valid].max() < 1e-3
        merged = Tracks.read(path, "tapvid", original=tracks)
        assert (merged.keyframe[tracks.valid] == tracks.keyframe[tracks.valid]).all()


def test_gaps_are_dropped_held_or_bridged(tracks: Tracks, tmp_path: Path) -> None:
    def ys(gaps: str, **options: object) -> dict[int, float]:
        path = tracks["gap"].to_csv(tmp_path / f"{gaps}.csv", gaps=gaps, comment=False, **options)
        return {int(r[1]): float(r[3]) for r in (line.split(",") for line in path.read_text().split("\n")[1:-1])}

    assert sorted(ys("drop")) == [0, 1, 2, 3, 7, 8, 9, 10, 11]
    assert [ys("hold")[t] for t in (4, 5, 6)] == [50.25] * 3
    assert [ys("interpolate")[t] for t in (4, 5, 6)] == pytest.approx([60.25, 70.25, 80.25])
    late = tracks["late start"]
    assert late.to_csv(tmp_path / "a.csv", gaps="hold").read_text().count("late start,") == 9, (
        "nothing before the start"
    )
    assert late.to_csv(tmp_path / "b.csv", when="all").read_text().count("late start,") == 12


def test_a_variable_frame_rate_is_warned_about_where_it_matters(tmp_path: Path) -> None:
    times = np.cumsum(np.linspace(0.03, 0.08, 12))
    tracks = three_tracks(times=times)
    with pytest.warns(ExportWarning, match="variable frame rate"):
        tracks.to_nuke(tmp_path / "a.nk")
    with warnings.catch_warnings():
        warnings.simplefilter("error", ExportWarning)
        tracks.to_csv(tmp_path / "a.csv")
        script = tracks.to_ae_script(tmp_path / "a.jsx").read_text()
    assert f"{times[3]:.6f}".rstrip("0") in script


def test_a_point_that_is_only_marked_as_hidden_in_cvat_is_a_human_statement_too(tracks: Tracks, tmp_path: Path) -> None:
    path = tracks.to_cvat(tmp_path / "a.xml")
    text = path.read_text()
    path.write_text(
        text.replace(
            'frame="2" keyframe="1" outside="0" occluded="0"', 'frame="2" keyframe="1" outside="0" occluded="1"', 1
        )
    )
    back = Tracks.read(path, "cvat", original=tracks)
    assert np.argwhere(back.keyframe != tracks.keyframe).tolist() == [[0, 2]]
    assert back.visible[0, 2] == 0
    assert np.array_equal(back.xy, tracks.xy, equal_nan=True)

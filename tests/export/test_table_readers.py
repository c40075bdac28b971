"""Tables of others: what spreadsheets make of them, and the columns that tell points, videos and cameras apart."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tapkit.errors import StorageError, UsageError
from tapkit.export import ReadWarning
from tapkit.types import Queries, Tracks, VideoInfo

SMALL = VideoInfo(200, 100)


@pytest.fixture(autouse=True)
def _nothing_is_said_unless_a_test_expects_it() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ReadWarning)
        yield


def frames_of(tracks: Tracks, point: int = 0) -> list[int]:
    return np.flatnonzero(tracks.valid[point]).tolist()


def table(path: Path, text: str | bytes, **options: object) -> Tracks:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Tracks.read(path, "csv", video=SMALL, **options)


PLAIN = "id,frame,x,y\n0,0,10.5,20.5\n0,1,11.5,21.5\n"


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        PLAIN.replace("\n", "\r\n").encode("utf-16"),
        PLAIN.replace(",", "\t").encode(),
        PLAIN.replace(",", ";").replace(".", ",").encode("utf-8-sig"),
        PLAIN.replace(",", "\t").replace(".", ",").encode("utf-16"),
        ("sep=;\n" + PLAIN.replace(",", ";")).encode(),
        PLAIN.replace("\n", ",,\n").encode() + b",,,,,\n",
        PLAIN.replace("id,frame", "Track ID, Frame Number").encode(),
        (PLAIN + "0,2,,\n0,3,NaN,nan\n0,4,NA,\n").encode(),
        (PLAIN + "0,0,10.5,20.5\n").encode(),
    ],
)
def test_tables_of_spreadsheets(content: bytes, tmp_path: Path) -> None:
    tracks = table(tmp_path / "a.csv", content)
    assert tracks.ids.tolist() == ["0"] and frames_of(tracks) == [0, 1]
    assert tracks.xy[0].tolist() == [[10.5, 20.5], [11.5, 21.5]]


@pytest.mark.parametrize(
    ("columns", "rows", "ids"),
    [
        ("name,frame,x,y", "nose,0,1,2\ntail,0,3,4", ["nose", "tail"]),
        ("frame,track_id,x,y", "0,5,1,2\n0,6,3,4", ["5", "6"]),
        ("point_id,t,x,y", "a,0,1,2\nb,0,3,4", ["a", "b"]),
        ("frame,individual,bodypart,x,y", "0,m1,nose,1,2\n0,m2,nose,3,4", ["m1.nose", "m2.nose"]),
        ("frame,individual,bodypart,x,y", "0,m1,nose,1,2\n0,m1,tail,3,4", ["nose", "tail"]),
        ("id,track_id,frame,x,y", "0,5,0,1,2\n1,6,0,3,4\n2,5,1,1,2", ["5", "6"]),
        ("label,id,frame,x,y", "fish,0,0,1,2\nfish,1,0,3,4\nfish,0,1,1,2", ["0", "1"]),
        ("frame,animal,x,y", "0,m1,1,2\n0,m2,3,4", ["m1", "m2"]),
    ],
)
def test_the_usual_columns_tell_points_apart(columns: str, rows: str, ids: list[str], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReadWarning)
        tracks = table(tmp_path / "a.csv", f"{columns}\n{rows}\n")
    assert tracks.ids.tolist() == ids and tracks.xy[:, 0].tolist() == [[1, 2], [3, 4]]


def test_columns_that_are_not_understood_are_said_and_never_overwrite(tmp_path: Path) -> None:
    text = "frame,bee,x,y\n0,a,1,2\n0,b,3,4\n"
    with pytest.raises(StorageError, match=r"two positions for the point '0' on frame 0"):
        table(tmp_path / "a.csv", text)
    with pytest.warns(ReadWarning, match=r"not taken: 2 columns \(z, area\)"):
        table(tmp_path / "b.csv", "id,frame,x,y,z,area\n0,0,1,2,3,4\n")
    with pytest.raises(StorageError, match="two columns called a_x"):
        table(tmp_path / "c.csv", "frame,a_x,a_y,a_x,a_y\n0,1,2,3,4\n")
    with pytest.raises(StorageError, match="two positions for the point 'a' on frame 0"):
        table(tmp_path / "d.csv", "frame,a_x,a_y\n0,1,2\n0,3,4\n")


def test_one_video_camera_scorer_or_animal_of_a_table(tmp_path: Path) -> None:
    text = "video,id,frame,x,y\na.mp4,0,0,1,2\nb.mp4,0,0,3,4\n"
    with pytest.raises(UsageError, match=r"has 2 videos \(a\.mp4, b\.mp4\)"):
        table(tmp_path / "a.csv", text)
    assert table(tmp_path / "a.csv", text, video_name="b").xy[0, 0].tolist() == [3, 4]
    text = "cam,id,frame,x,y\n1,0,0,1,2\n2,0,0,3,4\n"
    with pytest.warns(ReadWarning, match="camera 1 was taken, not 2"):
        assert table(tmp_path / "b.csv", text).xy[0, 0].tolist() == [1, 2]
    assert table(tmp_path / "b.csv", text, camera="2").xy[0, 0].tolist() == [3, 4]
    text = "animal,name,frame,x,y\nm1,nose,0,1,2\nm2,nose,0,3,4\n"
    chosen = table(tmp_path / "c.csv", text, animal="m2")
    assert chosen.ids.tolist() == ["nose"] and chosen.xy[0, 0].tolist() == [3, 4]


def test_a_likelihood_is_a_confidence_and_its_rows_are_no_human_work(tmp_path: Path) -> None:
    tracks = table(tmp_path / "a.csv", "id,frame,x,y,likelihood,occluded\n0,0,1,2,0.5,1\n0,1,1,2,,0\n")
    assert tracks.confidence[0].tolist() == [0.5, 1] and not tracks.keyframe.any()
    assert tracks.visible[0].tolist() == [0, 1]


def test_parquet_tables_of_others(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {"frame": [0, 0, 1], "track_id": [5, 6, 5], "x": [1.0, 3.0, None], "y": [2.0, 4.0, None]}
    parquet.write_table(arrow.table(columns), tmp_path / "a.parquet")
    tracks = Tracks.read(tmp_path / "a.parquet", video=SMALL)
    assert tracks.ids.tolist() == ["5", "6"] and tracks.xy[:, 0].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\ufefft;x;y\n0;60,5;50,5\n;;\n", [(0, 60.5, 50.5)]),
        ("frame\tx\ty\n3\t60.5\t50\n", [(3, 60.5, 50)]),
        ("t,x,y,name\n0,1,2,nose\n0,3,4,tail\n", [(0, 1, 2), (0, 3, 4)]),
    ],
)
def test_points_of_spreadsheets(text: str, expected: list, tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text(text)
    queries = Queries.read_csv(tmp_path / "q.csv")
    assert list(queries) == expected
    assert queries.ids.tolist() == (["nose", "tail"] if "name" in text else ["0"])
    (tmp_path / "q.csv").write_bytes(text.lstrip("\ufeff").encode("utf-16"))
    assert list(Queries.read_csv(tmp_path / "q.csv")) == expected

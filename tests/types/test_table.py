"""The long table: what `Tracks.save` and the formats csv and parquet write, and what is read of it again."""

from __future__ import annotations

import io
import json
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tapkit.errors import StorageError
from tapkit.types import Provenance, Queries, Tracks, VideoInfo
from tapkit.types.storage import Stored, stored, write
from tapkit.types.table import Table

OLDER = Path(__file__).parent / "older_files"
ENDINGS = [".csv", ".parquet"]
SOURCE = Provenance("m", "ab12", "1.2.3", {"direction": "both", "memory": None}, "visible*confidence", 0.45)


@pytest.fixture(autouse=True)
def _library(request: pytest.FixtureRequest) -> None:
    if "parquet" in request.node.name:
        pytest.importorskip("pyarrow")


def make(frames: int = 7, human: bool = False, **video: object) -> Tracks:
    """Four points with odd names, gaps, late starts and hidden positions, asked for on different frames."""
    random = np.random.default_rng(0)
    xy = random.uniform(0, 90, (4, frames, 2)).astype(np.float32)
    valid = np.ones((4, frames), bool)
    valid[1, :3] = valid[2, 2:4] = False
    t = np.array([0, 3, 5, frames - 1])
    ids = np.array(["plain", "#7", 'the "big", one', "zwei\nZeilen"])
    keyframe = random.random((4, frames)) > 0.7 if human else np.zeros((4, frames), bool)
    keyframe &= valid
    keyframe[0, 1] = human
    facts = {"fps": Fraction(30000, 1001), "start_frame": 1001, "path": "/a/{shot} #1.mov", **video}
    info = VideoInfo(96, 90, frames=frames, pixel_aspect=Fraction(4, 3), **facts)  # type: ignore[arg-type]
    visible, confidence = random.random((2, 4, frames)).astype(np.float32)
    return Tracks(xy, visible, confidence, valid, Queries(t, xy[np.arange(4), t], ids), info, SOURCE, keyframe)


def equal(ours: Tracks, theirs: Tracks, exact: bool) -> None:
    pixels, share, seconds = (0, 0, 0) if exact else (6e-6, 6e-6, 6e-7)
    assert ours.ids.tolist() == theirs.ids.tolist()
    assert (ours.valid == theirs.valid).all() and (ours.keyframe == theirs.keyframe).all()
    np.testing.assert_allclose(ours.xy, theirs.xy, rtol=1e-6 * (not exact), atol=pixels)
    np.testing.assert_allclose(ours.visible, theirs.visible, rtol=5e-5 * (not exact), atol=share)
    np.testing.assert_allclose(ours.confidence, theirs.confidence, rtol=5e-5 * (not exact), atol=share)
    assert ours.queries.t.tolist() == theirs.queries.t.tolist()
    np.testing.assert_allclose(ours.queries.xy, theirs.queries.xy, rtol=1e-6 * (not exact), atol=pixels)
    assert ours.video.to_dict() == theirs.video.to_dict()
    assert (ours.video.times is None) == (theirs.video.times is None)
    np.testing.assert_allclose(ours.times(), theirs.times(), rtol=0, atol=seconds)
    assert ours.source == theirs.source


VIDEOS = {
    "constant": {},
    "constant, with times": {"times": np.arange(7) * 1001 / 30000},
    "variable": {"times": np.array([0.25, 0.3, 0.45, 0.5, 0.51, 0.9, 1.1])},
}


@pytest.mark.parametrize("human", [False, True], ids=["machine", "human"])
@pytest.mark.parametrize("video", VIDEOS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_what_was_saved_is_loaded(tmp_path: Path, ending: str, video: str, human: bool) -> None:
    tracks = make(human=human, **VIDEOS[video])
    equal(Tracks.load(tracks.save(tmp_path / f"a{ending}")), tracks, exact=ending == ".parquet")


@pytest.mark.parametrize("ending", ENDINGS)
def test_export_and_save_write_the_same_table(tmp_path: Path, ending: str) -> None:
    tracks = make(human=True)[[0, 1, 2]]  # the fourth name has a line break, which exports replace
    saved, exported = tracks.save(tmp_path / f"a{ending}"), tracks.write(tmp_path / f"b{ending}")
    if ending == ".csv":
        assert saved.read_bytes() == exported.read_bytes()
    for path in (saved, exported):
        equal(Tracks.load(path), tracks, exact=ending == ".parquet")
        equal(Tracks.read(path), tracks, exact=ending == ".parquet")


@pytest.mark.parametrize("ending", ENDINGS)
def test_numbering_from_elsewhere_is_undone(tmp_path: Path, ending: str) -> None:
    tracks = make()
    path = tracks.write(tmp_path / f"a{ending}", start_frame=1001)
    loaded = Tracks.load(path)
    assert loaded.frames == tracks.frames and (loaded.valid == tracks.valid).all()
    assert (Tracks.read(path).valid == tracks.valid).all()


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_points_and_points_without_positions(tmp_path: Path, ending: str) -> None:
    tracks = make()
    none = Tracks.load(tracks[[]].save(tmp_path / f"none{ending}"))
    assert len(none) == 0 and none.frames == tracks.frames and none.source == tracks.source
    gone = tracks.with_(valid=tracks.valid & np.array([True, False, True, True])[:, None])
    assert Tracks.load(gone.save(tmp_path / f"gone{ending}")).ids.tolist() == tracks.ids[[0, 2, 3]].tolist()


def test_a_query_whose_row_is_missing_moves_to_the_best_one(tmp_path: Path) -> None:
    tracks = make(human=True)
    valid, keyframe = tracks.valid.copy(), np.zeros_like(tracks.valid)
    valid[np.arange(4), tracks.queries.t] = False
    keyframe[0, 2] = True
    visible = np.where(np.arange(7) == 4, 0.9, 0.2) * np.ones((4, 1))
    loaded = Tracks.load(tracks.with_(valid=valid, keyframe=keyframe, visible=visible).save(tmp_path / "a.csv"))
    assert loaded.queries.t.tolist() == [2, 4, 4, 4]
    np.testing.assert_array_equal(loaded.queries.xy, loaded.xy[np.arange(4), loaded.queries.t])


# -- files of the two former writers ------------------------------------------------------------------

POSITIONS = {("gap", 0): (20.25, 150), ("late start", 3): (279.125, 36.755), ("occluded", 9): (163.375, 82.67976)}


@pytest.mark.parametrize("name", sorted(p.name for p in OLDER.iterdir()))
def test_tables_of_former_versions_are_read(name: str) -> None:
    for tracks in (Tracks.load(OLDER / name), Tracks.read(OLDER / name)):
        assert tracks.ids.tolist() == ["gap", "late start", "occluded"] and tracks.frames == 12
        assert tracks.video.size == (180, 320) and tracks.video.fps == Fraction(24000, 1001)
        assert tracks.source.model == "example" and tracks.video.times is None
        assert tracks.valid.sum(1).tolist() == [9, 9, 12]
        for (point, frame), xy in POSITIONS.items():
            np.testing.assert_allclose(tracks[point].xy[0, frame], xy, atol=1e-4)
        np.testing.assert_allclose(tracks["occluded"].visible[0, 4:7], [0.9, 0.125, 0.125], atol=1e-6)
        assert tracks["gap"].confidence[0, 0] == (1 if "wide" in name else 0.75)
        marked = "exported" in name and "wide" not in name
        assert np.argwhere(tracks.keyframe).tolist() == ([[0, 0], [2, 9]] if marked else [])
    if name == "saved.parquet":  # the only one that kept all of it
        assert tracks.source.visible_rule == "visible*confidence" and tracks.source.options == {"direction": "both"}


# -- whose work it is ---------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [*ENDINGS, "-wide.csv"])
def test_what_a_model_said_does_not_become_human_work(tmp_path: Path, ending: str) -> None:
    format = "csv-wide" if "wide" in ending else None
    path = make().write(tmp_path / f"a{ending}", format)
    assert not Tracks.read(path).keyframe.any() and not Tracks.load(path).keyframe.any()
    assert Tracks.read(path, human="all").keyframe.any()


def test_a_table_without_marks_is_human_work_unless_it_has_a_confidence(tmp_path: Path) -> None:
    path, video = tmp_path / "a.csv", VideoInfo(96, 90, frames=3)
    path.write_text("id,frame,x,y\na,0,1,2\na,1,2,3\n")
    assert Tracks.read(path, video=video).keyframe.sum() == 2
    path.write_text("id,frame,x,y,confidence\na,0,1,2,0.5\na,1,2,3,0.5\n")
    assert not Tracks.read(path, video=video).keyframe.any()


@pytest.mark.parametrize("ending", [".npz", ".zarr", *ENDINGS])
def test_imported_keyframes_survive_every_file(tmp_path: Path, ending: str) -> None:
    original = make()
    path = original.write(tmp_path / "sent.csv")
    path.write_text(path.read_text().replace("plain,4,", "plain,4,0,0,0,1,1,0,0\n#", 1))
    corrected = Tracks.read(path, original=original)
    assert np.argwhere(corrected.keyframe).tolist() == [[0, 4]]
    for number in range(2):  # there and back twice
        corrected = Tracks.load(corrected.save(tmp_path / f"{number}{ending}"))
        assert np.argwhere(corrected.keyframe).tolist() == [[0, 4]]
    assert np.argwhere(corrected[["plain"]].time(2, 7).keyframe).tolist() == [[0, 2]]


# -- other programs -----------------------------------------------------------------------------------


def test_pandas_reads_it_and_what_pandas_writes_is_read(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    tracks = make(human=True)
    table = pandas.read_csv(tracks.save(tmp_path / "a.csv"), comment="#")
    assert table["id"].drop_duplicates().tolist() == tracks.ids.tolist()
    assert len(table) == tracks.valid.sum() and table["keyframe"].sum() == tracks.keyframe.sum()
    table["keyframe"] = table["keyframe"] > 0  # True and False as words
    table.sample(frac=1, random_state=0).to_csv(tmp_path / "b.csv", index=False)
    back = Tracks.read(tmp_path / "b.csv", video=tracks.video)[tracks.ids]
    assert (back.keyframe == tracks.keyframe).all() and back.queries.t.tolist() == tracks.queries.t.tolist()
    np.testing.assert_allclose(back.xy, tracks.xy, atol=1e-5)


def test_pandas_writes_parquet_that_is_read(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    tracks = make(human=True)
    table = pandas.read_parquet(tracks.save(tmp_path / "a.parquet"))
    table["id"] = table["id"].astype(str)
    table.to_parquet(tmp_path / "b.parquet")
    back = Tracks.read(tmp_path / "b.parquet", video=tracks.video)
    assert back.ids.tolist() == tracks.ids.tolist() and (back.keyframe == tracks.keyframe).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no line of column names"),
        ("# only a comment\n", "no line of column names"),
        ("a,b\n1,2\n", "its columns are neither"),
        ("frame,x,y\n0,1,2\n", "does not say how large the picture is"),
        ("{head}id,frame,x,y\na,0,1\n", "row 1 has 3 cells instead of 4"),
        ("{head}id,frame,x,y\na,zero,1,2\n", "could not convert string to float"),
        ("{head}id,frame,x,y\na,0.5,1,2\n", "0.5 is not the number of a frame"),
        ("{head}id,frame,x,y\na,-1,1,2\n", "it has frame -1, but its first frame is 0"),
        ("{head}id,frame,x,y,visible\na,0,1,2,1.5\n", "probabilities in 0..1"),
        ('{head}id,frame,x,y\n"a,0,1,2\n', "cells"),
        ('# {{"format": 9, "video": {{}}}}\nframe,x,y\n0,1,2\n', "newer tapkit"),
        ('# {{"video": {{"width": 5}}}}\nframe,x,y\n0,1,2\n', "incomplete"),
    ],
)
def test_odd_tables_are_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text.format(head='# {"width": 96, "height": 90, "fps": [25, 1], "first": 0}\n'))
    with pytest.raises(StorageError, match=message) as error:
        Tracks.load(path)
    assert "\n" not in str(error.value) and "a.csv" in str(error.value)


def test_bytes_that_are_no_table_are_one_sentence(tmp_path: Path) -> None:
    for name, content in {"a.csv": b"\xff\xfe\x00", "a.parquet": b"PAR1 and more"}.items():
        if name.endswith("parquet"):
            pytest.importorskip("pyarrow")
        (tmp_path / name).write_bytes(content)
        with pytest.raises(StorageError, match=name) as error:
            Tracks.load(tmp_path / name)
        assert "\n" not in str(error.value)


def test_line_ends_and_byte_order_marks_of_other_systems(tmp_path: Path) -> None:
    tracks = make()[[0, 1]]
    path = tracks.save(tmp_path / "a.csv")
    for text in ("\ufeff" + path.read_text(), path.read_text() + "\n\n,,,,,,,,,\n"):
        (tmp_path / "b.csv").write_text(text, newline="\r\n", encoding="utf-8")
        equal(Tracks.load(tmp_path / "b.csv"), tracks, exact=False)


# -- size ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ENDINGS)
def test_results_larger_than_memory_are_written_in_blocks(tmp_path: Path, ending: str) -> None:
    """The writer never holds more than one block: points are asked for a few at a time and in order."""
    frames, count = 20_000, 200
    asked: list[tuple[int, int]] = []

    def read(start: int, stop: int) -> dict[str, np.ndarray]:
        asked.append((start, stop))
        n = stop - start
        valid = np.zeros((n, frames), bool)
        valid[:, :3] = True
        ones = np.ones((n, frames), np.float32)
        xy = np.repeat(np.arange(start, stop, dtype=np.float32), frames * 2).reshape(n, frames, 2)
        return {"xy": xy, "visible": ones, "confidence": ones, "valid": valid, "keyframe": valid & False}

    queries = Queries(np.zeros(count, int), np.zeros((count, 2)), np.arange(count))
    path = write(Stored(queries, VideoInfo(300, 300, frames=frames), SOURCE, frames, read), tmp_path / f"a{ending}")
    assert len(asked) > 5 and [a for a, _ in asked[1:]] == [b for _, b in asked[:-1]] and asked[-1][1] == count
    loaded = Tracks.load(path)
    assert loaded.ids.tolist() == [str(i) for i in range(count)]
    assert loaded.xy[:, 2, 0].tolist() == list(range(count))


def test_times_of_frames_without_rows_are_interpolated(tmp_path: Path) -> None:
    tracks = make(times=np.array([0.0, 0.1, 0.3, 0.4, 0.5, 0.6, 0.7]))
    valid = np.zeros_like(tracks.valid)
    valid[:, [1, 3, 4]] = tracks.valid[:, [1, 3, 4]]
    path = tracks.with_(valid=valid).save(tmp_path / "a.csv")
    expected = [0.1 - 1001 / 30000, 0.1, 0.25, 0.4, 0.5, 0.5 + 1001 / 30000, 0.5 + 2002 / 30000]
    np.testing.assert_allclose(Tracks.load(path).times(), expected, atol=1e-6)


def test_the_facts_are_json_that_programs_can_read(tmp_path: Path) -> None:
    path = make().save(tmp_path / "a.csv")
    facts = json.loads(path.read_text().split("\n")[1].removeprefix("# "))
    assert facts["source"]["visible_threshold"] == 0.45 and facts["video"]["fps"] == [30000, 1001]
    assert stored(make()).frames == facts["video"]["frames"]


def test_the_rows_can_be_read_by_anything_that_reads_csv(tmp_path: Path) -> None:
    import csv

    tracks = make(human=True)
    lines = tracks.save(tmp_path / "a.csv").read_text().splitlines(keepends=True)
    rows = list(csv.DictReader(io.StringIO("".join(line for line in lines if not line.startswith("#")))))
    assert len(rows) == tracks.valid.sum() and {row["id"] for row in rows} == set(tracks.ids.tolist())
    assert sum(int(row["query"]) for row in rows) == len(tracks)


def test_a_table_without_facts_has_no_video() -> None:
    table = Table(["a"], np.zeros(1, int), np.zeros(1, int), np.zeros((1, 2)))
    assert table.video() is None


@pytest.mark.parametrize("ending", ENDINGS)
def test_two_positions_of_a_point_on_a_frame_are_refused(ending: str, tmp_path: Path) -> None:
    if ending == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
    path = make().save(tmp_path / f"a{ending}")
    if ending == ".csv":
        lines = path.read_text().split("\n")
        path.write_text("\n".join([*lines[:4], re.sub(r"^(plain,\d+,[^,]*,)[^,]*", r"\g<1>77", lines[3]), *lines[4:]]))
    else:
        table = parquet.read_table(path)
        moved = table.slice(0, 1).set_column(3, "x", [[77.0]])
        whole = __import__("pyarrow").concat_tables([table, moved.cast(table.schema)])
        parquet.write_table(whole, path)
    with pytest.raises(StorageError, match=rf"a{ending}: there are two positions for the point 'plain' on frame"):
        Tracks.load(path)

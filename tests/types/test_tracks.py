"""Tracks: validation, parts, thresholds, files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tapkit.errors import ShapeError, StorageError, UsageError
from tapkit.types import Provenance, Queries, Tracks, VideoInfo


def make(count: int = 3, frames: int = 5, **changes) -> Tracks:
    rng = np.random.default_rng(0)
    values = {
        "xy": rng.uniform(0, 90, (count, frames, 2)),
        "visible": rng.uniform(size=(count, frames)),
        "confidence": rng.uniform(size=(count, frames)),
        "valid": rng.uniform(size=(count, frames)) > 0.2,
        "queries": Queries.at(1, rng.uniform(0, 90, (count, 2)), [f"p{i}" for i in range(count)]),
        "video": VideoInfo(96, 90, Fraction(30000, 1001), frames, times=np.arange(frames) * 0.0334),
        "source": Provenance("m", "abc", "1", {"grid": 3}, "visible*confidence", 0.3),
    }
    return Tracks(**{**values, **changes})


def equal(ours: Tracks, theirs: Tracks) -> None:
    for name in ("xy", "visible", "confidence", "valid", "keyframe"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    assert ours.ids.tolist() == theirs.ids.tolist() and ours.source == theirs.source
    np.testing.assert_array_equal(ours.queries.array(), theirs.queries.array())
    assert ours.video.to_dict() == theirs.video.to_dict()
    np.testing.assert_array_equal(ours.video.times, theirs.video.times)


def test_what_was_not_asked_has_no_position() -> None:
    tracks = make()
    assert np.isnan(tracks.xy[~tracks.valid]).all() and (tracks.visible[~tracks.valid] == 0).all()
    assert not tracks.visible_at(0.0)[~tracks.valid].any()


def test_the_authors_rule_and_threshold_decide_unless_told_otherwise() -> None:
    tracks = make(valid=np.ones((3, 5), bool))
    np.testing.assert_array_equal(tracks.visible_at(), tracks.visible * tracks.confidence > 0.3)
    np.testing.assert_array_equal(tracks.visible_at(0.5), tracks.visible * tracks.confidence > 0.5)
    for wrong in (float("nan"), "0.5", [0.5], True):
        with pytest.raises(UsageError, match="threshold must be a number"):
            tracks.visible_at(wrong)  # type: ignore[arg-type]
    assert tracks.visible_at(np.float32(0.5)).dtype == bool


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"xy": np.zeros((5, 3, 2))}, ShapeError, "queries"),
        ({"xy": np.zeros((3, 5))}, ShapeError, r"\[N,T,2\]"),
        ({"visible": np.zeros((3, 4))}, ShapeError, "visible must be"),
        ({"visible": np.full((3, 5), 4.0)}, UsageError, "sigmoid"),
        ({"xy": np.full((3, 5, 2), np.nan)}, UsageError, "finite"),
        ({"video": VideoInfo(10, 10, frames=7)}, ShapeError, "7"),
    ],
)
def test_what_does_not_fit_is_refused(changes, error, message) -> None:
    with pytest.raises(error, match=message):
        make(**changes)


def test_points_are_taken_by_id_index_slice_and_mask() -> None:
    tracks = make()
    for key in ("p2", ["p2"], 2, [2], slice(2, 3), np.array([False, False, True])):
        assert tracks[key].ids.tolist() == ["p2"]
        np.testing.assert_array_equal(tracks[key].xy, tracks.xy[2:3])
    assert len(tracks[[]]) == 0
    with pytest.raises(UsageError, match="no point is called 'q'"):
        tracks["q"]


def test_a_span_of_time_is_a_clip_of_its_own() -> None:
    tracks = make(valid=np.array([[1, 1, 1, 1, 1], [0, 0, 0, 1, 1], [1, 1, 0, 0, 0]], bool))
    part = tracks.time(2, 5)
    assert part.ids.tolist() == ["p0", "p1"] and part.frames == 3 and part.video.start_frame == 2
    assert part.queries.t.tolist() == [0, 1]
    np.testing.assert_array_equal(part.queries.xy, [tracks.xy[0, 2], tracks.xy[1, 3]])
    np.testing.assert_allclose(part.video.times, tracks.video.times[2:5])
    with pytest.raises(UsageError):
        tracks.time(3, 9)


@pytest.mark.parametrize("suffix", [".npz", ".zarr"])
def test_files_give_back_what_was_saved(tmp_path: Path, suffix: str) -> None:
    for name, tracks in {
        "some": make(),
        "none": make(count=0),
        "human": make(keyframe=np.eye(3, 5, dtype=bool)),
    }.items():
        path = tracks.save(tmp_path / f"{name}{suffix}")
        equal(Tracks.load(path), tracks)
        tracks.save(path)  # over an existing one
        equal(Tracks.load(path), tracks)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "evil.npz"
    np.savez(path, xy=np.array([object()], dtype=object), meta=np.array("{}"))
    with pytest.raises(StorageError, match="damaged"):
        Tracks.load(path)


def test_a_damaged_file_is_said_to_be_damaged(tmp_path: Path) -> None:
    path = make().save(tmp_path / "a.npz")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(StorageError, match="damaged"):
        Tracks.load(path)
    with pytest.raises(StorageError, match="does not exist"):
        Tracks.load(tmp_path / "b.npz")
    with pytest.raises(UsageError, match="stored as"):
        make().save(tmp_path / "a.txt")


def test_tables_hold_one_row_for_each_answer(tmp_path: Path) -> None:
    import csv

    tracks = make()
    tracks.save(tmp_path / "t.csv")
    with open(tmp_path / "t.csv") as file:
        assert "30000/1001" in file.readline()
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    assert len(rows) == tracks.valid.sum()
    for row in rows:
        n, t = tracks.ids.tolist().index(row["id"]), int(row["frame"])
        np.testing.assert_allclose([float(row["x"]), float(row["y"])], tracks.xy[n, t], atol=1e-4)
        assert float(row["time"]) == pytest.approx(tracks.video.times[t], abs=1e-6)
    parquet = pytest.importorskip("pyarrow.parquet")
    tracks.save(tmp_path / "t.parquet")
    table = parquet.read_table(tmp_path / "t.parquet").to_pydict()
    assert table["id"] == [r["id"] for r in rows] and len(table["x"]) == len(rows)


def test_results_of_several_calls_are_joined() -> None:
    tracks = make()
    equal(Tracks.join([tracks[:1], tracks[1:]]), tracks)
    with pytest.raises(ShapeError):
        Tracks.join([tracks, make(frames=4)])


def test_an_existing_file_survives_a_failed_save(tmp_path: Path) -> None:
    path = make().save(tmp_path / "a.npz")
    before = path.read_bytes()
    broken = make()
    object.__setattr__(broken, "visible", None)
    with pytest.raises(TypeError):
        broken.save(path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_rates_may_be_plain_numbers() -> None:
    from fractions import Fraction

    assert VideoInfo(4, 4, 25).fps == Fraction(25)  # type: ignore[arg-type]
    assert VideoInfo(4, 4, 29.97).fps == Fraction(2997, 100)  # type: ignore[arg-type]
    assert VideoInfo(4, 4, "24000/1001", pixel_aspect=2).fps == Fraction(24000, 1001)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="fps must be a number"):
        VideoInfo(4, 4, float("nan"))  # type: ignore[arg-type]


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(7, 3)])
def test_times_of_all_frames_at_once_are_those_of_each(fps: Fraction) -> None:
    odd = VideoInfo(4, 4, fps, times=np.array([0.0, 0.01, 0.4]))
    for info, frames in ((VideoInfo(4, 4, fps), 20_000), (odd, 2), (odd, 5)):
        assert info.times_of(frames).tolist() == [info.time_of(t) for t in range(frames)]

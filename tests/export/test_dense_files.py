"""Dense results: one reader for all of them, STMaps and motion vectors, and what is damaged or something else."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import tapkit
from tapkit.errors import StorageError, UsageError
from tapkit.export import dense_files, exr, flow_files
from tapkit.types import Dense, Queries, Tracks, VideoInfo

HEIGHT, WIDTH, STEP, FRAMES = 12, 20, 4, 5
ROWS, COLUMNS = HEIGHT // STEP, WIDTH // STEP


@pytest.fixture
def tracks() -> Tracks:
    """Every fourth pixel of frame 1, carried by (2, -1) a frame; not asked before frame 1, hidden on frame 3."""
    x, y = np.meshgrid((np.arange(COLUMNS) + 0.5) * STEP, (np.arange(ROWS) + 0.5) * STEP)
    queries = Queries.at(1, np.stack([x.ravel(), y.ravel()], 1))
    moved = np.outer(np.arange(FRAMES) - 1, (2.0, -1.0))
    xy = queries.xy[:, None] + moved
    visible = np.full(xy.shape[:2], 0.9)
    visible[:, 3] = 0.1
    valid = np.ones(xy.shape[:2], bool)
    valid[:, 0] = False
    return Tracks(xy, visible, visible / 2, valid, queries, VideoInfo(WIDTH, HEIGHT, Fraction(24), FRAMES))


@pytest.fixture
def stored(tracks: Tracks, tmp_path: Path) -> Path:
    zarr = pytest.importorskip("zarr")
    path = tmp_path / "clip.dense.zarr"
    tracks.save(path)
    layout = {"frame": 1, "step": STEP, "rows": ROWS, "columns": COLUMNS}
    zarr.open_group(str(path), mode="r+").attrs["dense"] = json.dumps(layout)
    return path


def flow_folder(path: Path, form: str, pairs: list[tuple[int, int]], **more: object) -> np.ndarray:
    """A folder as `tapkit flow` writes it: fields [P,H,W,2], the first vector of the first one unknown."""
    path.mkdir()
    note = {"model": "dis", "options": {}, "pairs": "next", "format": form, "size": [HEIGHT, WIDTH], **more}
    (path / "flow.json").write_text(json.dumps(note))
    xy = np.random.default_rng(0).integers(-300, 300, (len(pairs), HEIGHT, WIDTH, 2)).astype(np.float32) / 64
    for (first, second), field in zip(pairs, xy, strict=True):
        file = path / f"{first:06d}_{second:06d}"
        if form == "flo":
            flow_files.write_flo(file.with_suffix(".flo"), field)
        elif form == "kitti":
            flow_files.write_kitti(file.with_suffix(".png"), field)
        else:
            flow_files.write_motion_exr(file.with_suffix(".exr"), field, np.full((HEIGHT, WIDTH), 0.25))
    return xy


# -- reading -----------------------------------------------------------------------------------------------


def test_dense_tracks_are_read_as_pictures(stored: Path, tracks: Tracks) -> None:
    dense = tapkit.load_dense(stored)
    assert (dense.kind, dense.frame, dense.step, dense.size, dense.fps) == ("tracks", 1, STEP, (HEIGHT, WIDTH), 24)
    assert dense.xy.shape == (FRAMES, ROWS, COLUMNS, 2) and len(dense) == FRAMES
    np.testing.assert_array_equal(dense.start.reshape(-1, 2), tracks.queries.xy)
    np.testing.assert_array_equal(dense.xy[3].reshape(-1, 2), tracks.xy[:, 3])
    np.testing.assert_array_equal(dense.xy[1:4:2, 2, 3], tracks.xy[2 * COLUMNS + 3, 1:4:2])
    np.testing.assert_array_equal(dense.visible[-1].ravel(), tracks.visible[:, -1])
    np.testing.assert_array_equal(np.asarray(dense.confidence)[2].ravel(), tracks.confidence[:, 2])
    assert dense.valid[:, 0, 0].tolist() == [False, True, True, True, True] and np.isnan(dense.xy[0]).all()
    fields = list(dense.fields())
    assert [(field.first, field.second) for field in fields] == [(1, t) for t in range(FRAMES)]
    np.testing.assert_array_equal(fields[4].xy, dense.xy[4])


def test_only_what_is_looked_at_is_read(stored: Path) -> None:
    dense = tapkit.load_dense(stored)
    asked: list[tuple[str, int, int]] = []
    read = dense.read
    spied = Dense(
        dense.kind, dense.first, dense.second, dense.step, dense.rows, dense.columns, dense.video,
        lambda name, start, stop: asked.append((name, start, stop)) or read(name, start, stop),  # type: ignore[func-returns-value]
    )  # fmt: skip
    assert spied.xy.shape == (FRAMES, ROWS, COLUMNS, 2) and asked == []
    spied.xy[2], spied.visible[1:3]
    assert asked == [("xy", 2, 3), ("visible", 1, 3)]
    with pytest.raises(IndexError, match=r"0\.\.4"):
        spied.xy[5]
    assert spied.xy[5:].shape == (0, ROWS, COLUMNS, 2)


@pytest.mark.parametrize("form", ["flo", "kitti", "exr"])
def test_flow_is_read_the_same_way(tmp_path: Path, form: str) -> None:
    if form == "exr":
        pytest.importorskip("OpenEXR")
    xy = flow_folder(tmp_path / "clip.flow", form, [(0, 1), (1, 2), (2, 3)])
    dense = tapkit.load_dense(tmp_path / "clip.flow")
    assert (dense.kind, dense.step, len(dense), dense.source.model) == ("flow", 1, 3, "dis")
    assert dense.first.tolist() == [0, 1, 2] and dense.second.tolist() == [1, 2, 3] and not dense.one_frame
    np.testing.assert_allclose(dense.xy[:] - dense.start, xy, atol=1e-5)
    assert np.allclose(dense.visible[0], 0.75 if form == "exr" else 1) and dense.valid[:].all()
    with pytest.raises(UsageError, match="begin on different frames"):
        _ = dense.frame


def test_unknown_vectors_are_not_valid(tmp_path: Path) -> None:
    flow_folder(tmp_path / "clip.flow", "flo", [(0, 1), (0, 2)])
    xy = flow_files.read_flo(tmp_path / "clip.flow" / "000000_000002.flo")
    xy[3, 4] = np.nan
    flow_files.write_flo(tmp_path / "clip.flow" / "000000_000002.flo", xy)
    dense = tapkit.load_dense(tmp_path / "clip.flow")
    assert dense.frame == 0 and dense.valid[0].all() and (~dense.valid[1]).nonzero()[0].tolist() == [3]
    assert dense.visible[1][3, 4] == 0 and np.isnan(dense.xy[1][3, 4]).all()


def test_what_the_flow_command_writes_knows_its_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cv2")
    from tapkit.cli.main import main
    from tapkit.video.samples import sample

    monkeypatch.setattr(
        "sys.argv", ["tapkit", "flow", str(sample()), "-o", str(tmp_path / "f"), "--quiet", "--pairs", "step:40"]
    )
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    dense = tapkit.load_dense(tmp_path / "f")
    with tapkit.open_video(sample()) as source:
        assert (dense.size, dense.fps, dense.video.frames) == (source.info.size, source.info.fps, source.info.frames)
    assert (dense.second - dense.first == 40).all()


# -- STMaps and motion vectors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["stmap", "motion"])
def test_dense_exr_files_are_those_of_the_same_tracks(stored: Path, tracks: Tracks, tmp_path: Path, form: str) -> None:
    openexr = pytest.importorskip("OpenEXR")
    files = exr.write_dense(tapkit.load_dense(stored), tmp_path / "dense.exr", form)
    getattr(tracks, f"to_{form}")(tmp_path / "tracks.exr")
    assert [file.name for file in files] == [f"dense.{number:04d}.exr" for number in range(1, FRAMES + 1)]
    for number in range(1, FRAMES + 1):
        ours, theirs = (
            openexr.File(str(tmp_path / f"{name}.{number:04d}.exr"), separate_channels=True).channels()
            for name in ("dense", "tracks")
        )
        assert ours.keys() == theirs.keys()
        for name, channel in theirs.items():
            if name == "A":  # tracks call a position known that is held where nobody asked
                assert (ours[name].pixels == (number > 1)).all()
            else:
                np.testing.assert_allclose(ours[name].pixels, channel.pixels, atol=1e-6)


def test_stmaps_pull_a_frame_back_as_nuke_does(tmp_path: Path) -> None:
    """Nuke's STMap: output(x, y) = input(R * width, G * height), pixels counted from the bottom left."""
    openexr = pytest.importorskip("OpenEXR")
    flow_folder(tmp_path / "f", "flo", [(0, 1)])
    xy = np.tile(np.float32([3, 2]), (HEIGHT, WIDTH, 1))
    flow_files.write_flo(tmp_path / "f" / "000000_000001.flo", xy)
    (file,) = exr.write_dense(tapkit.load_dense(tmp_path / "f"), tmp_path / "st.exr", "stmap", start_frame=1001)
    assert file.name == "st.1002.exr"
    planes = openexr.File(str(file), separate_channels=True).channels()
    second = np.random.default_rng(0).random((HEIGHT, WIDTH))
    row, column = 5, 7
    at_x = planes["R"].pixels[row, column] * WIDTH
    from_bottom = planes["G"].pixels[row, column] * HEIGHT
    assert second[int(HEIGHT - from_bottom), int(at_x)] == second[row + 2, column + 3]


def test_files_of_flow_are_numbered_by_what_tells_them_apart(tmp_path: Path) -> None:
    pytest.importorskip("OpenEXR")
    cases = {
        "next": ([(0, 1), (1, 2)], ["0001", "0002"]),
        "first": ([(0, 1), (0, 2)], ["0002", "0003"]),
        "all": ([(0, 1), (0, 2), (1, 2)], ["0001_0002", "0001_0003", "0002_0003"]),
    }
    for name, (pairs, numbers) in cases.items():
        flow_folder(tmp_path / name, "flo", pairs)
        files = exr.write_dense(tapkit.load_dense(tmp_path / name), tmp_path / f"{name}.exr", "motion")
        assert [file.name for file in files] == [f"{name}.{number}.exr" for number in numbers]
        assert all(file.is_file() for file in files)


def test_other_forms_and_sizes_are_refused(stored: Path, tmp_path: Path) -> None:
    pytest.importorskip("OpenEXR")
    dense = tapkit.load_dense(stored)
    with pytest.raises(UsageError, match="written as stmap or motion, not as 'nuke'"):
        exr.write_dense(dense, tmp_path / "a.nk", "nuke")
    with pytest.raises(UsageError, match="would take about"):
        exr.write_dense(dense, tmp_path / "a.exr", "stmap", largest=10)
    assert not list(tmp_path.glob("a*"))


# -- what is damaged or something else -------------------------------------------------------------------------


def test_other_things_are_told_from_dense_results(stored: Path, tracks: Tracks, tmp_path: Path) -> None:
    tracks.save(tmp_path / "points.zarr")
    tracks.save(tmp_path / "points.npz")
    (tmp_path / "empty").mkdir()
    assert dense_files.is_dense(stored) and not dense_files.is_dense(tmp_path / "points.zarr")
    for name, message in {
        "none.zarr": "does not exist",
        "points.zarr": "holds the tracks of single points",
        "points.npz": "not a result of dense tracking",
        "empty": "not a result of dense tracking",
    }.items():
        with pytest.raises(StorageError, match=message):
            tapkit.load_dense(tmp_path / name)


def test_damaged_tracks_are_told(stored: Path) -> None:
    zarr = pytest.importorskip("zarr")
    for chunk in (path for path in (stored / "xy").rglob("*") if path.is_file() and path.name != "zarr.json"):
        chunk.write_bytes(chunk.read_bytes()[: chunk.stat().st_size // 2])
    dense = tapkit.load_dense(stored)
    assert dense.visible[0].shape == (ROWS, COLUMNS)
    with pytest.raises(StorageError, match="damaged: xy cannot be read"):
        dense.xy[0]
    layout = {"frame": 1, "step": STEP, "rows": ROWS + 1, "columns": COLUMNS}
    zarr.open_group(str(stored), mode="r+").attrs["dense"] = json.dumps(layout)
    with pytest.raises(StorageError, match="15 points are no grid of 4 x 5"):
        tapkit.load_dense(stored)
    (stored / "zarr.json").write_text("{")
    with pytest.raises(StorageError, match="damaged"):
        tapkit.load_dense(stored)


def test_damaged_flow_is_told(tmp_path: Path) -> None:
    flow_folder(tmp_path / "f", "flo", [(0, 1), (1, 2)])
    file = tmp_path / "f" / "000001_000002.flo"
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    dense = tapkit.load_dense(tmp_path / "f")
    assert dense.xy[0].shape == (HEIGHT, WIDTH, 2)
    with pytest.raises(StorageError, match=r"000001_000002\.flo is damaged"):
        dense.xy[1]
    flow_files.write_flo(file, np.zeros((HEIGHT, WIDTH + 1, 2)))
    with pytest.raises(StorageError, match="it is 21x12, its folder's video 20x12"):
        dense.visible[1]
    (tmp_path / "f" / "flow.json").write_text('{"format": "flo"')
    with pytest.raises(StorageError, match=r"flow\.json is damaged"):
        tapkit.load_dense(tmp_path / "f")


def test_folders_without_flow_are_told(tmp_path: Path) -> None:
    flow_folder(tmp_path / "wheel", "colors", [])
    flow_folder(tmp_path / "none", "flo", [])
    with pytest.raises(StorageError, match="pictures of flow in colours"):
        tapkit.load_dense(tmp_path / "wheel")
    with pytest.raises(StorageError, match="holds no flow"):
        tapkit.load_dense(tmp_path / "none")


def test_other_exr_files_are_no_motion_vectors(tmp_path: Path) -> None:
    openexr = pytest.importorskip("OpenEXR")
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    openexr.File(header, {"R": np.zeros((4, 4), np.float32)}).write(str(tmp_path / "a.exr"))
    with pytest.raises(StorageError, match="no motion vectors"):
        flow_files.read_motion_exr(tmp_path / "a.exr")
    (tmp_path / "b.exr").write_bytes(b"nothing")
    with pytest.raises(StorageError, match="cannot be read as EXR"):
        flow_files.read_motion_exr(tmp_path / "b.exr")

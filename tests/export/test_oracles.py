"""Readers that others wrote find every position where it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from example_clip import three_tracks
from oracles import ORACLES, layers

from tapkit.errors import UsageError
from tapkit.export import ExportWarning
from tapkit.export.library import formats
from tapkit.types import Queries, Tracks, VideoInfo

OPTIONS = {"dlc": {"frames": "all"}}


@pytest.mark.filterwarnings("ignore::tapkit.export.ExportWarning")
@pytest.mark.parametrize("name", ORACLES)
def test_another_reader_finds_every_position_within_a_thousandth_of_a_pixel(name: str, tmp_path: Path) -> None:
    tracks = three_tracks(path=shot(tmp_path / "shot") + ("/000.png" if name == "blender" else ""))
    suffix = formats()[name].suffix
    path = tracks.write(tmp_path / ("out" + suffix.strip("/")), name, **OPTIONS.get(name, {}))
    found = ORACLES[name][1](path, tracks)
    hides = not formats()[name].occlusion or name == "sleap-analysis"
    expected = tracks.visible_at() if hides else tracks.valid
    assert np.array_equal(np.isfinite(found[..., 0]), expected)
    assert np.abs(found - tracks.xy)[expected].max() < 1e-3


def test_pandas_reads_labelled_data_as_deeplabcut_does(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("tables")
    tracks = three_tracks(path=shot(tmp_path / "shot"))
    folder = tracks.to_dlc(tmp_path / "labeled-data" / "vid1", scorer="anna", frames="all")
    frame = pandas.read_hdf(folder / "CollectedData_anna.h5")
    assert list(frame.columns.names) == ["scorer", "bodyparts", "coords"]
    assert frame.index[3] == ("labeled-data", "vid1", "img03.png")
    assert all((tmp_path / Path(*row)).is_file() for row in frame.index)
    again = pandas.read_csv(folder / "CollectedData_anna.csv", header=[0, 1, 2], index_col=[0, 1, 2])
    assert np.allclose(again.to_numpy(), frame.to_numpy(), equal_nan=True)
    labelled = tracks.to_dlc(tmp_path / "labeled-data" / "few", images=False)
    assert len(pandas.read_hdf(labelled / "CollectedData_tapkit.h5")) == 2, "the frames with human keyframes"


def test_pandas_reads_predictions_as_deeplabcut_does(tracks: Tracks, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("tables")
    path = tracks.to_dlc_predictions(tmp_path / "vid1DLC_tapkit.h5")
    frame = pandas.read_hdf(path)
    values = frame["tapkit"].to_numpy().reshape(12, 3, 3).transpose(1, 0, 2)
    assert np.allclose(values[..., 2][tracks.valid], (tracks.visible * tracks.confidence)[tracks.valid])
    assert path.with_suffix(".csv").read_text().startswith("scorer,tapkit,tapkit,tapkit,")


def test_sleap_io_reads_labels_predictions_and_analysis(tracks: Tracks, tmp_path: Path) -> None:
    sleap = pytest.importorskip("sleap_io")
    labels = sleap.load_slp(str(tracks.to_sleap(tmp_path / "a.slp")), open_videos=False)
    assert [node.name for node in labels.skeletons[0].nodes] == tracks.ids.tolist()
    assert [f.frame_idx for f in labels.labeled_frames if f.user_instances] == [0, 9]


def shot(folder: Path) -> str:
    """Twelve pictures."""
    from PIL import Image

    folder.mkdir()
    for number in range(12):
        Image.new("RGB", (320, 180), (number, 0, 0)).save(folder / f"{number:03d}.png")
    return str(folder)


def test_sleap_io_reads_deeplabcut_data(tmp_path: Path) -> None:
    sleap = pytest.importorskip("sleap_io")
    pytest.importorskip("tables")
    tracks = three_tracks(path=shot(tmp_path / "shot"))
    folder = tracks.to_dlc(tmp_path / "labeled-data" / "vid1", frames="all")
    labels = sleap.load_dlc(str(folder / "CollectedData_tapkit.csv"))
    names = [node.name for node in labels.skeletons[0].nodes]
    assert names == ["gap", "late_start", "occluded"]
    first = labels.labeled_frames[0].instances[0].numpy()
    assert np.allclose(first[0] + 0.5, tracks.xy[0, 0], atol=1e-3)


def test_pycolmap_reads_the_model_with_its_poses_and_points(tracks: Tracks, tmp_path: Path) -> None:
    colmap = pytest.importorskip("pycolmap")
    angle = np.linspace(0, 3.1, 12)  # up to nearly half a turn, where careless quaternions break
    poses = np.zeros((12, 3, 4))
    poses[:, 0, 0] = poses[:, 2, 2] = np.cos(angle)
    poses[:, 0, 2], poses[:, 2, 0], poses[:, 1, 1] = np.sin(angle), -np.sin(angle), 1
    poses[:, 2, 3] = 4
    points = np.array([[0, 0, 1], [np.nan] * 3, [1, 2, 3.0]])
    model = colmap.Reconstruction(tracks.to_colmap(tmp_path / "model", poses=poses, points=points, focal=300.0))
    assert model.num_images() == 12 and model.num_points3D() == 2
    assert model.cameras[1].params.tolist() == [300, 300, 160, 90]
    xy = np.full_like(tracks.xy, np.nan)
    for point_id, point in model.points3D.items():
        for element in point.track.elements:
            image = model.images[element.image_id]
            xy[point_id - 1, element.image_id - 1] = image.points2D[element.point2D_idx].xy
    shown = tracks.visible_at()[[0, 2]]
    assert np.abs(xy - tracks.xy)[[0, 2]][shown].max() < 1e-3
    for t in range(12):
        assert np.allclose(model.images[t + 1].cam_from_world().matrix(), poses[t], atol=1e-9)


@pytest.mark.parametrize("version", ["", "3"])
def test_pycolmap_reads_the_database_and_its_matches_are_the_tracks(
    version: str, tracks: Tracks, tmp_path: Path
) -> None:
    colmap = pytest.importorskip("pycolmap")
    database = colmap.Database.open(str(tracks.to_colmap_database(tmp_path / "database.db", version=version)))
    images = sorted(database.read_all_images(), key=lambda image: image.name)
    keypoints = [database.read_keypoints(image.image_id)[:, :2] for image in images]
    shown = tracks.visible_at()
    matches = database.read_matches(images[3].image_id, images[7].image_id)
    pairs = np.stack([keypoints[3][matches[:, 0]], keypoints[7][matches[:, 1]]], 1)
    both = shown[:, 3] & shown[:, 7]
    assert np.allclose(pairs, tracks.xy[both][:, [3, 7]], atol=1e-3)
    geometry = database.read_two_view_geometry(images[3].image_id, images[7].image_id)
    assert np.array_equal(geometry.inlier_matches, matches)
    database.close()


def test_rerun_recordings_hold_the_video_file(tmp_path: Path) -> None:
    pytest.importorskip("rerun")
    from rerun.chunk import RrdReader

    video = small_video(tmp_path / "shot.mp4", "libx264")
    tracks = three_tracks(path=str(video))
    path = tracks.to_rerun(tmp_path / "a.rrd")
    assert path.stat().st_size < 200_000 + video.stat().st_size
    entities = {str(chunk.entity_path) for chunk in RrdReader(str(path)).stream().to_chunks()}
    assert {"/video", "/video/points"} <= entities


def test_a_video_that_rerun_cannot_play_is_left_out_with_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("rerun")
    tracks = three_tracks(path=str(small_video(tmp_path / "shot.mp4", "mpeg4")))
    with pytest.warns(ExportWarning, match="cannot show"):
        assert tracks.to_rerun(tmp_path / "a.rrd").stat().st_size > 1000


def small_video(path: Path, codec: str) -> Path:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=24)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for number in range(12):
            picture = np.full((180, 320, 3), number * 20, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    return path


def test_openexr_reads_stmaps_and_motion_vectors(tmp_path: Path) -> None:
    exr = pytest.importorskip("OpenEXR")
    queries = Queries.grid((36, 64), (9, 16))
    # a scene that turns and grows: linear in the position, so that bilinear interpolation is exact between the points
    turn = np.stack([np.eye(2) + t * np.array([[0.01, -0.02], [0.02, 0.01]]) for t in range(3)])
    xy = np.einsum("tij,nj->nti", turn, queries.xy - 20) + 20
    every = np.ones(xy.shape[:2])
    tracks = Tracks(xy, every, every, every > 0, queries, VideoInfo(64, 36))
    tracks.to_stmap(tmp_path / "st.exr", start_frame=1001)
    tracks.to_motion(tmp_path / "mv.exr")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "mv.0001.exr", "mv.0002.exr", "mv.0003.exr", "st.1001.exr", "st.1002.exr", "st.1003.exr",
    ]  # fmt: skip
    pixels = np.stack(np.meshgrid(np.arange(64) + 0.5, np.arange(36) + 0.5), -1)
    inner = (slice(2, 34), slice(2, 62))  # within the outermost points
    for t in range(3):
        expected = (pixels - 20) @ turn[t].T + 20
        planes = exr.File(str(tmp_path / f"st.{1001 + t}.exr")).channels()["RGBA"].pixels
        found = np.stack([planes[..., 0] * 64, (1 - planes[..., 1]) * 36], -1)
        assert np.abs(found - expected)[inner].max() < 1e-3
        assert (planes[..., 3] == 1).all()
        moved = exr.File(str(tmp_path / f"mv.000{t + 1}.exr")).channels()
        step = np.stack([moved["forward.u"].pixels, -moved["forward.v"].pixels], -1)
        assert np.abs(step - (expected - pixels))[inner].max() < 1e-3


def test_nulls_are_invisible_where_the_point_is_not_known(tracks: Tracks, tmp_path: Path) -> None:
    made = layers(tracks.to_ae_script(tmp_path / "a.jsx"))
    assert [layer["name"] for layer in made] == tracks.ids.tolist()
    fps = 24000 / 1001
    gap = made[0]
    assert gap["Position"]["holds"] == [4], "the last key before the gap"
    opacity = dict(
        zip(
            np.rint(np.array(gap["Opacity"]["times"]) * fps).astype(int).tolist(), gap["Opacity"]["values"], strict=True
        )
    )
    assert opacity == {0: 100, 4: 0, 7: 100}
    assert gap["Opacity"]["holds"] == [1, 2, 3]


def test_databases_say_which_colmap_reads_them(tracks: Tracks, tmp_path: Path) -> None:
    """Those of version 3 need no pycolmap and have the tables that COLMAP's documentation describes."""
    import sqlite3

    path = tracks.to_colmap_database(tmp_path / "a.db", version="3")
    with sqlite3.connect(path) as database:
        names = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        rows, cols, data = database.execute("SELECT rows, cols, data FROM keypoints WHERE image_id = 1").fetchone()
        pair = database.execute("SELECT rows, data FROM matches WHERE pair_id = ?", (2147483647 + 2,)).fetchone()
    tables = {"cameras", "images", "keypoints", "descriptors", "matches", "two_view_geometries"}
    assert names - {"sqlite_sequence"} == tables
    assert np.frombuffer(data, "<f4").reshape(rows, cols) == pytest.approx(tracks.xy[[0, 2], 0])
    assert np.frombuffer(pair[1], "<u4").reshape(pair[0], 2).tolist() == [[0, 0], [1, 1]]
    pytest.importorskip("pycolmap")
    with pytest.warns(ExportWarning, match="which versions before 4 do not read: version=3 writes one that all read"):
        tracks.to_colmap_database(tmp_path / "b.db")
    with pytest.raises(UsageError, match="version must be 3"):
        formats()["colmap-database"].options["version"].kind("2")

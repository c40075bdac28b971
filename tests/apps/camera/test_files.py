"""Files of cameras, read by the programs they are for, or by projecting the points anew as these do."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tapkit.apps.camera import Trajectory, read_tum, write_cameras
from tapkit.apps.camera.files import truth_for, zxy_angles
from tapkit.apps.camera.rigid import rotation
from tapkit.errors import StorageError, UsageError
from tapkit.types import Tracks

BLENDER = Path(__file__).parents[3] / ".venv-blender/bin/python"
Exact = tuple[Trajectory, Tracks]


def seen_by(camera_to_world: np.ndarray, points: np.ndarray, focal: float, centre: tuple[float, float]) -> np.ndarray:
    """Pixels, y down, of points that a camera looking along -z with y up sees [N,2]."""
    here = (points - camera_to_world[:3, 3]) @ camera_to_world[:3, :3]
    return np.stack([centre[0] - focal * here[:, 0] / here[:, 2], centre[1] + focal * here[:, 1] / here[:, 2]], 1)


def test_all_comes_back_from_the_own_file(exact: Exact, tmp_path: Path) -> None:
    cameras, _ = exact
    back = Trajectory.load(write_cameras(tmp_path / "a.npz", cameras))
    for name in ("world_to_camera", "points", "point_valid", "intrinsics", "inlier", "placed"):
        assert np.array_equal(getattr(back, name), getattr(cameras, name), equal_nan=True)
    assert back.report == cameras.report and back.video.to_dict() == cameras.video.to_dict()
    assert Trajectory.found_in(tmp_path / "a.npz") and not Trajectory.found_in(tmp_path / "b.npz")


def test_other_files_are_not_cameras(exact: Exact, tmp_path: Path) -> None:
    exact[1].save(tmp_path / "tracks.npz")
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("tracks.npz", "text.npz"):
        assert not Trajectory.found_in(tmp_path / name)
        with pytest.raises(StorageError, match="a file of cameras"):
            Trajectory.load(tmp_path / name)


def test_evo_reads_tum(exact: Exact, tmp_path: Path) -> None:
    files = pytest.importorskip("evo.tools.file_interface")
    cameras, _ = exact
    found = files.read_tum_trajectory_file(write_cameras(tmp_path / "a.tum", cameras))
    assert np.allclose(found.timestamps, np.arange(8)[cameras.placed] / 30, atol=1e-6)
    assert np.allclose(np.stack(found.poses_se3), cameras.camera_to_world[cameras.placed], atol=1e-6)
    times, poses = read_tum(tmp_path / "a.tum")
    assert np.allclose(times, found.timestamps) and np.allclose(poses, np.stack(found.poses_se3), atol=1e-7)


def test_true_poses_go_to_the_frames_of_their_times(exact: Exact, tmp_path: Path) -> None:
    cameras, _ = exact
    write_cameras(tmp_path / "a.tum", cameras)
    found = truth_for(cameras, tmp_path / "a.tum")
    assert np.isfinite(found).all((1, 2)).tolist() == cameras.placed.tolist()
    lines = [f"{1000 + t} 0 0 {t} 0 0 0 1" for t in range(8)]
    (tmp_path / "late.txt").write_text("# other times, as many poses\n" + "\n".join(lines))
    assert truth_for(cameras, tmp_path / "late.txt")[:, 2, 3].tolist() == list(range(8))
    (tmp_path / "late.txt").write_text("\n".join(lines[:5]))
    with pytest.raises(UsageError, match="are not those of the video"):
        truth_for(cameras, tmp_path / "late.txt")


@pytest.mark.parametrize("line", ["1 2 3", "1 0 0 0 0 0 0 x", "1 0 0 0 0 0 0 0", "1 nan 0 0 0 0 0 1"])
def test_a_damaged_tum_file_is_named_with_its_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.tum").write_text(f"# time tx ty tz\n0 0 0 0 0 0 0 1\n{line}\n")
    with pytest.raises(StorageError, match="line 3"):
        read_tum(tmp_path / "a.tum")
    (tmp_path / "a.tum").write_text("# nothing\n")
    with pytest.raises(StorageError, match="no poses"):
        read_tum(tmp_path / "a.tum")


def test_pycolmap_projects_the_points_onto_their_observations(exact: Exact, tmp_path: Path) -> None:
    colmap = pytest.importorskip("pycolmap")
    cameras, tracks = exact
    model = colmap.Reconstruction(write_cameras(tmp_path / "sparse", cameras, tracks=tracks))
    assert model.num_images() == 7 and 6 not in model.images, "the sixth frame was not placed"
    assert model.num_points3D() == int(cameras.point_valid.sum())
    assert model.cameras[1].params.tolist() == [300, 300, 170, 85]
    assert model.compute_mean_reprojection_error() < 1e-3
    assert model.compute_num_observations() == int(cameras.inlier[:, cameras.placed].sum())
    with pytest.raises(UsageError, match="give the tracks"):
        write_cameras(tmp_path / "other", cameras)
    with pytest.raises(UsageError, match="not what they rest on"):
        write_cameras(tmp_path / "other", cameras, tracks=tracks[:5])


def test_every_camera_of_colmap_has_its_own_lens_where_they_differ(exact: Exact, tmp_path: Path) -> None:
    colmap = pytest.importorskip("pycolmap")
    from dataclasses import replace

    cameras, tracks = exact
    zoomed = replace(cameras, intrinsics=cameras.intrinsics * np.linspace(1, 1.5, 8)[:, None] ** [1, 1, 0, 0])
    model = colmap.Reconstruction(write_cameras(tmp_path / "sparse", zoomed, tracks=tracks))
    lens = [model.cameras[model.images[t + 1].camera_id].params[0] for t in (0, 3, 7)]
    assert lens == pytest.approx(zoomed.intrinsics[[0, 3, 7], 0].tolist())


def test_nerf_sees_the_points_where_the_tracks_are(exact: Exact, tmp_path: Path) -> None:
    cameras, tracks = exact
    content = json.loads(write_cameras(tmp_path / "transforms.json", cameras).read_text())
    assert [f["file_path"] for f in content["frames"]] == [f"images/{t:06d}.png" for t in range(8) if t != 5]
    assert content["w"] == 320 and content["camera_angle_x"] == pytest.approx(2 * np.arctan(160 / 300))
    for frame, t in zip(content["frames"], np.flatnonzero(cameras.placed), strict=True):
        xy = seen_by(
            np.array(frame["transform_matrix"]), cameras.points, content["fl_x"], (content["cx"], content["cy"])
        )
        seen = tracks.valid[:, t]
        assert np.abs(xy - tracks.xy[:, t])[seen].max() < 1e-3


def test_nuke_sees_the_points_where_the_tracks_are(exact: Exact, tmp_path: Path) -> None:
    cameras, tracks = exact
    table = np.loadtxt(write_cameras(tmp_path / "a.chan", cameras))
    assert table.shape == (8, 8) and table[:, 0].tolist() == list(range(8))
    points = cameras.points * [1, -1, -1]  # the world is turned with the cameras: y up
    for t, row in enumerate(table):
        x, y, z = np.radians(row[4:7])
        pose = np.eye(4)
        pose[:3, :3] = rotation(np.array([0, y, 0])) @ rotation(np.array([x, 0, 0])) @ rotation(np.array([0, 0, z]))
        pose[:3, 3] = row[1:4]
        focal = 90 / np.tan(np.radians(row[7]) / 2)
        xy = seen_by(pose, points, focal, (170, 85))
        assert np.abs(xy - tracks.xy[:, t])[tracks.valid[:, t]].max() < 1e-2


def test_angles_do_not_jump_by_a_turn() -> None:
    turning = rotation(np.linspace(0, 3 * np.pi, 40)[:, None] * [0, 1.0, 0])
    assert np.abs(np.diff(zxy_angles(turning), axis=0)).max() < 0.3


BLENDER_DRIVER = """
import json, sys, bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
exec(compile(open(sys.argv[1]).read(), sys.argv[1], "exec"))
from bpy_extras.object_utils import world_to_camera_view
scene, seen = bpy.context.scene, []
points = [v.co.copy() for v in bpy.data.objects["tapkit points"].data.vertices]
for frame in range(scene.frame_start, scene.frame_end + 1):
    scene.frame_set(frame)
    bpy.context.view_layer.update()
    seen.append([tuple(world_to_camera_view(scene, scene.camera, p))[:2] for p in points])
json.dump({"size": [scene.render.resolution_x, scene.render.resolution_y], "seen": seen}, open(sys.argv[2], "w"))
import os
os._exit(0)
"""


def test_blender_sees_the_points_where_the_tracks_are(exact: Exact, tmp_path: Path) -> None:
    if not BLENDER.exists():
        pytest.skip("Blender is not there: python tools/blender_venv.py")
    cameras, tracks = exact
    script = write_cameras(tmp_path / "a.py", cameras)
    (tmp_path / "driver.py").write_text(BLENDER_DRIVER)
    command = [BLENDER, tmp_path / "driver.py", script, tmp_path / "seen.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    dump = json.loads((tmp_path / "seen.json").read_text())
    assert dump["size"] == [320, 180]
    xy = np.array(dump["seen"]) * [320, -180] + [0, 180]
    expected = tracks.xy[cameras.point_valid].transpose(1, 0, 2)
    seen = tracks.valid[cameras.point_valid].T
    assert np.abs(xy - expected)[seen].max() < 0.02


def test_the_script_for_blender_keeps_a_hostile_path_as_data(exact: Exact, tmp_path: Path) -> None:
    from dataclasses import replace

    cameras, _ = exact
    name = '/tmp/""" + quit() + r"""\\'
    video = replace(cameras.video, path=name)
    text = write_cameras(tmp_path / "a.py", replace(cameras, video=video)).read_text()
    compiled = compile(text, "a.py", "exec")
    data = next(c for c in compiled.co_consts if isinstance(c, str) and c.startswith("{"))
    assert json.loads(data)["path"].endswith(name.rsplit("/", 1)[1])


def test_rerun_reads_the_recording(exact: Exact, tmp_path: Path) -> None:
    rerun = pytest.importorskip("rerun")
    cameras, tracks = exact
    path = write_cameras(tmp_path / "a.rrd", cameras, tracks=tracks)
    done = subprocess.run(
        [Path(__import__("sys").executable), "-m", "rerun", "rrd", "print", "-v", path],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for entity in (
        "/world/points",
        "/world/path",
        "/world/camera",
        "/world/camera/image",
        "/world/camera/image/tracks",
    ):
        assert entity in done.stdout, (rerun.__version__, entity)


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_plots_are_written_the_same_each_time(exact: Exact, tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    cameras, _ = exact
    one, other = (write_cameras(tmp_path / f"{n}{suffix}", cameras) for n in "ab")
    assert one.read_bytes() == other.read_bytes()
    if suffix == ".png":
        picture = np.asarray(Image.open(one).convert("RGB")).astype(int)
        red = (picture[..., 0] - picture[..., 2] > 120) & (picture[..., 1] < 90)
        assert red.sum() > 100, "the path"


def test_a_trajectory_in_which_nothing_is_known_can_be_drawn_and_written(exact: Exact, tmp_path: Path) -> None:
    from dataclasses import replace

    cameras, _ = exact
    none = replace(
        cameras, world_to_camera=np.tile(np.eye(4), (8, 1, 1)), points=np.full((20, 3), np.nan),
        point_valid=np.zeros(20, bool), inlier=np.zeros((20, 8), bool),
    )  # fmt: skip
    for name in ("a.png", "a.tum", "a.json", "a.chan", "a.py", "a.rrd"):
        assert write_cameras(tmp_path / name, none).stat().st_size > 100


def test_unknown_formats_are_a_sentence(exact: Exact, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.chan \(Nuke\)"):
        write_cameras(tmp_path / "a.fbx", exact[0])
    with pytest.raises(UsageError, match="not as 'fbx'"):
        write_cameras(tmp_path / "a.fbx", exact[0], "fbx")


def test_a_full_disk_leaves_nothing(exact: Exact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, *_: object, **__: object) -> int:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_text", full)
    monkeypatch.setattr(Path, "write_bytes", full)
    for name in ("a.npz", "a.tum", "a.rrd"):
        with pytest.raises(StorageError, match="No space left"):
            write_cameras(tmp_path / name, exact[0])
    assert list(tmp_path.iterdir()) == []

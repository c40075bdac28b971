"""From what Blender leaves to a video on disk, checked, in each layout; no Blender is needed here."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("OpenEXR")
pytest.importorskip("embreex")

import torch
from filmed_scene import FRAMES, SIZE, write_take

from tapkit.datasets import open_dataset
from tapkit.datasets.folder import FolderDataset, read_arrays
from tapkit.datasets.kubric_folders import KubricFolders
from tapkit.datasets.pointodyssey import PointOdyssey
from tapkit.errors import StorageError, UsageError
from tapkit.generate import video as make
from tapkit.generate.batch import make_videos, plan
from tapkit.generate.checks import reprojection_error
from tapkit.generate.settings import GenerateSettings, parse_kinds
from tapkit.generate.video import Job, Result

SETTINGS = GenerateSettings(frames=FRAMES, size=SIZE[::-1], points=300, also=("pointodyssey", "kubric"), pictures="png")


@pytest.fixture
def without_blender(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """Instead of Blender, files of the scene that these tests know; returns the jobs that were filmed."""
    filmed: list[dict] = []

    def film(blender: Path, job: dict, folder: Path, report: Callable, started: object = None) -> None:
        filmed.append(job)
        report({"what": "blender", "version": "none", "device": "cpu", "cpu": 1.5})
        report({"what": "frame", "number": 0, "seconds": 0.5, "cpu": 0.25, "memory": 3 << 20})
        write_take(folder, depth_factor=1.1 if job["description"]["seed"] == 13 else 1.0)

    monkeypatch.setattr(make, "film", film)
    return filmed


def jobs(out: Path, count: int = 1, seed: int = 0, settings: GenerateSettings = SETTINGS) -> list[Job]:
    return plan(["calibration"], count, seed, out, settings)


def run(out: Path, **use: object) -> list:
    return make_videos(jobs(out, **use), Path("blender"))


def test_a_video_passes_its_checks_and_is_whole(without_blender: list, tmp_path: Path) -> None:
    (result,) = run(tmp_path)
    assert isinstance(result, Result) and result.passed, result
    assert result.folder == tmp_path / "calibration_000000"
    names = {path.name for path in result.folder.iterdir()}
    assert names == {
        "frames", "passes", "tracks.npz", "truth.npz", "scene.json", "checks.json", "sheet.jpg", "overlay.mp4"
    }  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calibration_000000", "kubric", "pointodyssey"]
    checks = json.loads((result.folder / "checks.json").read_text())
    assert checks["passed"] and checks["points"] == 300
    assert all(check["value"] is None for check in checks["checks"] if "checker" in check["name"])


def test_the_layouts_say_the_same(without_blender: list, tmp_path: Path) -> None:
    run(tmp_path)
    name = "calibration_000000"
    ours = FolderDataset(tmp_path).clip(name)
    kubric = KubricFolders(tmp_path / "kubric").clip(name)
    np.testing.assert_array_equal(ours.xy, kubric.xy)
    np.testing.assert_array_equal(ours.visible, kubric.visible)
    with ours.open() as one, kubric.open() as other:
        np.testing.assert_array_equal(one.read(3).image, other.read(3).image)
    odyssey = PointOdyssey(tmp_path / "pointodyssey", max_points=10**6)
    assert isinstance(open_dataset(tmp_path / "pointodyssey"), PointOdyssey)
    assert odyssey.clip(name).frames == FRAMES
    stored = read_arrays(tmp_path / "pointodyssey" / name / "anno.npz")
    np.testing.assert_array_equal(stored["trajs_2d"].swapaxes(0, 1), ours.xy)
    np.testing.assert_array_equal(stored["visibs"].T, ours.visible)
    assert {key: stored[key].dtype for key in ("trajs_3d", "intrinsics", "extrinsics")} == dict.fromkeys(
        ("trajs_3d", "intrinsics", "extrinsics"), np.float32
    )
    facts = stored["trajs_3d"], stored["trajs_2d"], stored["valids"], stored["intrinsics"], stored["extrinsics"]
    assert reprojection_error(*facts) < 1e-3, "the cameras are for the tracks' world (y up)"


def test_pointodyssey_files_hold_depth_masks_and_normals_by_its_conventions(
    without_blender: list, tmp_path: Path
) -> None:
    from PIL import Image

    run(tmp_path)
    folder, own = tmp_path / "pointodyssey/calibration_000000", tmp_path / "calibration_000000"
    passes = read_arrays(own / "passes/00002.npz")
    depth = np.array(Image.open(folder / "depths/depth_00002.png"))
    solid = np.isfinite(passes["depth"])
    np.testing.assert_allclose(depth[solid] / 65535 * 1000, passes["depth"][solid], atol=0.008)
    assert depth.dtype == np.uint16 and (depth[~solid] == 65535).all()
    mask = Image.open(folder / "masks/mask_00002.png")
    info = json.loads((folder / "scene_info.json").read_text())
    assert mask.mode == "P" and info["assets"] == ["background", "wall", "card"]
    for index, name in enumerate(info["assets"], 1):
        expected = passes["mask"] == {"background": -1, "wall": 1, "card": 2}[name]
        np.testing.assert_array_equal(np.array(mask) == index, expected)
    normal = np.array(Image.open(folder / "normals/normal_00002.jpg"))
    assert np.abs(normal[solid].astype(int) - [127.5, 0, 127.5]).max() < 12
    assert len(list((folder / "rgbs").glob("rgb_0000?.jpg"))) == FRAMES


def test_passes_say_where_each_pixel_goes(without_blender: list, tmp_path: Path) -> None:
    run(tmp_path)
    folder = tmp_path / "calibration_000000/passes"
    first, last = read_arrays(folder / "00000.npz"), read_arrays(folder / f"{FRAMES - 1:05d}.npz")
    assert "flow_backward" not in first and "flow_forward" not in last
    assert last["flow_backward"].shape == (*SIZE, 2) and last["occluded_backward"].dtype == bool
    second = read_arrays(folder / "00001.npz")
    # What a point's track does between two frames is what the flow says at its pixel, but for the part of a pixel.
    tracks = FolderDataset(tmp_path).clip("calibration_000000")
    rows = np.flatnonzero(tracks.visible[:, 1] & tracks.visible[:, 2])
    x, y = np.clip(tracks.xy[rows, 1].astype(int), 0, np.array(SIZE[::-1]) - 1).T
    away = np.linalg.norm(tracks.xy[rows, 2] - tracks.xy[rows, 1] - second["flow_forward"][y, x], axis=-1)
    assert np.median(away) < 0.1 and (away < 0.2).mean() > 0.9


def test_a_video_that_fails_is_kept_aside_with_the_reason(without_blender: list, tmp_path: Path) -> None:
    bad, good = run(tmp_path, count=2, seed=13)
    assert isinstance(bad, Result) and not bad.passed and isinstance(good, Result) and good.passed
    assert bad.folder == tmp_path / "failed/calibration_000013"
    assert "FAILED pixels whose depth is the renderer's" in (bad.folder / "reason.txt").read_text()
    assert list(FolderDataset(tmp_path).names()) == ["calibration_000014"]
    assert not (tmp_path / "pointodyssey/calibration_000013").exists()
    (again,) = run(tmp_path, seed=13)
    assert isinstance(again, UsageError) and "failed a check before" in str(again) and len(without_blender) == 2


def test_what_is_there_is_kept_and_other_things_are_left_alone(without_blender: list, tmp_path: Path) -> None:
    (tmp_path / "calibration_000001").mkdir()
    (tmp_path / "calibration_000001/mine.txt").write_text("mine")
    first, second, third = run(tmp_path, count=3)
    assert isinstance(second, UsageError) and "no finished clip" in str(second)
    assert isinstance(first, Result) and isinstance(third, Result)
    assert (tmp_path / "calibration_000001/mine.txt").read_text() == "mine"
    assert len(run(tmp_path, count=3)) == 1, "only the one that is missing is asked for"


def test_an_interrupted_run_goes_on_only_with_its_own_settings(
    without_blender: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(make, "choose_points", dies)
        (error,) = run(tmp_path)
    assert isinstance(error, StorageError)
    (other,) = run(tmp_path, settings=replace(SETTINGS, samples=3))
    assert isinstance(other, UsageError) and "other settings" in str(other)
    from tapkit.engine import leftovers

    assert [each.path.name for each in leftovers.find(tmp_path)] == ["calibration_000000.partial"]
    (result,) = run(tmp_path, settings=replace(SETTINGS, threads=7))
    assert isinstance(result, Result) and result.passed


def test_after_a_full_disk_nothing_more_is_begun(
    without_blender: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(make, "choose_points", full)
    assert [str(each) for each in run(tmp_path, count=3)] == ["the disk is full"]


def test_a_trainer_takes_the_folder(without_blender: list, tmp_path: Path) -> None:
    from tapkit.train.config import Stage
    from tapkit.train.sources import FolderSource

    run(tmp_path)
    stage = Stage(steps=1, size=64, frames=4, batch=2, points=16)
    batch = FolderSource(tmp_path, torch.device("cpu")).batch(stage, seed=0)
    assert batch.video.shape == (2, 4, 3, 64, 64) and batch.visible.any()


def test_the_benchmark_reports_what_blender_said(without_blender: list) -> None:
    path = Path(__file__).parents[2] / "benchmarks/generate_cost.py"
    spec = importlib.util.spec_from_file_location("generate_cost", path)
    assert spec is not None and spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    row = benchmark.measure("calibration", 7, replace(SETTINGS, also=()), Path("blender"))
    facts = {"scene": "calibration 7", "size": "64x48", "cpu_seconds_per_frame": 0.25, "build_cpu_seconds": 1.5}
    assert row.items() >= {**facts, "memory_mib": 3, "checks_passed": True, "samples": 16}.items()


def test_settings_and_kinds_are_refused_in_one_sentence(tmp_path: Path) -> None:
    assert parse_kinds("all") == ("outdoor", "indoor", "animals", "toys", "ego")
    for wrong in ("outdor", "", ","):
        with pytest.raises(UsageError, match="outdoor"):
            parse_kinds(wrong)
    for wrong in ({"samples": 0}, {"size": (16, 64)}, {"visibility": "ray"}, {"also": ("kubrik",)}, {"device": "tpu"}):
        with pytest.raises(UsageError):
            replace(SETTINGS, **wrong)
    with pytest.raises(UsageError, match="not a folder"):
        replace(SETTINGS, assets=tmp_path / "none")

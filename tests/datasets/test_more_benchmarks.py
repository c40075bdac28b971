"""EgoPoints, CroHD and ITTO, each written in its layout from a clip that comes with tapkit: found, read, evaluated."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from tapkit.cli.data import data_app
from tapkit.cli.eval import evaluate
from tapkit.datasets import open_dataset
from tapkit.datasets.crohd import CroHD, heads
from tapkit.datasets.egopoints import EgoPoints
from tapkit.datasets.itto import Itto
from tapkit.datasets.tiny import FRAMES, SIZE, TinyDataset
from tapkit.errors import StorageError, UsageError
from tapkit.metrics.egopoints import view_metrics

CLIP = TinyDataset().clip("occluder")


def frames(folder: Path, name: str = "{:05d}.png", first: int = 0) -> None:
    folder.mkdir(parents=True)
    with CLIP.open() as source:
        for frame in source.frames():
            Image.fromarray(frame.image).save(folder / name.format(frame.index + first))


def inside() -> np.ndarray:
    x, y = CLIP.xy[..., 0], CLIP.xy[..., 1]
    return (x >= 0) & (x < SIZE[1]) & (y >= 0) & (y < SIZE[0])


@pytest.fixture
def egopoints(tmp_path: Path) -> Path:
    """Annotated on every fourth frame; seen, hidden in the picture, or out of it."""
    sequence = tmp_path / "ego_points" / "P01_01_start_1_end_24"
    frames(sequence / "rgbs", "frame_{:010d}.png", 1)
    annotated = np.broadcast_to(np.arange(FRAMES) % 4 == 0, CLIP.visible.shape)
    valid = annotated & CLIP.visible
    arrays = {
        "valids": valid,
        "visibs": valid,
        "vis_valids": annotated,
        "out_of_view": annotated & ~inside(),
        "occluded": annotated & inside() & ~CLIP.visible,
    }
    xy = np.where(valid[..., None], CLIP.xy, 0.0)
    masks = {key: value.T.astype(np.float32) for key, value in arrays.items()}
    np.savez(sequence / "annot.npz", trajs_2d=xy.swapaxes(0, 1), dynamic_obj_tracks=np.zeros(len(CLIP)), **masks)
    return tmp_path / "ego_points"


@pytest.fixture
def crohd(tmp_path: Path) -> Path:
    """Boxes of 10 x 8 around the points that are in the picture, one line each."""
    sequence = tmp_path / "HT21" / "train" / "HT21-01"
    frames(sequence / "img1", "{:06d}.png", 1)
    (sequence / "gt").mkdir()
    lines = []
    for t in range(FRAMES):
        for n in np.flatnonzero(inside()[:, t]):
            x, y = CLIP.xy[n, t].astype(float)
            lines.append(f"{t + 1},{n + 7},{x - 5 + 1:.4f},{y - 4 + 1:.4f},10,8,1,1,{float(CLIP.visible[n, t])}")
    lines += ["1,900,5,5,10,10,0,1,1.0", "1,901,5,5,10,10,1,2,1.0"]  # does not count; is a statue
    (sequence / "gt" / "gt.txt").write_text("\n".join(lines) + "\n")
    return tmp_path / "HT21"


@pytest.fixture
def itto(tmp_path: Path) -> Path:
    part = tmp_path / "itto" / "mose"
    frames(part / "frames" / "0002b4dce", "{:05d}.png")
    folder = part / "annotations" / "0002b4dce"
    folder.mkdir(parents=True)
    table = np.concatenate([CLIP.xy, CLIP.visible[..., None], np.full((*CLIP.visible.shape, 1), 9.0)], -1)
    np.save(folder / "0002b4dce_gradient.npy", table[:5])
    np.save(folder / "0002b4dce_random.npy", table[5:])
    return tmp_path / "itto"


def same_pixels(clip) -> bool:  # type: ignore[no-untyped-def]
    with clip.open() as ours, CLIP.open() as theirs:
        return all(np.array_equal(a.image, b.image) for a, b in zip(ours.frames(), theirs.frames(), strict=True))


def test_egopoints_is_found_and_read(egopoints: Path) -> None:
    dataset = open_dataset(egopoints)
    assert isinstance(dataset, EgoPoints) and dataset.names() == ["P01_01_start_1_end_24"]
    clip = dataset.clip(dataset.names()[0])
    annotated = np.arange(FRAMES) % 4 == 0
    np.testing.assert_array_equal(clip.visible, CLIP.visible & annotated)
    np.testing.assert_array_equal(clip.xy[clip.visible], CLIP.xy[clip.visible])
    np.testing.assert_array_equal(clip.counted, np.broadcast_to(annotated, clip.visible.shape))
    np.testing.assert_array_equal(clip.in_view, annotated & inside())
    np.testing.assert_array_equal(clip.out_of_view, annotated & ~inside())
    assert clip.out_of_view.any() and (clip.in_view & ~clip.valid).any()
    assert clip.queries[0].tolist() == np.flatnonzero(CLIP.visible[:, 0]).tolist() and set(clip.queries[1]) == {0}
    assert same_pixels(clip)


def test_crohd_is_found_and_read(crohd: Path) -> None:
    for where in (crohd, crohd / "train"):
        dataset = open_dataset(where)
        assert isinstance(dataset, CroHD) and dataset.names() == ["HT21-01"]
    clip = dataset.clip("HT21-01")
    asked = np.flatnonzero(CLIP.visible[:, 0])
    np.testing.assert_array_equal(clip.visible, CLIP.visible[asked])
    np.testing.assert_allclose(clip.xy[clip.valid], CLIP.xy[asked][clip.valid], atol=1e-3)
    np.testing.assert_array_equal(clip.valid, inside()[asked])
    assert same_pixels(clip)


def test_long_sequences_come_in_pieces_asked_for_where_each_begins(crohd: Path) -> None:
    dataset = CroHD(crohd / "train", piece=10, shortest=4)
    assert dataset.names() == ["HT21-01@1", "HT21-01@11", "HT21-01@21"]
    assert CroHD(crohd / "train", piece=10, shortest=5).names() == ["HT21-01@1", "HT21-01@11"]
    clip = dataset.clip("HT21-01@11")
    asked = np.flatnonzero(CLIP.visible[:, 10])
    np.testing.assert_array_equal(clip.visible, CLIP.visible[asked, 10:20])
    with clip.open() as ours, CLIP.open() as theirs:
        np.testing.assert_array_equal(ours.read(0).image, theirs.read(10).image)


def test_a_head_is_the_centre_of_its_box_in_pixels_that_begin_at_one(tmp_path: Path) -> None:
    (tmp_path / "gt.txt").write_text("1,3,1,1,10,20,1,1,1\n2,3,11,21,4,6,1,1,0.5\n2,5,1,1,2,2,1,1,0.51\n")
    xy, visible = heads(tmp_path / "gt.txt", 2)
    assert xy[0].tolist() == [[5.0, 10.0], [12.0, 23.0]] and np.isnan(xy[1, 0]).all()
    assert visible.tolist() == [[True, False], [False, True]]


def test_itto_is_found_and_read(itto: Path) -> None:
    for where, name in ((itto, "mose/0002b4dce"), (itto / "mose", "0002b4dce")):
        dataset = open_dataset(where)
        assert isinstance(dataset, Itto) and dataset.names() == [name]
        clip = dataset.clip(name)
        np.testing.assert_array_equal(clip.visible, CLIP.visible)
        np.testing.assert_array_equal(clip.xy[clip.visible], CLIP.xy[CLIP.visible])
        assert same_pixels(clip)


@pytest.mark.parametrize("benchmark", ["egopoints", "crohd", "itto"])
def test_eval_and_check_take_the_folder_as_they_are(
    benchmark: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = str(request.getfixturevalue(benchmark))
    app = typer.Typer()
    app.command()(evaluate)
    checked = CliRunner().invoke(data_app, ["check", folder])
    assert checked.exit_code == 0 and "1 ok" in checked.output and "damaged" not in checked.output
    out = tmp_path / "out"
    ran = CliRunner().invoke(app, [folder, "--model", "lucas-kanade", "--out", str(out)])
    assert ran.exit_code == 0, ran.output
    summary = json.loads((out / "result.json").read_text())["models"][0]["summary"]
    assert summary["average_pts_within_thresh"]["value"] > 0.3
    wanted = {"egopoints": {"egopoints/", "pointodyssey/"}, "crohd": {"pointodyssey/"}, "itto": set()}[benchmark]
    assert {key.partition("/")[0] + "/" for key in summary if "/" in key} - {"robustness/"} == wanted


DAMAGE = {
    "no mask": ("egopoints", lambda d: strip(d, "occluded"), "has no array 'occluded'"),
    "a mask of another shape": ("egopoints", lambda d: strip(d, "valids", np.ones((3, 3))), r"valids must be \[T,N\]"),
    "too few images": ("egopoints", lambda d: last(d, "rgbs").unlink(), "has tracks of 24 frames, but rgbs/ has 23"),
    "a text": ("crohd", lambda d: truth(d).write_text("hello\n"), "no MOTChallenge annotation"),
    "eight numbers": ("crohd", lambda d: truth(d).write_text("1,2,3,4,5,6,7,1\n"), "nine numbers"),
    "a frame beyond the images": (
        "crohd",
        lambda d: truth(d).write_text("99,1,1,1,2,2,1,1,1\n"),
        "names frame 99, but there are 24 images",
    ),
    "a head twice": (
        "crohd",
        lambda d: truth(d).write_text("2,8,1,1,2,2,1,1,1\n" * 2),
        "two boxes of head 8 on frame 2",
    ),
    "tracks of another length": (
        "itto",
        lambda d: np.save(next(d.rglob("*_random.npy")), np.ones((2, 5, 4))),
        "has tracks of 5 frames, but there are 24 images",
    ),
    "objects": (
        "itto",
        lambda d: np.save(next(d.rglob("*_random.npy")), np.array([{}], object), allow_pickle=True),
        "not an .npy file of numbers",
    ),
}


def strip(folder: Path, key: str, value: np.ndarray | None = None) -> None:
    path = next(folder.rglob("annot.npz"))
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if name != key}
    np.savez(path, **arrays, **({} if value is None else {key: value}))


def last(folder: Path, images: str) -> Path:
    return sorted(next(folder.rglob(images)).iterdir())[-1]


def truth(folder: Path) -> Path:
    return next(folder.rglob("gt.txt"))


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_one_sentence(name: str, request: pytest.FixtureRequest) -> None:
    benchmark, damage, message = DAMAGE[name]
    folder = request.getfixturevalue(benchmark)
    damage(folder)
    dataset = open_dataset(folder)
    with pytest.raises(StorageError, match=message) as told:
        dataset.clip(dataset.names()[0])
    assert "\n" not in str(told.value)
    assert {finding.level for finding in dataset.check()} == {"damaged"}


@pytest.mark.parametrize("benchmark", ["egopoints", "crohd", "itto"])
def test_unknown_names_and_missing_images_are_said(benchmark: str, request: pytest.FixtureRequest) -> None:
    import shutil

    folder = request.getfixturevalue(benchmark)
    with pytest.raises(UsageError, match="has no clip 'no'"):
        open_dataset(folder).clip("no")
    for images in [*folder.rglob("rgbs"), *folder.rglob("img1"), *folder.rglob("frames")]:
        shutil.rmtree(images)
    dataset = open_dataset(folder)
    (why,) = dataset.missing().values()
    assert dataset.names() == [] and "has no images in" in why


def test_view_figures_by_hand() -> None:
    """A frame of 512 x 256: 20 px along x are 10 px at 256."""
    truth = np.zeros((2, 4, 2)) + [100.0, 50.0]
    answer = truth.copy()
    answer[0, 1] += [20.0, 0.0]  # 10 px: within 16 and 24
    answer[0, 2] += [0.0, 20.0]  # 20 px: within 24
    answer[0, 3] = [-1.0, 50.0]
    answer[1, 1] = [512.0, 256.0]  # the border is inside
    answer[1, 2] = [512.5, 0.0]
    valid = np.array([[1, 1, 1, 0], [1, 0, 0, 0]], bool)
    within = np.array([[1, 1, 1, 0], [1, 1, 0, 0]], bool)
    without = np.array([[0, 0, 0, 1], [0, 0, 1, 1]], bool)
    figures = view_metrics(truth, valid, within, without, answer, (256, 512))
    assert figures.delta_coarse == pytest.approx((0 + 1 / 2 + 1) / 3)
    assert figures.out_of_view == pytest.approx(2 / 3) and figures.in_view == 1.0
    assert np.isnan(view_metrics(truth, valid & False, within, without, answer, (256, 512)).delta_coarse)

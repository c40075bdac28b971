"""Tracks that are damaged, half copied, or say that they are larger than they are: one sentence, and no memory."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tapkit import storage
from tapkit.errors import StorageError
from tapkit.types import Queries, Tracks, VideoInfo
from tapkit.types.extent import LONGEST, check_extent


def example(frames: int = 300) -> Tracks:
    """Three points; the chunks of a store end at frame 256. One point is never valid after it, one at (0, 0)."""
    xy = np.zeros((3, frames, 2), np.float32)
    xy[1] = 7.5
    valid = np.ones((3, frames), bool)
    valid[2, 256:] = False
    shown = np.where(np.arange(frames) < 256, 1.0, 0.0) * np.ones((3, 1))
    video = VideoInfo(64, 48, frames=frames)
    return Tracks(xy, shown, shown, valid, Queries.at(0, xy[:, 0]), video)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("zarr")
    return example().save(tmp_path_factory.mktemp("store") / "a.zarr")


def chunks(store: Path) -> list[Path]:
    return sorted(p for p in store.rglob("*") if p.is_file() and p.name != "zarr.json")


def test_every_chunk_is_written_and_comes_back(store: Path) -> None:
    back = Tracks.load(store)
    ours = example()
    np.testing.assert_array_equal(back.xy, ours.xy)
    np.testing.assert_array_equal(back.visible, ours.visible)
    assert len(chunks(store)) == 2 * 5 + 2  # two spans of frames of five arrays; query_t and query_xy


def test_each_chunk_that_is_missing_is_missed(store: Path, tmp_path: Path) -> None:
    for number, chunk in enumerate(chunks(store)):
        copy = shutil.copytree(store, tmp_path / f"{number}.zarr")
        (copy / chunk.relative_to(store)).unlink()
        with pytest.raises(StorageError, match=r"is incomplete: 1 of the \d chunks of '\w+' are missing"):
            Tracks.load(copy)


@pytest.mark.parametrize("damage", ["cut", "empty", "garbage"])
def test_each_chunk_that_is_damaged_is_noticed_or_harmless(store: Path, tmp_path: Path, damage: str) -> None:
    for number, chunk in enumerate(chunks(store)):
        copy = shutil.copytree(store, tmp_path / f"{number}.zarr")
        data = chunk.read_bytes()
        changed = {"cut": data[: len(data) // 2], "empty": b"", "garbage": bytes(reversed(data))}[damage]
        (copy / chunk.relative_to(store)).write_bytes(changed)
        with pytest.raises(StorageError) as error:
            Tracks.load(copy)
        assert "\n" not in str(error.value) and str(copy) in str(error.value)


def test_what_is_missing_in_a_store_reads_as_unknown_not_as_zero(store: Path) -> None:
    import zarr

    group = zarr.open_group(str(store), mode="r")
    for name in ("xy", "visible", "confidence"):
        assert np.isnan(group[name].fill_value)


def test_a_store_of_a_former_version_is_still_read(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    path = example().save(tmp_path / "a.zarr")
    group = zarr.open_group(str(path), mode="r+")
    del group.attrs["every_chunk"]
    for facts in path.rglob("zarr.json"):
        facts.write_text(facts.read_text().replace('"NaN"', "0.0"))
    for chunk in (path / "visible" / "c").rglob("*"):  # such versions left out a chunk of zeros
        if chunk.is_file() and chunk.parts[-1] == "1":
            chunk.unlink()
    assert len(Tracks.load(path)) == 3
    next(p for p in (path / "xy" / "c").rglob("*") if p.is_file()).unlink()
    with pytest.raises(StorageError, match="chunks of 'xy'"):
        Tracks.load(path)


def npz(path: Path, **headers: tuple[tuple[int, ...], str, bytes]) -> Path:
    """An archive of arrays whose headers say what one likes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, (shape, kind, data) in headers.items():
            head = io.BytesIO()
            np.lib.format.write_array_header_1_0(head, {"descr": kind, "fortran_order": False, "shape": shape})
            archive.writestr(f"{name}.npy", head.getvalue() + data)
    return path


@pytest.mark.parametrize("shape", [(100_000, 100_000, 2), (1 << 62, 4), (3,), (0,)])
def test_an_array_is_as_large_as_its_data(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = npz(tmp_path / "a.npz", xy=(shape, "<f4", bytes(64)))
    with pytest.raises(ValueError, match=r"should have \d+ bytes by its shape"):
        storage.read_npz(path)
    with pytest.raises(StorageError, match="should have"):
        Tracks.load(path)
    from tapkit.datasets.folder import read_arrays

    with pytest.raises(StorageError, match="should have"):
        read_arrays(path)


def test_a_whole_array_is_read_and_only_those_that_are_asked_for(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", good=((16,), "<f4", bytes(64)), bad=((17,), "<f4", bytes(64)))
    assert storage.read_npz(path, ["good"])["good"].shape == (16,)


@pytest.mark.parametrize("ending", [".npz", ".csv", ".parquet"])
def test_files_cut_anywhere_are_refused(tmp_path: Path, ending: str) -> None:
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    path = example(20).save(tmp_path / f"a{ending}")
    data = path.read_bytes()
    for share in range(0, 100, 7):
        path.write_bytes(data[: len(data) * share // 100])
        if ending == ".csv":
            path.write_bytes(path.read_bytes().rstrip(b"\n")[:-3])  # within a row: a table of whole rows is one
        with pytest.raises(StorageError) as error:
            Tracks.load(path)
        assert "\n" not in str(error.value) and f"a{ending}" in str(error.value)


@pytest.mark.parametrize("frame", [LONGEST, 2_000_000_000, 1 << 62])
def test_a_frame_number_that_no_clip_has_costs_no_memory(tmp_path: Path, frame: int) -> None:
    path = example(20).save(tmp_path / "a.csv")
    lines = path.read_text().splitlines()
    cells = lines[-1].split(",")
    path.write_text("\n".join([*lines, ",".join([cells[0], str(frame), *cells[2:]])]) + "\n")
    for read in (lambda: Tracks.load(path), lambda: Tracks.read(path, "csv")):
        with pytest.raises(StorageError, match="more than any clip has"):
            read()


def test_more_than_memory_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        check_extent(1 << 30, LONGEST)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_devices_and_pipes_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "zero.npz").symlink_to("/dev/zero")
    for name in ("pipe.csv", "zero.npz"):
        with pytest.raises(StorageError, match="device or a pipe"):
            Tracks.load(tmp_path / name)
        with pytest.raises(StorageError, match="device or a pipe"):
            Tracks.read(tmp_path / name, "csv")
        with pytest.raises(StorageError, match="device or a pipe"):
            Queries.read_csv(tmp_path / name)


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path) -> None:
    for name in ("a.npz", "a.zarr", "a.csv"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "photo.jpg").write_text("mine")
        with pytest.raises(StorageError):
            example(4).save(tmp_path / name)
        assert (tmp_path / name / "photo.jpg").read_text() == "mine"
        with pytest.raises(StorageError):
            storage.write_text(tmp_path / name, "text")
        assert [p.name for p in (tmp_path / name).iterdir()] == ["photo.jpg"]

"""Flow as files: exact round trips, other programs' readings, damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tapkit.errors import ShapeError, StorageError
from tapkit.export import flow_files


@pytest.fixture
def xy() -> np.ndarray:
    return (np.random.default_rng(0).normal(size=(37, 53, 2)) * 40).astype(np.float32)


def test_flo_is_exact_here_and_in_opencv(tmp_path: Path, xy: np.ndarray) -> None:
    cv = pytest.importorskip("cv2")
    flow_files.write_flo(tmp_path / "a.flo", xy)
    assert np.array_equal(flow_files.read_flo(tmp_path / "a.flo"), xy)
    assert np.array_equal(cv.readOpticalFlow(str(tmp_path / "a.flo")), xy)
    cv.writeOpticalFlow(str(tmp_path / "b.flo"), xy)
    assert (tmp_path / "b.flo").read_bytes() == (tmp_path / "a.flo").read_bytes()


def test_flo_keeps_what_is_unknown(tmp_path: Path, xy: np.ndarray) -> None:
    xy[3, 4] = np.nan
    flow_files.write_flo(tmp_path / "a.flo", xy)
    back = flow_files.read_flo(tmp_path / "a.flo")
    assert np.isnan(back[3, 4]).all() and np.array_equal(np.isnan(back), np.isnan(xy))


def test_kitti_png_within_half_a_step_here_and_in_opencv(tmp_path: Path, xy: np.ndarray) -> None:
    cv = pytest.importorskip("cv2")
    xy[0, 0], xy[1, 1] = (600.0, 0.0), np.nan
    shown = np.ones(xy.shape[:2], bool)
    shown[2, 2] = False
    flow_files.write_kitti(tmp_path / "a.png", xy, shown)
    back, valid = flow_files.read_kitti(tmp_path / "a.png")
    assert sorted(zip(*np.nonzero(~valid), strict=True)) == [(0, 0), (1, 1), (2, 2)]
    assert np.abs(back - xy)[valid].max() <= 1 / 128
    picture = cv.imread(str(tmp_path / "a.png"), cv.IMREAD_UNCHANGED)[..., ::-1]
    assert picture.dtype == np.uint16
    theirs = (picture[..., :2].astype(np.float32) - 32768) / 64
    assert np.array_equal(theirs[valid], back[valid]) and np.array_equal(picture[..., 2] == 1, valid)
    cv.imwrite(str(tmp_path / "b.png"), picture[..., ::-1])  # with filters of its own
    assert np.array_equal(flow_files.read_kitti(tmp_path / "b.png")[0], back, equal_nan=True)


def test_motion_vectors_point_up(tmp_path: Path, xy: np.ndarray) -> None:
    exr = pytest.importorskip("OpenEXR")
    flow_files.write_motion_exr(tmp_path / "a.exr", xy, np.abs(xy[..., 0]) / 200)
    channels = exr.File(str(tmp_path / "a.exr"), separate_channels=True).channels()
    assert np.array_equal(channels["forward.u"].pixels, xy[..., 0])
    assert np.array_equal(channels["forward.v"].pixels, -xy[..., 1])
    assert channels["occlusion.Y"].pixels.max() > 0


def test_damaged_and_foreign_files_are_told(tmp_path: Path, xy: np.ndarray) -> None:
    with pytest.raises(StorageError, match="does not exist"):
        flow_files.read_flo(tmp_path / "none.flo")
    (tmp_path / "text.flo").write_text("nothing of the kind")
    with pytest.raises(StorageError, match=r"no \.flo"):
        flow_files.read_flo(tmp_path / "text.flo")
    flow_files.write_flo(tmp_path / "a.flo", xy)
    (tmp_path / "cut.flo").write_bytes((tmp_path / "a.flo").read_bytes()[:-9])
    with pytest.raises(StorageError, match="damaged"):
        flow_files.read_flo(tmp_path / "cut.flo")
    flow_files.write_picture(tmp_path / "plain.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(StorageError, match="16-bit"):
        flow_files.read_kitti(tmp_path / "plain.png")
    with pytest.raises(StorageError, match="damaged"):
        flow_files.read_kitti(tmp_path / "text.flo")
    with pytest.raises(ShapeError):
        flow_files.write_flo(tmp_path / "b.flo", xy[..., 0])


def test_a_failed_write_leaves_nothing(tmp_path: Path, xy: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="No space left"):
        flow_files.write_flo(tmp_path / "a.flo", xy)
    assert list(tmp_path.iterdir()) == []

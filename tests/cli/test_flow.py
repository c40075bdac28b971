"""`tapkit flow`, run as a person runs it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tapkit.cli.main import main
from tapkit.export.flow_files import read_flo, read_kitti
from tapkit.video import open_video

pytest.importorskip("cv2")


@pytest.fixture
def shot(tmp_path: Path) -> Path:
    """Five pictures that move by (2, 0) pixels a frame."""
    rng = np.random.default_rng(0)
    canvas = np.asarray(Image.fromarray(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)).resize((240, 160)))
    (tmp_path / "shot").mkdir()
    for t in range(5):
        Image.fromarray(canvas[20:116, 60 - 2 * t : 188 - 2 * t]).save(tmp_path / "shot" / f"{t:04d}.png")
    return tmp_path / "shot"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["tapkit", "flow", *map(str, arguments), "--quiet"])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def test_files_are_written_for_each_pair_and_kept_by_a_second_run(
    shot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert run(monkeypatch, shot, "-o", out, "--pairs", "all:2") == 0
    names = sorted(path.name for path in out.glob("*.flo"))
    assert names == [f"{a:06d}_{b:06d}.flo" for a, b in ((0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (2, 4), (3, 4))]
    assert np.abs(np.median(read_flo(out / "000001_000003.flo"), (0, 1)) - (4, 0)).max() < 0.1
    kept = out / "000000_000001.flo"
    kept.write_bytes(b"kept as it is")
    (out / "000003_000004.flo").unlink()
    assert run(monkeypatch, shot, "-o", out, "--pairs", "all:2") == 0
    assert kept.read_bytes() == b"kept as it is" and (out / "000003_000004.flo").exists()


def test_a_folder_of_another_run_is_left_alone(
    shot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(monkeypatch, shot, "-o", out) == 0
    before = sorted(out.iterdir())
    assert run(monkeypatch, shot, "-o", out, "--set", "preset=fast") == 6
    assert "another model" in capsys.readouterr().err and sorted(out.iterdir()) == before


def test_kitti_colours_and_video(shot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, shot, "-o", tmp_path / "kitti", "-f", "kitti", "--pairs", "previous") == 0
    xy, valid = read_kitti(tmp_path / "kitti" / "000003_000002.png")
    assert valid.all() and np.abs(np.median(xy, (0, 1)) - (-2, 0)).max() < 0.1
    assert run(monkeypatch, shot, "-o", tmp_path / "wheel", "-f", "colors", "--scale", "2") == 0
    picture = np.asarray(Image.open(tmp_path / "wheel" / "000002_000003.png"))
    assert np.abs(np.median(picture, (0, 1)) - (255, 0, 0)).max() < 30  # to the right: red
    assert run(monkeypatch, shot, "-o", tmp_path / "flow.mp4") == 0
    with open_video(tmp_path / "flow.mp4") as source:
        assert source.info.frames == 4 and source.info.size == (96, 128)


@pytest.mark.parametrize("wrong", [["--format", "tiff"], ["--pairs", "some"], ["--model", "dos"]])
def test_bad_usage_is_exit_code_2(
    shot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: list[str]
) -> None:
    assert run(monkeypatch, shot, "-o", tmp_path / "out", *wrong) == 2
    assert not (tmp_path / "out").exists()


def test_a_video_of_several_flows_a_frame_is_refused(
    shot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(monkeypatch, shot, "-o", tmp_path / "flow.mp4", "--pairs", "all:2") == 2
    assert not (tmp_path / "flow.mp4").exists()


@pytest.mark.parametrize(
    ("frames", "pairs", "said"), [(1, "next", "one frame"), (1, "first", "one frame"), (3, "step:-3", "3 frames")]
)
@pytest.mark.parametrize("name", ["out", "out.mp4"])
def test_a_clip_without_such_a_pair_is_one_sentence_and_no_file(
    shot: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    frames: int,
    pairs: str,
    said: str,
    name: str,
) -> None:
    for picture in sorted(shot.iterdir())[frames:]:
        picture.unlink()
    assert run(monkeypatch, shot, "-o", tmp_path / name, "--pairs", pairs) == 2
    assert said in capsys.readouterr().err and not (tmp_path / name).exists()

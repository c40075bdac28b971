"""Which frames of which video a command means: --start, --end, --step, --value-range, --stream."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tapkit
from tapkit.cli.main import main
from tapkit.types import Tracks

TEXTURE = np.random.default_rng(0).integers(0, 256, (18, 24, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)


def run(*arguments: object, code: int = 0) -> tuple[str, str]:
    """Run a command in this process: what it printed on both streams."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["tapkit", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
    assert (left.value.code or 0) == code, err.getvalue()
    return out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def shot(tmp_path_factory) -> Path:
    """shot.1001.png to shot.1024.png, moving by (2, 1) pixels a frame."""
    folder = tmp_path_factory.mktemp("footage") / "shot"
    folder.mkdir()
    for t in range(24):
        Image.fromarray(TEXTURE[24 - t : 120 - t, 48 - 2 * t : 176 - 2 * t]).save(folder / f"shot.{1001 + t}.png")
    return folder


def track(shot: Path, target: Path, *options: object) -> Tracks:
    run("track", shot, "-m", "lucas-kanade", "--at", "0,60.5,50.5", "-o", target, "-q", *options)
    return Tracks.load(target)


def test_a_part_is_tracked_and_keeps_the_numbers_of_the_footage(shot, tmp_path):
    tracks = track(shot, tmp_path / "part.npz", "--start", 4, "--end", 10, "--overlay", tmp_path / "part.mp4")
    assert tracks.frames == 6 and tracks.video.start_frame == 1005
    np.testing.assert_allclose(tracks.xy[0, :, 0], 60.5 + 2 * np.arange(6), atol=0.3)
    run("export", tmp_path / "part.npz", tmp_path / "part.nk", "--to", "nuke")
    script = (tmp_path / "part.nk").read_text()
    assert "{curve x1005 " in script and "x1001" not in script
    with tapkit.open_video(str(tmp_path / "part.mp4")) as overlay:
        assert overlay.info.frames == 6 and overlay.info.time_of(0) == 0
    run("draw", shot, tmp_path / "part.npz", tmp_path / "again.mp4", "--start", 4, "--end", 10, "-q")
    with tapkit.open_video(str(tmp_path / "again.mp4")) as overlay:
        assert overlay.info.frames == 6


def test_every_other_frame(shot, tmp_path):
    tracks = track(shot, tmp_path / "thin.npz", "--step", 2, "--end", 13)
    assert tracks.frames == 7 and tracks.video.fps == 25 / 2
    np.testing.assert_allclose(tracks.xy[0, :, 0], 60.5 + 4 * np.arange(7), atol=0.3)


def test_exports_with_pictures_take_those_of_the_part(shot, tmp_path):
    pytest.importorskip("tables")
    tracks = track(shot, tmp_path / "b.npz", "--start", 3, "--end", 9)
    tracks.write(tmp_path / "part", "dlc", frames="3")
    with tapkit.open_video(str(shot)) as whole:
        for path, index in zip(sorted((tmp_path / "part").glob("*.png")), (3, 6), strict=True):
            assert np.array_equal(np.asarray(Image.open(path)), whole.read(index).image)


def test_info_tells_of_the_part(shot):
    facts = json.loads(run("info", shot, "--start", 4, "--end", 10, "--step", 2, "--json")[0])
    assert (facts["frames"], facts["start_frame"], facts["fps"], facts["seconds"]) == (3, 1005, "25/2", 0.24)


@pytest.mark.parametrize("command", ["track", "draw", "dense", "info", "objects"])
def test_the_options_are_on_every_command_that_reads_footage(command):
    said = run(command, "--help")[0]
    for option in ("--start", "--end", "--value-range", "--stream", "--every" if command == "dense" else "--step"):
        assert option in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--start", "24"], "frames are 0..23"),
        (["--start", "9", "--end", "9"], "no frame from 9"),
        (["--value-range", "bright"], "BLACK,WHITE"),
        (["--value-range", "1,2,3"], "BLACK,WHITE"),
        (["--value-range", "9,3"], "value_range must be"),
    ],
)
def test_wrong_parts_and_ranges_are_bad_usage(options, message, shot, tmp_path):
    said = run("track", shot, "-m", "lucas-kanade", "-o", tmp_path / "x.npz", *options, code=2)[1]
    assert message in said and "Traceback" not in said


def test_a_range_taken_from_the_values_is_said_in_one_line_and_can_be_stated(tmp_path):
    folder = tmp_path / "counts"
    folder.mkdir()
    for t in range(3):
        Image.fromarray(TEXTURE[..., 0].astype(np.uint16) + 150).save(folder / f"f{t}.tif")
    said = run("info", folder)[1]
    assert said.count("\n") == 1 and "black is taken to be 150" in said and "--value-range" in said
    assert run("info", folder, "--value-range", "150,405")[1] == ""

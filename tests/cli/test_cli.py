"""The command line, run as a person runs it."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

import tapkit
import tapkit.errors
from tapkit.cli.main import COMMANDS, main
from tapkit.types import Tracks

pytest.importorskip("cv2")


class Done(NamedTuple):
    """What a command printed."""

    stdout: str
    stderr: str


def run(*arguments: str | Path, code: int = 0) -> Done:
    """Run a command in this process, as the console script does."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        patch.setattr(sys, "argv", ["tapkit", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
    assert (left.value.code or 0) == code, err.getvalue() + out.getvalue()
    assert "Traceback" not in err.getvalue()
    return Done(out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a clip of twelve pictures that move by two pixels a frame."""
    root = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(0)
    canvas = np.asarray(Image.fromarray(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)).resize((240, 160)))
    (root / "shot").mkdir()
    for t in range(12):
        Image.fromarray(canvas[20:116, 60 - 2 * t : 188 - 2 * t]).save(root / "shot" / f"{t + 1001}.png")
    Image.fromarray(np.pad(np.full((30, 30), 255, np.uint8), ((20, 46), (40, 58)))).save(root / "mask.png")
    (root / "points.csv").write_text("id,t,x,y\nnose,0,60,40\ntail,6,70.5,50\n")
    return root


def test_help_is_quick_and_needs_no_torch() -> None:
    code = "import sys, tapkit.cli.main as m; sys.argv = ['tapkit', '--help']\ntry: m.main()\nexcept SystemExit: pass\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "assert 'torch' not in sys.modules"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "Exit codes" in done.stdout, done.stderr


def test_every_command_has_help() -> None:
    for name in COMMANDS:
        assert name in run(name, "--help").stdout


def test_a_video_goes_in_tracks_and_an_overlay_come_out(folder: Path, tmp_path: Path) -> None:
    done = run(
        "track", folder / "shot", "--grid", 5, "-o", tmp_path / "a.npz", "--overlay", tmp_path / "a.mp4", "--json"
    )
    summary = json.loads(done.stdout)
    assert summary["points"] == 25 and summary["frames"] == 12
    tracks = Tracks.load(tmp_path / "a.npz")
    assert tracks.xy.shape == (25, 12, 2) and tracks.video.start_frame == 1001
    inner = tracks.xy[12]
    np.testing.assert_allclose(inner[:, 0] - inner[0, 0], 2 * np.arange(12), atol=0.3)
    with tapkit.open_video(str(tmp_path / "a.mp4")) as video:
        assert (video.info.frames, video.info.size) == (12, (96, 128))
    assert "frame 11, 100 %" in done.stderr
    run("draw", folder / "shot", tmp_path / "a.npz", tmp_path / "pictures" / "%04d.png", "--labels", "-q")
    assert len(list((tmp_path / "pictures").iterdir())) == 12


def test_a_result_is_not_replaced_unless_asked(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_text("mine")
    assert "--force" in run("track", folder / "shot", "--grid", 2, "-o", tmp_path / "a.npz", code=2).stderr
    assert (tmp_path / "a.npz").read_text() == "mine"
    run("track", folder / "shot", "--grid", 2, "-o", tmp_path / "a.npz", "--force", "-q")
    assert len(Tracks.load(tmp_path / "a.npz")) == 4


@pytest.mark.parametrize("name", ["take [1].mp4", "50%d.mp4", "what?.mp4", "a*b.mp4", "v1.2", "take [1]"])
def test_names_with_special_characters_are_names(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if name.endswith(".mp4"):
        run("live", folder / "shot", "--grid", 1, "--every-frame", "--record", tmp_path / "clip.mp4", "-q")
        (tmp_path / "clip.mp4").rename(tmp_path / name)
    else:
        shutil.copytree(folder / "shot", tmp_path / name)
    run("track", name, "--grid", 1, "-q", "--direction", "forward")
    assert Tracks.load(f"{name.removesuffix('.mp4')}.tracks.npz").frames == 12


def test_the_footage_itself_is_never_written_to(folder: Path, tmp_path: Path) -> None:
    shot = shutil.copytree(folder / "shot", tmp_path / "shot")
    run("live", shot, "--grid", 1, "--every-frame", "--record", tmp_path / "clip.mp4", "-o", tmp_path / "t.npz", "-q")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "clip.mp4")
    before = {path: path.read_bytes() for path in [tmp_path / "clip.mp4", *sorted(shot.iterdir())]}
    for clip, overlay in [
        (tmp_path / "clip.mp4", tmp_path / "link.mp4"),
        (tmp_path / "link.mp4", tmp_path / "clip.mp4"),
        (shot, shot / "%04d.png"),
        (shot / "*.png", shot / "####.png"),
    ]:
        done = run("track", clip, "--grid", 1, "-o", tmp_path / "u.npz", "--overlay", overlay, code=2)
        assert "read here" in done.stderr
        assert "read here" in run("draw", clip, tmp_path / "t.npz", overlay, code=2).stderr
    assert {path: path.read_bytes() for path in before} == before
    assert not (tmp_path / "u.npz").exists()
    run("draw", shot, tmp_path / "t.npz", shot / "drawn_%04d.png", "-q")  # beside them is fine
    assert len(list(shot.iterdir())) == 24


def test_points_come_from_files_options_masks_and_corners(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.npz"
    run("track", folder / "shot", "--points", folder / "points.csv", "--at", "3,60,40", "-o", out, "-q")
    tracks = Tracks.load(out)
    assert tracks.ids.tolist() == ["nose", "tail", "at0"] and tracks.queries.t.tolist() == [0, 6, 3]
    assert tracks.valid.all()
    run("track", folder / "shot", "--mask", folder / "mask.png", "-o", out, "-q", "--direction", "forward", "--force")
    assert Tracks.load(out).queries.xy.min() + 20 >= 40 and len(Tracks.load(out)) > 100
    run("track", folder / "shot", "--corners", 7, "--frame", 4, "-o", out, "-q", "--force")
    assert set(Tracks.load(out).queries.t.tolist()) == {4}


def test_live_plays_a_file_and_records(folder: Path, tmp_path: Path) -> None:
    run("live", folder / "shot", "--grid", 3, "--every-frame", "--record", tmp_path / "l.mp4", "-o", tmp_path / "l.npz")
    tracks = Tracks.load(tmp_path / "l.npz")
    run("track", folder / "shot", "--grid", 3, "-o", tmp_path / "t.npz", "-q")
    np.testing.assert_array_equal(tracks.xy, Tracks.load(tmp_path / "t.npz").xy)
    with tapkit.open_video(str(tmp_path / "l.mp4")) as video:
        assert video.info.frames == 12


def test_live_tracks_corners_of_the_first_frame_and_loses_none(folder: Path, tmp_path: Path) -> None:
    shot = ["live", folder / "shot", "--corners", 5, "--every-frame", "-o"]
    run(*shot, tmp_path / "l.npz", "--record", tmp_path / "l.mp4", "-q")
    tracks = Tracks.load(tmp_path / "l.npz")
    assert tracks.frames == 12 and set(tracks.queries.t.tolist()) == {0} and tracks.valid.all()
    with tapkit.open_video(str(folder / "shot")) as video:
        corners = tapkit.Queries.corners(video.read(0).image, 5)
        live = iter([frame.image for frame in video.frames()])
    np.testing.assert_array_equal(tracks.queries.xy, corners.xy)
    # The same of a source whose frames come only once.
    again = tapkit.track(live, corners=5, model="lucas-kanade")
    assert again.frames == 12 and again.queries.t.tolist() == [0] * 5
    np.testing.assert_array_equal(again.queries.xy, corners.xy)


def test_live_counts_as_visible_what_the_authors_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from tapkit.models.lucas_kanade.tracker import LucasKanade

    strict = replace(tapkit.cards()["lucas-kanade"], visible_rule="visible*confidence", visible_threshold=1.0)
    monkeypatch.setattr(LucasKanade, "card", strict)
    monkeypatch.setattr("tapkit.cli.live.time.monotonic", iter(range(0, 10000, 3)).__next__)
    done = run("live", folder / "shot", "--grid", 3, "--every-frame", "--model", "lucas-kanade")
    assert "visible 0/9" in done.stderr  # nothing scores above 1


@pytest.mark.parametrize("command", ["track", "live", "dense", "pseudo-label"])
def test_a_video_that_is_not_there_costs_no_download_of_weights(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> Path:
        raise AssertionError("weights were looked for before the video")

    monkeypatch.setattr("tapkit.weights.obtain", never)
    more = ["out"] if command == "pseudo-label" else []
    assert "none.mp4" in run(command, "none.mp4", *more, "--model", "cotracker3-online", code=3).stderr
    with pytest.raises(tapkit.errors.VideoError):
        tapkit.track("none.mp4", grid=2, model="cotracker3-online")
    with pytest.raises(tapkit.errors.VideoError):
        tapkit.track_dense("none.mp4", path="out.zarr")


def test_a_corrected_result_is_tracked_again_through_its_keyframes(folder: Path, tmp_path: Path) -> None:
    run("track", folder / "shot", "--grid", 2, "-o", tmp_path / "a.npz", "-q")
    tracks = Tracks.load(tmp_path / "a.npz")
    xy, keyframe = tracks.xy.copy(), tracks.keyframe.copy()
    xy[1, 7], keyframe[1, 7] = (40.0, 30.0), True
    tracks.with_(xy=xy, keyframe=keyframe).save(tmp_path / "corrected.npz")
    run("track", folder / "shot", "--points", tmp_path / "corrected.npz", "-o", tmp_path / "b.npz", "-q")
    again = Tracks.load(tmp_path / "b.npz")
    assert again.xy[1, 7].tolist() == [40.0, 30.0] and np.argwhere(again.keyframe).tolist() == [[1, 7]]
    np.testing.assert_array_equal(again.xy[[0, 2, 3]], tracks.xy[[0, 2, 3]])
    assert (again.xy[1] != tracks.xy[1]).any()


def test_an_overlay_that_fails_costs_no_tracks(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tapkit.errors import StorageError
    from tapkit.sinks import Overlay

    finish = Overlay.finish

    def full(self: Overlay) -> None:
        finish(self)
        raise StorageError("No space left on device")

    monkeypatch.setattr(Overlay, "finish", full)
    done = run("track", folder / "shot", "--grid", 2, "-o", tmp_path / "a.npz", "--overlay", tmp_path / "a.mp4", code=6)
    assert "No space left" in done.stderr and Tracks.load(tmp_path / "a.npz").frames == 12


def test_info_and_models_speak_to_people_and_programs(folder: Path) -> None:
    assert json.loads(run("info", folder / "shot", "--json").stdout)["size"] == "128x96"
    cards = json.loads(run("models", "--json").stdout)
    assert {"id", "weights_present", "commercial"} <= set(cards[0])
    assert "lucas-kanade" in run("models", "--commercial").stdout


def test_tables_are_tracks_to_every_command(folder: Path, tmp_path: Path) -> None:
    run("track", folder / "shot", "--grid", 3, "-o", tmp_path / "a.csv", "-q")
    run("track", folder / "shot", "--grid", 3, "-o", tmp_path / "a.npz", "-q")
    table, stored = (json.loads(run("info", tmp_path / f"a.{ending}", "--json").stdout) for ending in ("csv", "npz"))
    assert {**table, "path": ""} == {**stored, "path": ""} and table["keyframes"] == 0
    run("draw", folder / "shot", tmp_path / "a.csv", tmp_path / "a.mp4", "-q")
    run("export", tmp_path / "a.csv", tmp_path / "a.nk", "--to", "nuke", "-q")
    run("export", tmp_path / "a.npz", tmp_path / "b.nk", "--to", "nuke", "-q")
    assert (tmp_path / "a.nk").stat().st_size == (tmp_path / "b.nk").stat().st_size
    run("import", tmp_path / "a.csv", tmp_path / "b.npz", "-q")
    assert json.loads(run("info", tmp_path / "b.npz", "--json").stdout)["keyframes"] == 0


def test_what_a_human_set_is_marked_after_import_and_stays_so(folder: Path, tmp_path: Path) -> None:
    run("track", folder / "shot", "--at", "0,60,40", "-o", tmp_path / "a.npz", "-q")
    run("export", tmp_path / "a.npz", tmp_path / "a.csv", "-q")
    lines = (tmp_path / "a.csv").read_text().splitlines()
    cells = lines[8].split(",")  # frame 5
    lines[8] = ",".join([*cells[:3], "12.5", *cells[4:]])
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    run("import", tmp_path / "a.csv", tmp_path / "b.npz", "--original", tmp_path / "a.npz", "-q")
    before = tmp_path / "b.npz"
    for after in ("c.csv", "d.npz"):
        run("export" if after == "c.csv" else "import", before, tmp_path / after, "-q")
        before = tmp_path / after
    for name in ("b.npz", "c.csv", "d.npz"):
        tracks = Tracks.load(tmp_path / name)
        assert np.argwhere(tracks.keyframe).tolist() == [[0, int(cells[1])]] and tracks.xy[0, int(cells[1]), 0] == 12.5


def test_bench_measures(folder: Path) -> None:
    rows = json.loads(
        run("bench", "-m", "lucas-kanade", "--points", 4, "--size", "96x64", "--frames", 6, "--json").stdout
    )
    assert rows[0]["fps"] > 0 and rows[0]["multiples"] > 0 and rows[0]["points"] == 4


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["track", "none.mp4"], 3, "none.mp4"),
        (["track", "SHOT", "--at", "99,3,3"], 2, "outside frames 0..11"),
        (["track", "SHOT", "--at", "0,500,3"], 2, "outside the 128x96 frame"),
        (["track", "SHOT", "--at", "0,x,3"], 2, "frame,x,y"),
        (["track", "SHOT", "--model", "lucas-kanadee"], 2, "did you mean 'lucas-kanade'"),
        (["track", "SHOT", "-o", "out.txt"], 2, "stored as"),
        (["track", "SHOT", "--memory", "lots"], 2, "memory budget"),
        (["track", "SHOT", "--set", "window"], 2, "NAME=VALUE"),
        (["track", "SHOT", "--set", "windw=3"], 2, "no option"),
        (["track", "SHOT", "--device", "warp"], 2, "device warp"),
        (["track", "SHOT", "-o", "/proc/none/a.npz"], 6, "cannot write"),
        (["trak", "SHOT"], 2, "did you mean 'track'"),
        (["info", "SHOT/1001.txt"], 3, "1001.txt"),
        (["bench", "-m", "lucas-kanade", "--size", "big"], 2, "--size takes WIDTHxHEIGHT such as 1920x1080, got 'big'"),
        (["synth", "OUT", "--size", "12"], 2, "--size takes WIDTHxHEIGHT"),
        (["generate", "-o", "OUT", "--scenes", "outdor"], 2, "did you mean 'outdoor'"),
        (["generate", "-o", "OUT", "--scene", "SHOT/1001.png"], 2, "describes no scene"),
        (["import", "SHOT/1001.png", "--from", "3de", "--size", "0x5"], 2, "--size takes WIDTHxHEIGHT"),
        (["eval", "tiny", "-m", "lucas-kanade", "--resolution", "12"], 2, "native, model or HEIGHTxWIDTH"),
        (["bench", "-m", "lucas-kanade", "--set", "=3"], 2, "--set takes NAME=VALUE, got '=3'"),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_an_exit_code(
    folder: Path, arguments: list[str], code: int, sentence: str
) -> None:
    done = run(*[a.replace("SHOT", str(folder / "shot")) for a in arguments], code=code)
    assert sentence in done.stderr


def test_missing_weights_say_what_to_fetch_and_where_to_put_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAPKIT_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TAPKIT_CACHE", str(tmp_path / "cache"))
    done = run("track", folder / "shot", "--model", "pips2", code=4)
    assert str(tmp_path) in done.stderr and "fetch" in done.stderr

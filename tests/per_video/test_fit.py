"""Fitting: it says what it costs, goes on where it stopped with the same losses, answers both ways, and refuses what it
cannot use."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

import tapkit
from tapkit.engine import fitted
from tapkit.errors import StorageError, UsageError, VideoError, WeightsError
from tapkit.per_video.fit import read_log

SIZES = {"omnimotion": {"samples": 4, "code": 8, "time_hidden": 8, "coupling_hidden": 8, "color_hidden": 8}}
"""Options that make a method small."""


def small(model: str, steps: int = 8) -> dict[str, object]:
    return {"model": model, "preset": "cpu", "device": "cpu", "steps": steps, "max_side": 48, "flow_side": None,
            "pairs": 2, "points": 16, **SIZES.get(model, {})}  # fmt: skip


@pytest.fixture(autouse=True)
def few_pictures(monkeypatch) -> None:
    """Pictures at the end only: they take longer than the steps of these fits."""
    monkeypatch.setattr("tapkit.per_video.fit.SHOWN", (1.0,))


@pytest.fixture
def clip(moving_clip) -> np.ndarray:
    return moving_clip[0][:7]


@pytest.mark.parametrize("model", ["omnimotion", "cadex++"])
def test_a_fit_answers_on_any_frame_both_ways(model: str, clip, tmp_path: Path) -> None:
    said: list[str] = []
    tracker = tapkit.fit(clip, tmp_path / "a.fit", say=said.append, **small(model))
    assert "8 steps of about" in said[0] and "minutes on this machine" in said[0] and "on disk" in said[0]
    tracks = tapkit.load(str(tmp_path / "a.fit"), device="cpu").track(clip, [(0, 20.5, 30.0), (3, 50.0, 12.0)])
    assert tracks.source.model == model and tracks.xy.shape == (2, 7, 2) and np.isfinite(tracks.xy).all()
    assert tracks.valid.all()
    np.testing.assert_array_equal(tracks.xy[[0, 1], [0, 3]], [(20.5, 30.0), (50.0, 12.0)])
    again = tracker.track(clip, [(0, 20.5, 30.0), (3, 50.0, 12.0)])
    np.testing.assert_array_equal(again.xy, tracks.xy)
    page = (tmp_path / "a.fit" / "index.html").read_text()
    assert "pictures/000008/tracks.png" in page and "<polyline" in page
    assert (tmp_path / "a.fit" / "pictures" / "000008" / "tracks.png").is_file()


@pytest.mark.parametrize("model", ["omnimotion", "cadex++"])
def test_an_interrupted_fit_goes_on_with_the_same_losses(model: str, clip, tmp_path: Path, monkeypatch) -> None:
    whole, parts = tmp_path / "whole.fit", tmp_path / "parts.fit"
    first = tapkit.fit(clip, whole, **small(model))

    class Stop(fitted.SafePoint):
        """As if Ctrl-C came after three steps."""

        asked = 0

        @property
        def interrupted(self) -> int | None:
            Stop.asked += bool((parts / "log.csv").exists())
            return 2 if Stop.asked >= 3 else None

        @interrupted.setter
        def interrupted(self, value: int | None) -> None: ...

    monkeypatch.setattr(fitted, "SafePoint", Stop)
    with pytest.raises(KeyboardInterrupt):
        tapkit.fit(clip, parts, **small(model))
    monkeypatch.undo()
    step = json.loads((parts / "fit.json").read_text()) and fitted.read_state(parts / fitted.STATE).facts["step"]
    assert 0 < step < 8
    with open(parts / "log.csv", "a") as file:
        file.write("7,1.0,999")  # a row that a kill cut off, of a step that is computed again
    said: list[str] = []
    second = tapkit.fit(clip, parts, say=said.append, **small(model))
    assert said[0] == f"continues at step {step} of 8"
    curves = [[(row["step"], row["total"]) for row in read_log(folder / "log.csv")] for folder in (whole, parts)]
    assert curves[0] == curves[1] and len(curves[0]) == 8
    for a, b in zip(first.model.network.parameters(), second.model.network.parameters(), strict=True):
        assert torch.equal(a, b)
    said.clear()
    tapkit.fit(clip, parts, say=said.append, **small(model))
    assert "is fitted already" in said[0]


def test_a_crash_loses_what_came_after_the_last_checkpoint(clip, tmp_path: Path, monkeypatch) -> None:
    from tapkit.per_video.cadexpp.method import CadexFit

    whole, parts = tmp_path / "whole.fit", tmp_path / "parts.fit"
    tapkit.fit(clip, whole, **small("cadex++"))
    step = CadexFit.step

    def dying(self: CadexFit, index: int, steps: int) -> object:
        if steps == 8 and index == 5 and (parts / fitted.STATE).exists():
            raise SystemError("killed")
        return step(self, index, steps)

    monkeypatch.setattr(CadexFit, "step", dying)
    monkeypatch.setattr("tapkit.per_video.fit.CHECKPOINT", 0.0)
    with pytest.raises(SystemError):
        tapkit.fit(clip, parts, **small("cadex++"))
    monkeypatch.undo()
    assert fitted.read_state(parts / fitted.STATE).facts["step"] == 5
    tapkit.fit(clip, parts, **small("cadex++"))
    curves = [[(row["step"], row["total"]) for row in read_log(folder / "log.csv")] for folder in (whole, parts)]
    assert curves[0] == curves[1] and len(curves[0]) == 8


def test_a_budget_shortens_the_schedule(clip, tmp_path: Path) -> None:
    options = {**small("cadex++"), "steps": 1_000_000}
    tracker = tapkit.fit(clip, tmp_path / "a.fit", minutes=0.02, **options)
    assert tracker.model.options["steps_done"] < 1000


def test_a_fit_knows_its_video(clip, tmp_path: Path) -> None:
    tracker = tapkit.fit(clip, tmp_path / "a.fit", **small("cadex++", 2))
    with pytest.raises(UsageError, match="7 frames, and this one has 5"):
        tracker.track(clip[:5], [(0, 20.0, 30.0)])
    with pytest.raises(UsageError, match="another video"):
        tracker.track(255 - clip, [(0, 20.0, 30.0)])


def test_another_fit_in_the_folder_is_kept(clip, tmp_path: Path) -> None:
    tapkit.fit(clip, tmp_path / "a.fit", **small("cadex++", 2))
    with pytest.raises(UsageError, match="a fit with other options"):
        tapkit.fit(clip, tmp_path / "a.fit", **small("cadex++", 3))
    with pytest.raises(UsageError, match="another video"):
        tapkit.fit(255 - clip, tmp_path / "a.fit", **small("cadex++", 2))
    tracker = tapkit.fit(clip, tmp_path / "a.fit", force=True, **small("cadex++", 3))
    assert tracker.model.options["steps_done"] == 3
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match="other things in it"):
        tapkit.fit(clip, tmp_path / "b", **small("cadex++", 2))


def test_what_was_prepared_serves_another_fit(clip, tmp_path: Path) -> None:
    tapkit.fit(clip, tmp_path / "a.fit", prepared=tmp_path / "shared", **small("cadex++", 2))
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "shared").rglob("*.npy")}
    tapkit.fit(clip, tmp_path / "b.fit", prepared=tmp_path / "shared", seed=1, **small("cadex++", 2))
    assert files and files == {path: path.stat().st_mtime_ns for path in (tmp_path / "shared").rglob("*.npy")}


@pytest.mark.parametrize("model", ["omnimotion", "cadex++"])
def test_videos_of_which_nothing_can_be_learned_get_a_sentence(model: str, clip, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, clip.shape).astype(np.uint8)
    with pytest.raises(UsageError, match="of 2 frames is too short"):
        tapkit.fit(clip[:2], tmp_path / "two.fit", **small(model))
    with pytest.raises((UsageError, VideoError), match=r"do not overlap|new scene|enough pixels"):
        tapkit.fit(noise, tmp_path / "noise.fit", **small(model))
    still = np.repeat(clip[:1], 5, 0)
    tracks = tapkit.fit(still, tmp_path / "still.fit", **small(model, 2)).track(still, [(2, 20.0, 30.0)])
    assert np.isfinite(tracks.xy).all()


def test_a_scene_cut_gets_a_sentence(clip, tmp_path: Path) -> None:
    dark = np.zeros_like(clip)
    dark[:, 20:40, 30:70] = (250, 20, 20)
    with pytest.raises(VideoError, match="new scene begins on frame 7"):
        tapkit.fit(np.concatenate([clip, dark]), tmp_path / "cut.fit", **small("cadex++"))


def test_a_full_disk_keeps_the_last_checkpoint(clip, tmp_path: Path, monkeypatch) -> None:
    from tapkit.per_video.folder import FitFolder

    tapkit.fit(clip, tmp_path / "a.fit", **small("cadex++", 2))
    before = (tmp_path / "a.fit" / fitted.STATE).read_bytes()
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(StorageError, match="0 MiB are free"):
        tapkit.fit(clip, tmp_path / "b.fit", **small("cadex++", 2))
    monkeypatch.undo()

    def full(*args: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    loaded = FitFolder(tmp_path / "a.fit").load()
    with pytest.raises(StorageError, match=r"[Nn]o space"):
        FitFolder(tmp_path / "a.fit").save(loaded.state, loaded.thumbs, loaded.facts)
    assert (tmp_path / "a.fit" / fitted.STATE).read_bytes() == before


def test_a_fit_goes_on_when_a_full_disk_has_room_again(clip, tmp_path: Path, monkeypatch) -> None:
    from safetensors import torch as tensors

    whole, parts = tmp_path / "whole.fit", tmp_path / "parts.fit"
    tapkit.fit(clip, whole, **small("cadex++"))
    monkeypatch.setattr("tapkit.per_video.fit.CHECKPOINT", 0.0)
    written, save = [], tensors.save_file

    def filling(*args: object) -> None:
        """The disk has room for three checkpoints."""
        if len(written) == 3:
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        written.append(args[1])
        save(*args)

    monkeypatch.setattr("safetensors.torch.save_file", filling)
    with pytest.raises(StorageError, match=r"cannot write .*state\.safetensors: No space left on device"):
        tapkit.fit(clip, parts, **small("cadex++"))
    assert fitted.read_state(parts / fitted.STATE).facts["step"] == 3
    assert not list(parts.glob("*.partial"))
    monkeypatch.setattr("safetensors.torch.save_file", save)
    tapkit.fit(clip, parts, **small("cadex++"))
    curves = [[(row["step"], row["total"]) for row in read_log(folder / "log.csv")] for folder in (whole, parts)]
    assert curves[0] == curves[1] and len(curves[0]) == 8


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_log_that_cannot_be_written_gets_a_sentence(tmp_path: Path) -> None:
    from tapkit.per_video.fit import _Log

    log = _Log(tmp_path / "log.csv", 0)
    (tmp_path / "log.csv").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"cannot write .*log\.csv: No space left on device"):
        log.write(1, 0.1, {"total": 1.0})


def test_a_loss_that_comes_in_later_gets_a_column_then(tmp_path: Path) -> None:
    from tapkit.per_video.fit import _Log

    log = _Log(tmp_path / "log.csv", 0)
    log.write(1, 0.1, {"total": 3.0, "start": 2.0})
    log.write(2, 0.2, {"total": 1.0, "later": 0.5})
    _Log(tmp_path / "log.csv", 2).write(3, 0.3, {"total": 0.25, "later": 0.125})
    rows = [{name: row[name] for name in ("total", "start", "later")} for row in read_log(tmp_path / "log.csv")]
    assert rows == [
        {"total": "3", "start": "2", "later": ""},
        {"total": "1", "start": "", "later": "0.5"},
        {"total": "0.25", "start": "", "later": "0.125"},
    ]


def test_wrong_names_get_a_sentence(clip, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'omnimotion'"):
        tapkit.fit(clip, tmp_path / "a.fit", model="omnimotoin")
    with pytest.raises(UsageError, match="no preset 'slow'"):
        tapkit.fit(clip, tmp_path / "a.fit", preset="slow")
    with pytest.raises(UsageError, match="layers is a share"):
        tapkit.fit(clip, tmp_path / "a.fit", model="omnimotion", layers=2)
    with pytest.raises(UsageError, match="no option 'step'"):
        tapkit.fit(clip, tmp_path / "a.fit", step=4)
    with pytest.raises(UsageError, match="tapkit fit CLIP"):
        tapkit.load("omnimotion", device="cpu")
    with pytest.raises(WeightsError, match="no fit in"):
        tapkit.load(str(tmp_path / "nothing.fit"), device="cpu")
    (tmp_path / "broken.fit").mkdir()
    (tmp_path / "broken.fit" / fitted.STATE).write_bytes(b"x" * 100)
    with pytest.raises(WeightsError, match="cannot be read as a fit"):
        tapkit.load(str(tmp_path / "broken.fit"), device="cpu")


def test_files_that_were_named_from_one_folder_are_found_from_another(clip, tmp_path: Path, monkeypatch) -> None:
    from PIL import Image

    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    (here / "masks").mkdir(parents=True)
    elsewhere.mkdir()
    for frame in range(len(clip)):
        mask = np.zeros(clip.shape[1:3], np.uint8)
        mask[20:40, 30:60] = 255
        Image.fromarray(mask).save(here / "masks" / f"{frame}.png")
    np.save(here / "depth.npy", np.random.default_rng(0).uniform(1, 2, (len(clip), 8, 12)))
    dino = {"model": "dino-tracker", "preset": "cpu", "device": "cpu", "backbone": "untrained", "frames": 1,
            "pairs": 16, "max_side": 56, "flow_side": None, "buddies": False, "masks": "masks"}  # fmt: skip
    cadex = {**small("cadex++"), "depth": "depth.npy"}
    for number, options in enumerate((dino, cadex)):
        monkeypatch.chdir(here)
        tapkit.fit(clip, f"{number}.fit", **{**options, "steps": 1})
        monkeypatch.chdir(elsewhere)
        folder = here / f"{number}.fit"
        assert tapkit.load(str(folder), device="cpu").track(clip, [(0, 20.5, 30.0)]).xy.shape == (1, 7, 2)
        absolute = {name: str(here / name) for name in ("masks", "depth.npy")}
        again = {name: absolute.get(value, value) for name, value in options.items()}
        said: list[str] = []
        tapkit.fit(clip, folder, say=said.append, **{**again, "steps": 1})
        assert "is fitted already" in said[0]

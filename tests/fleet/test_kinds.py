"""Each kind of work as a task gives what its command gives without."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from tapkit.datasets.folder import FolderDataset
from tapkit.fleet import Generating, Item, Labelling, Synthesising, Task, Videos
from tapkit.fleet.worker import Worker
from tapkit.generate.checks import Check
from tapkit.generate.settings import GenerateSettings
from tapkit.generate.video import Job, Report, Result
from tapkit.synth.batch import ClipMaker
from tapkit.synth.config import SynthConfig
from tapkit.synth.photos import PhotoBank
from tapkit.synth.write import write_clips
from tapkit.train.pseudo import dataset
from tapkit.train.pseudo.label import label_videos
from tapkit.train.pseudo.options import LabelOptions


def do_all(task: Task, out: Path) -> None:
    """As the processes do, in this one."""
    worker = Worker(pickle.loads(pickle.dumps(task)), str(out), str(out / "work"), "cpu")
    for item in task.items():
        outcome = worker.do(item, lambda frames: None, lambda: True)
        assert outcome.state == "done", outcome.sentence
        assert worker.do(item, lambda frames: None, lambda: True).state == "there"


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_clips_are_those_of_synth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = SynthConfig(frames=2, size=(32, 32), points=8, shapes=8)
    maker = ClipMaker(config, PhotoBank.procedural(2))
    monkeypatch.setattr("tapkit.synth.batch.ClipMaker", lambda *_: maker)  # which takes seconds to make
    do_all(Synthesising(config, clips=2, seed=5), tmp_path / "fleet")
    write_clips(maker, tmp_path / "alone", 2, 5)
    assert files(tmp_path / "fleet") == files(tmp_path / "alone")


def test_labels_are_those_of_one_video_after_another(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cv2")
    options = LabelOptions(
        ("lucas-kanade",), frames=(4, 4), points=48, size=(64, 64), detector="corners", least=0.0, largest_step=1
    )
    two = [videos / "clip001.mp4", videos / "clip002.mp4"]
    dataset.claim(tmp_path / "fleet", options)
    do_all(Labelling(Videos(two), options), tmp_path / "fleet")
    label_videos(two, tmp_path / "alone", replace(options, device="cpu"))
    alone = {name: content for name, content in files(tmp_path / "alone").items() if name.count("/")}
    assert {name: files(tmp_path / "fleet")[name] for name in alone} == alone
    assert list(FolderDataset(tmp_path / "fleet").names()) == ["clip001.mp4-00", "clip002.mp4-00"]


def test_a_rendered_video_is_put_in_place_whole_and_one_that_fails_a_check_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def render(job: Job, blender: Path, report: Report, started: object = None) -> Result:
        report({"what": "frame", "number": 0})
        for name in ("tracks.npz", "frames/00000.jpg", ".tracks.npz.1-a.partial"):
            (job.clip / name).parent.mkdir(parents=True, exist_ok=True)
            (job.clip / name).write_text(json.dumps(job.description["seed"]))
        return Result(job.name, job.clip, [Check("sharp", float(job.description["seed"]), 4.0, "at most", "px")])

    monkeypatch.setattr("tapkit.generate.video.make_video", render)
    monkeypatch.setattr("tapkit.generate.program.find_blender", lambda: Path("blender"))
    task = Generating(GenerateSettings(frames=2), 2, ("calibration",), seed=4)
    assert list(task.items()) == [Item("calibration_000004", "4"), Item("calibration_000005", "5")]
    worker, told = Worker(task, str(tmp_path), str(tmp_path / "work"), "cpu"), []
    first, second = (worker.do(item, told.append, lambda: True) for item in task.items())
    assert (first.state, second.state, told) == ("done", "failed", [1, 1]) and "failed a check: " in second.sentence
    found = {"calibration_000004/tracks.npz": b"4", "calibration_000004/frames/00000.jpg": b"4"}
    assert files(tmp_path) == found

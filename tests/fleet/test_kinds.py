"""Synthetic clips and evaluations as tasks give what `tapkit synth` and `tapkit eval` give."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from tapkit.datasets import open_dataset
from tapkit.evaluation.protocol import Protocol
from tapkit.evaluation.run import Contestant, evaluate
from tapkit.fleet import Evaluating, Synthesising, Task
from tapkit.fleet.worker import Worker
from tapkit.synth.batch import ClipMaker
from tapkit.synth.config import SynthConfig
from tapkit.synth.write import write_clips


def do_all(task: Task, out: Path) -> None:
    """As the processes do, in this one."""
    worker = Worker(pickle.loads(pickle.dumps(task)), str(out), str(out / "work"), "cpu")
    for item in task.items():
        outcome = worker.do(item, lambda frames: None, lambda: True)
        assert outcome.state == "done", outcome.sentence
        assert worker.do(item, lambda frames: None, lambda: True).state == "there"


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_clips_are_those_of_synth(tmp_path: Path) -> None:
    config = SynthConfig(frames=2, size=(32, 32), points=8)
    do_all(Synthesising(config, clips=2, seed=5), tmp_path / "fleet")
    write_clips(ClipMaker(config), tmp_path / "alone", 2, 5)
    assert files(tmp_path / "fleet") == files(tmp_path / "alone")


def test_predictions_are_taken_up_by_eval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cv2")
    protocol = Protocol(resolution="native")
    names = open_dataset("tiny").names()[:1]
    monkeypatch.setattr(type(open_dataset("tiny")), "names", lambda self: names)
    do_all(Evaluating("tiny", protocol, "lucas-kanade"), tmp_path)
    steps: list[bool] = []
    contestant = Contestant.of("lucas-kanade", device="cpu")
    evaluate(open_dataset("tiny"), [contestant], protocol, tmp_path, progress=lambda step: steps.append(step.cached))
    assert steps == [True]

"""`--jobs` and `--ray` of the other commands. The processes are played by this one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import run

from tapkit.fleet import Summary, Task
from tapkit.fleet.begin import begin
from tapkit.fleet.summary import Status, summary_of
from tapkit.fleet.worker import Worker, note

pytest.importorskip("cv2")


def here(job: Task, output: str, state: Path | None = None, **how: Any) -> Summary:
    """In place of `tapkit.cli.batch.run_fleet`."""
    with begin(job, output, state, False, how.get("force", False)) as (worklist, folder):
        worker, owner = Worker(job, output, str(folder / "work"), "cpu"), worklist.enter()
        while (claim := worklist.claim(owner)) is not None:
            note(worklist, owner, claim.id, worker.do(claim.item, lambda frames: None, lambda: True))
        counts = worklist.counts()
        return summary_of(worklist, Status(counts, 0, 1.0, counts.frames))


def test_eval_predicts_with_several_and_reports_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tapkit.datasets import open_dataset

    names = open_dataset("tiny").names()[:1]
    monkeypatch.setattr(type(open_dataset("tiny")), "names", lambda self: names)
    monkeypatch.setattr("tapkit.cli.eval.run_fleet", here)
    said = run("eval", "tiny", "-m", "lucas-kanade", "--device", "cpu", "-o", tmp_path, "--jobs", 2).stderr
    assert said.count("(cached)") == 1 and (tmp_path / "result.json").is_file()


def test_pseudo_labels_by_several_have_one_report(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tapkit.cli.pseudo_label.run_fleet", here)
    small = ("--frames", "4", "--points", 48, "--size", "64x64", "--detector", "corners", "--least", 0, "--step", 1)
    command = ("pseudo-label", videos / "clip001.mp4", videos / "broken.mp4", tmp_path / "out", *small)
    done = run(*command, "-m", "lucas-kanade", "--device", "cpu", "--jobs", 2, code=1)
    assert "failed: " in done.stdout and "broken.mp4" in done.stdout
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert "broken.mp4" in json.dumps(report) and [p["name"] for p in report["pieces"]] == ["clip001.mp4-00"]


@pytest.mark.parametrize(
    "command",
    [
        "eval tiny -m lucas-kanade --jobs 2 --figures",
        "eval tiny -m lucas-kanade --ray local --shard 1/2",
        "synth out --jobs 2 --sheet sheet.png",
        "generate -o out --ray local --shard 1/2",
        "batch nothing -o out",
        "batch nothing -o out --skeleton a-b",
    ],
)
def test_what_does_not_go_together_is_said(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = run(*command.split(), code=3 if command == "batch nothing -o out" else 2).stderr
    assert said.count("\n") == 1 and ("leave out" in said or "--" in said or "no file" in said)
    assert not list(tmp_path.rglob("*.npz"))

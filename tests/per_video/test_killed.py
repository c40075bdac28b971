"""A fit whose process is killed (SIGKILL) at any moment goes on from its last checkpoint, with the curve of an unbroken
one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import tapkit
from tapkit.engine.fitted import STATE, read_state
from tapkit.per_video.fit import read_log

STEPS = 60
OPTIONS = {"model": "cadex++", "preset": "cpu", "device": "cpu", "steps": STEPS, "max_side": 48, "flow_side": None,
           "pairs": 2, "points": 16}  # fmt: skip
CHILD = f"""
import sys
import numpy as np, torch
torch.set_num_threads(1)
import tapkit
from tapkit.per_video import fit
fit.CHECKPOINT, fit.SHOWN = 0.0, (1.0,)
tapkit.fit(np.load(sys.argv[1]), sys.argv[2], **{OPTIONS!r})
"""
PATIENCE = 120.0


def killed(clip: Path, folder: Path, when: Callable[[], bool]) -> None:
    """Fit in a process of its own, which is killed as soon as `when` says so."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(clip), str(folder)], env=environment)
    try:
        end = time.monotonic() + PATIENCE
        while not when():
            assert child.poll() is None, "the fit ended before it could be killed"
            assert time.monotonic() < end, "the fit did not get there"
            time.sleep(0.001)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL on Windows")
def test_a_killed_fit_loses_no_more_than_one_checkpoint(moving_clip, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("tapkit.per_video.fit.SHOWN", (1.0,))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the child: sums of several threads round differently
    frames, clip = moving_clip[0][:7], tmp_path / "clip.npy"
    np.save(clip, frames)
    whole, parts = tmp_path / "whole.fit", tmp_path / "parts.fit"
    try:
        tapkit.fit(frames, whole, **OPTIONS)
        killed(clip, parts, lambda: any((parts / "prepared").rglob("0*.npy")))  # some of the flow is there
        assert not (parts / STATE).exists()
        killed(clip, parts, lambda: len(read_log(parts / "log.csv")) >= 20)
        logged, step = int(read_log(parts / "log.csv")[-1]["step"]), read_state(parts / STATE).facts["step"]
        assert logged - 1 <= step <= logged < STEPS  # a row is written, then its checkpoint
        said: list[str] = []
        tapkit.fit(frames, parts, say=said.append, **OPTIONS)
    finally:
        torch.set_num_threads(threads)
    assert said[0] == f"continues at step {step} of {STEPS}"
    curves = [[(row["step"], row["total"]) for row in read_log(folder / "log.csv")] for folder in (whole, parts)]
    assert len(curves[0]) == STEPS and curves[0] == curves[1]
    states = [read_state(folder / STATE).state.model for folder in (whole, parts)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])

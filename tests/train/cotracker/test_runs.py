"""From the command line to weights that the tracker reads, and on from these; runs are resumed exactly."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch

import tapkit
from tapkit.cli.main import main
from tapkit.datasets.base import Clip
from tapkit.datasets.folder import write_clip
from tapkit.datasets.frames import ArrayFrames
from tapkit.train import checkpoint
from tapkit.train.config import Stage, TrainConfig
from tapkit.train.cotracker.presets import TINY_SIZES
from tapkit.train.cotracker.recipe import build
from tapkit.train.cotracker.settings import CoTrackerSettings
from tapkit.train.run import Run, RunOptions
from tapkit.train.trainer import Trainer
from tapkit.types import VideoInfo

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path):
    """One clip of noise that moves, 20 frames of 128x128, with 30 tracks."""
    random = np.random.default_rng(0)
    wide = np.kron(random.integers(0, 255, (28, 28, 3)), np.ones((6, 6, 1))).astype(np.uint8)
    video = np.stack([wide[t : t + 128, 2 * t : 2 * t + 128] for t in range(20)])
    start = random.uniform(40, 120, (30, 1, 2))
    xy = (start - np.arange(20)[:, None] * np.array([2.0, 1.0])).astype(np.float32)
    visible = ((xy >= 0) & (xy < 128)).all(-1)
    clip = Clip("one", xy, visible, (128, 128), lambda: ArrayFrames(video, VideoInfo(128, 128, frames=20)))
    write_clip(tmp_path / "clips" / "one", clip)
    return tmp_path / "clips"


def command(monkeypatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["tapkit", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def test_what_training_exports_is_tracked_with_and_trained_on(tmp_path, folder, monkeypatch, capsys):
    weights = tmp_path / "mine.safetensors"
    tiny = ["--preset", "tiny", "--total-steps", 2, "--data", folder, "--device", "cpu"]
    first = ["train", "cotracker3-online", *tiny, "--steps", 1, "--out", tmp_path / "run", "--export", weights]
    assert command(monkeypatch, *first) == 0
    assert "from random weights" in capsys.readouterr().out
    card = json.loads(weights.with_suffix(".json").read_text())
    assert card["model"] == "cotracker3-online" and "CC-BY-NC" in card["licence"] and card["steps"] == 1

    tracker = tapkit.load("cotracker3-online", weights=weights, input_size=None, support="none")
    assert tracker.model.network.config == TINY_SIZES, "the sizes are read off the weights"
    video = np.zeros((18, 64, 64, 3), np.uint8)
    assert tracker.track(video, queries=[(0, 20.0, 20.0)]).xy.shape == (1, 18, 2)

    again = ["train", "cotracker3-online", *tiny, "--out", tmp_path / "next", "--init", weights, "--minutes", 0]
    assert command(monkeypatch, *again) == 0
    assert "from mine.safetensors" in capsys.readouterr().out
    assert checkpoint.read_run(tmp_path / "next" / "state")["initial"] == "mine.safetensors"


def test_wrong_models_and_weights_are_one_sentence(tmp_path, folder, monkeypatch, capsys):
    out = ["--out", tmp_path / "run", "--device", "cpu"]
    assert command(monkeypatch, "train", "lucas-kanade", *out) == 2
    assert "lucas-kanade cannot be trained with tapkit; these can: strand" in capsys.readouterr().err
    assert command(monkeypatch, "train", "strand", "--model", "gmrw", *out) == 2
    assert "two models are given" in capsys.readouterr().err
    strange = tmp_path / "strange.pt"
    torch.save({"weight": torch.zeros(3)}, strange)
    tiny = ["train", "cotracker3-online", "--preset", "tiny", "--data", folder, "--init", strange, *out]
    assert command(monkeypatch, *tiny) == tapkit.errors.WeightsError.exit_code
    assert "these are not weights of cotracker3-online" in capsys.readouterr().err
    assert not (tmp_path / "run" / "state").exists()


def test_an_interrupted_run_ends_as_one_that_was_not(tmp_path, drift):
    settings = CoTrackerSettings(iterations=1, sizes=TINY_SIZES)
    stages = (Stage(1, 64, 20, 1, 4, least_frames=17), Stage(2, 64, 16, 1, 4))
    config = TrainConfig(
        stages, model="cotracker3-online", settings=settings, schedule="one-cycle-cosine", undecayed=(), accumulate=2
    )

    def run(out, **options) -> Run:
        trainer = Trainer(config, build(config, CPU), drift(), CPU, "float32")
        return Run(trainer, RunOptions(out=tmp_path / out, validate_clips=1, **options))

    whole = run("whole")
    whole.run(lambda _: None)
    run("parts", steps=1).run(lambda _: None)
    resumed = run("parts", resume=True)
    assert resumed.trainer.step == 1
    resumed.run(lambda _: None)
    ends = [r.trainer.tensors() for r in (whole, resumed)]
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())

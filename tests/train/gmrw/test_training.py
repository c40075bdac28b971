"""GMRW learns without labels: the loss falls, clips it has not seen are tracked better, runs are resumed exactly."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import tapkit
from tapkit.cli.main import main
from tapkit.errors import StorageError, UsageError
from tapkit.flow.gmrw.network import GmrwNetwork
from tapkit.train.batch import VALIDATION_SEEDS, Batch
from tapkit.train.config import Stage, TrainConfig
from tapkit.train.gmrw import recipe
from tapkit.train.gmrw.settings import GmrwSettings
from tapkit.train.launch import Data, make_source
from tapkit.train.run import Run, RunOptions
from tapkit.train.schedule import validation_stage
from tapkit.train.sources import SyntheticSource
from tapkit.train.trainer import Trainer
from tapkit.train.validate import on_batches
from tapkit.train.videos import VideoSource
from tapkit.video import open_video

CPU = torch.device("cpu")
SAMPLE = Path(tapkit.__file__).parent / "video" / "samples" / "rabbit.mp4"
TINY = TrainConfig(
    stages=(Stage(40, 80, 2, 1, 32, speed=0.5),),
    learning_rate=3e-4,
    warmup=10,
    clip_norm=20.0,
    ema_decay=0.9,
    model="gmrw",
    settings=GmrwSettings(crop=64, smoothness=0.0),
)


def trainer(config: TrainConfig, source, layers: int = 1) -> Trainer:
    """A trainer of the network with fewer layers than the published one, which costs a third."""
    torch.manual_seed(config.seed)
    network = recipe.initialise(GmrwNetwork(layers))
    return Trainer(config, recipe.GmrwTraining(network, config, config.settings, 1), source, CPU, "float32")


class NoLabels:
    """The same clips without their positions, so that nothing can be learned from them."""

    description = "synthetic clips without labels"

    def __init__(self, source: SyntheticSource) -> None:
        self.source = source

    def batch(self, stage: Stage, seed: int) -> Batch:
        batch = self.source.batch(stage, seed)
        if seed >= VALIDATION_SEEDS:
            return batch
        nothing = torch.zeros_like(batch.visible)
        return Batch(batch.video, torch.full_like(batch.xy, torch.nan), nothing, nothing)


def test_the_loss_falls_and_unseen_clips_are_tracked_better() -> None:
    source = NoLabels(SyntheticSource(None, CPU))
    run = trainer(TINY, source, layers=2)
    stage = validation_stage(TINY.stages[0])
    with run.averaged() as start:
        before = on_batches(start, source, stage, 2)
    walks = [run.train_step()["walk"] for _ in range(TINY.steps)]
    with run.averaged() as trained:
        after = on_batches(trained, source, stage, 2)
    assert np.mean(walks[-15:]) < 0.75 * np.mean(walks[:15])
    assert after.delta_avg > before.delta_avg + 5 and after.aj > before.aj + 3


def test_a_resumed_run_ends_in_the_same_weights(tmp_path: Path) -> None:
    config = replace(
        TINY,
        stages=(Stage(4, 64, 2, 1, 4),),
        settings=GmrwSettings(crop=48, smoothness=10.0, smoothness_from=1, smoothness_full=3),
    )
    source = VideoSource(SAMPLE, CPU, gap=2, validation=SyntheticSource(None, CPU))
    options = RunOptions(out=tmp_path / "whole", validate_clips=1, steps=4)
    whole = Run(trainer(config, source), options)
    assert set(whole.run(lambda _: None)) == {"synthetic"}
    parts = replace(options, out=tmp_path / "parts", steps=2)
    Run(trainer(config, source), parts).run(lambda _: None)
    resumed = Run(trainer(config, source), replace(parts, resume=True))
    assert resumed.trainer.step == 2
    resumed.run(lambda _: None)
    ends = [run.trainer.tensors() for run in (whole, resumed)]
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())
    rows = (tmp_path / "whole" / "train.csv").read_text().splitlines()
    assert {"walk", "smoothness", "return_probability"} <= set(rows[0].split(","))


def test_every_parameter_learns_and_measuring_changes_none(drift) -> None:
    run = trainer(replace(TINY, stages=(Stage(2, 64, 2, 1, 4),), settings=GmrwSettings(crop=32)), drift(), layers=2)
    stage = validation_stage(run.stage)
    before = {name: value.clone() for name, value in run.tensors().items()}
    with run.averaged() as averaged:
        first = on_batches(averaged, drift(), stage, 1)
        assert on_batches(averaged, drift(), stage, 1) == first
    assert all(torch.equal(value, before[name]) for name, value in run.tensors().items())
    run.train_step()
    same = {name for name, value in run.tensors().items() if torch.equal(value, before[name])}
    assert {name for name in same if "downsample.0.bias" not in name} == set()


def test_pieces_of_videos_are_frames_at_the_gap_asked_for() -> None:
    source = VideoSource(SAMPLE, CPU, gap=3)
    stage = Stage(1, 64, 2, 2, 1)
    batch = source.batch(stage, 11)
    assert batch.video.shape == (2, 2, 3, 64, 64) and batch.xy.shape == (2, 0, 2, 2)
    assert torch.equal(batch.video, source.batch(stage, 11).video)
    assert not torch.equal(batch.video, source.batch(stage, 12).video)
    with open_video(SAMPLE) as video:
        frames = [torch.from_numpy(f.image).permute(2, 0, 1) for f in video.frames(size=(64, 64))]
    first = [n for n, frame in enumerate(frames) if torch.equal(frame, batch.video[0, 0])]
    assert any(torch.equal(frames[n + 3], batch.video[0, 1]) for n in first if n + 3 < len(frames))
    far = VideoSource(SAMPLE, CPU, gap=10_000).batch(stage, 0)
    assert torch.equal(far.video[0], torch.stack([frames[0], frames[-1]]))


def test_videos_are_found_in_folders_and_other_files_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no video")
    with pytest.raises(StorageError, match="no readable video"):
        VideoSource(tmp_path, CPU)
    (tmp_path / "deep").mkdir()
    shutil.copy(SAMPLE, tmp_path / "deep" / "a.mp4")
    assert [path.name for path, _ in VideoSource(tmp_path, CPU).videos] == ["a.mp4"]
    with pytest.raises(UsageError, match="gap"):
        VideoSource(tmp_path, CPU, gap=0)


def test_validation_batches_have_points() -> None:
    stage = Stage(1, 64, 8, 1, 5)
    source = make_source(TINY, Path(), CPU, Data(videos=SAMPLE))
    assert source.batch(stage, VALIDATION_SEEDS).xy.shape == (1, 5, 8, 2)


def test_what_needs_labels_cannot_learn_from_videos(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="strand needs annotated clips"):
        make_source(TrainConfig(TINY.stages), tmp_path, CPU, Data(videos=SAMPLE))
    with pytest.raises(UsageError, match="not on both"):
        make_source(TINY, tmp_path, CPU, Data(videos=SAMPLE, folder=tmp_path))
    with pytest.raises(UsageError, match="pairs"):
        recipe.build(replace(TINY, stages=(Stage(1, 64, 3, 1, 1),)), CPU)


def test_the_command_trains_gmrw_on_videos(tmp_path: Path, monkeypatch, capsys) -> None:
    def command(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["tapkit", "train", "--device", "cpu", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        return int(stopped.value.code or 0)

    out = str(tmp_path / "walk")
    asked = ("--model", "gmrw", "--videos", str(SAMPLE), "--out", out, "--total-steps", "3", "--minutes", "0")
    weights = tmp_path / "walk.safetensors"
    assert command(*asked, "--export", str(weights)) == 0
    said = capsys.readouterr().out
    assert "gmrw, 4.35 M parameters" in said and "1 video of rabbit.mp4, without labels" in said
    assert tapkit.load("gmrw", weights=weights, pixel_range="0..1").card.id == "gmrw"
    assert command("--videos", str(SAMPLE), "--out", str(tmp_path / "other")) == 2
    assert "cannot learn from videos alone" in capsys.readouterr().err

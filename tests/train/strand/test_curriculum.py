"""The preset `lite0`, in small: from a backbone alone through all its stages, stopped and resumed at each switch."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tapkit.train.cache import CachedSource
from tapkit.train.config import TrainConfig
from tapkit.train.run import Run, RunOptions
from tapkit.train.schedule import first_step, learning_rate, preset
from tapkit.train.strand import recipe as strand
from tapkit.train.strand.presets import LITE0, LITE0_CLIPS, PRESETS
from tapkit.train.trainer import Trainer

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))
import lite0_backbone

CPU = torch.device("cpu")
STEPS = 8
FRAMES = {4: 3, 12: 4, 24: 6, 120: 12}
"""Of the stages, and of those here."""
LONG = 2
"""Number of the first long clip."""


def in_small() -> TrainConfig:
    """The preset with all that decides what is learned when, of few small clips."""
    config = preset(PRESETS, "lite0", STEPS)
    stages = tuple(
        replace(
            stage,
            size=64,
            frames=FRAMES[stage.frames],
            least_frames=stage.least_frames and 9,
            batch=min(stage.batch, 2),
            points=6,
            truncate=min(stage.truncate, 4),
        )
        for stage in config.stages
    )
    cache = replace(LITE0_CLIPS, clips=LONG, size=64, frames=6, points=12, long=1, long_frames=12)
    return replace(config, stages=stages, cache=cache)


def make_run(out: Path, source, config: TrainConfig, init: Path, **options) -> Run:
    cached = CachedSource(source, config.cache, out / "cache", CPU)
    trainer = Trainer(config, strand.build(config, CPU), cached, CPU, "float32")
    return Run(trainer, RunOptions(out, init=init, validate_clips=1, **options))


def quiet(_: str) -> None:
    pass


def tensors(run: Run) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.trainer.tensors().items()}


@pytest.fixture
def first(tmp_path, monkeypatch) -> Path:
    """Initial weights: a backbone, nothing else that was trained."""
    from safetensors.torch import save_file

    from tapkit.nn.efficientnet_lite import EfficientNetLite0

    torch.manual_seed(5)
    backbone = EfficientNetLite0().state_dict()
    monkeypatch.setattr(lite0_backbone, "folded", lambda published: backbone)
    save_file(lite0_backbone.initial_weights({}, None), tmp_path / "first.safetensors")
    return tmp_path / "first.safetensors"


def parts(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """Which parts of the network moved: backbone, heads, tracking, refinement."""
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    named = {"encoder.backbone.": "backbone", "encoder.": "heads", strand.REFINEMENT: "refinement", "": "tracking"}
    return {
        next(kind for beginning, kind in named.items() if name.startswith(beginning))
        for name in moved - set(strand.IN_MATCHING)
    }


def test_it_goes_through_all_stages_and_ends_the_same_when_it_is_stopped_at_each_switch(tmp_path, drift, first):
    config = in_small()
    whole = make_run(tmp_path / "whole", drift(), config, first)
    whole.run(quiet)
    switches = [first_step(config, number) for number in (1, 2, 3)]
    out, cached = tmp_path / "parts", tmp_path / "parts" / "cache"
    states = []
    for number, (start, stop) in enumerate(zip([0, *switches], [*switches, STEPS], strict=True)):
        part = make_run(out, drift(), config, first, steps=stop - start, resume=number > 0)
        states.append(tensors(part))
        part.run(quiet)
        states.append(tensors(part))
        moved = parts(*states[-2:])
        assert moved == {"heads" if number == 0 else "tracking", "refinement"}, f"stage {number + 1}"
        lengths = {len(np.load(path, mmap_mode="r")) for path in cached.glob("*.npy")}
        assert lengths == ({6} if number < 3 else {6, 12}), "only the last stage needs long clips"
    assert (cached / f"{LONG:05d}.npy").is_file()
    ended = tensors(whole)
    assert whole.trainer.step == part.trainer.step == STEPS
    assert all(torch.equal(value, states[-1][name]) for name, value in ended.items())


def test_the_rate_of_each_stage_ends_at_almost_nothing_so_that_the_weights_at_the_end_count():
    for number, stage in enumerate(LITE0.stages):
        start = first_step(LITE0, number)
        rates = [learning_rate(LITE0, step) for step in range(start, start + stage.steps)]
        assert max(rates) == pytest.approx(stage.learning_rate)
        assert rates[-1] < 0.02 * stage.learning_rate
    assert LITE0.stages[-1].least_frames >= 96
    assert LITE0.stages[-1].frames <= LITE0.cache.long_frames, "no clip is played forwards and backwards"


def test_fresh_initial_weights_have_the_backbone_alone_others_the_tracking_part_that_is_named(monkeypatch):
    torch.manual_seed(5)
    from tapkit.models.strand.encoder import StrandConfig
    from tapkit.models.strand.network import Network

    trained = Network(StrandConfig(encoder="lite0", evidence=True)).state_dict()
    backbone = {
        name.removeprefix("encoder.backbone."): value
        for name, value in trained.items()
        if name.startswith("encoder.backbone.")
    }
    monkeypatch.setattr(lite0_backbone, "folded", lambda published: backbone)
    fresh, after = (lite0_backbone.initial_weights({}, rest) for rest in (None, trained))
    assert parts(trained, fresh) == {"heads", "tracking"}
    assert parts(trained, after) == {"heads"}
    # What the first run of the weights in the package had set by hand is how a network begins.
    assert fresh["prefer"] == 1 and fresh["answer.bias"][2] == 4

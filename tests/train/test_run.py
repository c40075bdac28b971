"""A run: learns, stops when told, goes on to the step, and leaves weights that load."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tapkit import weights
from tapkit.errors import StorageError, UsageError
from tapkit.models.strand.tracker import build
from tapkit.train import checkpoint
from tapkit.train.config import PRESETS, Stage, TrainConfig, preset
from tapkit.train.loop import Diverged, RunOptions, Trainer
from tapkit.train.validate import figures

CPU = torch.device("cpu")
TINY = TrainConfig(stages=(Stage(3, 64, 3, 1, 6), Stage(2, 64, 5, 1, 6, truncate=2)), warmup=2, ema=0.9)
ALL_KINDS = TrainConfig(
    stages=(
        Stage(2, 64, 3, 2, 6, task="pairs", rate=1e-3),
        Stage(2, 64, 4, 1, 6, encoder=False),
        Stage(2, 64, 4, 1, 6, truncate=2, rate=3e-4),
    ),
    warmup=2,
    ema=0.9,
)


def quiet(_: str) -> None:
    pass


def trainer(out: Path, lessons, config: TrainConfig = TINY, **options) -> Trainer:
    plain = {"precision": "float32", "validate_clips": 1, **options}
    return Trainer(config, lessons, CPU, RunOptions(out=out, **plain))


def tensors(of: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in of.network.state_dict().items()}


def parameters(of: Trainer) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in of.network.named_parameters()}


@pytest.mark.parametrize("config", [TINY, ALL_KINDS], ids=["clips alone", "all kinds of stages"])
@pytest.mark.parametrize("cut", [2, 3])
def test_a_run_that_was_cut_off_goes_on_exactly_as_if_it_had_not_been(tmp_path, drift, config, cut):
    whole = trainer(tmp_path / "whole", drift(), config)
    whole.run(quiet)
    first = trainer(tmp_path / "parts", drift(), config, steps=cut)
    first.run(quiet)
    second = trainer(tmp_path / "parts", drift(), config, resume=True)
    assert second.step == cut
    second.run(quiet)
    assert second.step == whole.step == config.steps
    assert all(torch.equal(a, tensors(second)[name]) for name, a in tensors(whole).items())
    assert all(torch.equal(a, second.average[name]) for name, a in whole.average.items())
    rows = list(csv.DictReader((tmp_path / "parts" / "validation.csv").open()))
    assert [row["step"] for row in rows] == [str(cut), str(config.steps)]


def test_a_stage_changes_what_it_trains_and_nothing_else(tmp_path, drift):
    run = trainer(tmp_path / "run", drift(), ALL_KINDS)
    changed = []
    for _ in range(3):
        before = tensors(run)
        for _ in range(2):
            run.train_step()
        after = tensors(run)
        changed.append({name for name, value in before.items() if not torch.equal(value, after[name])})
    features, clips, all_ = changed
    assert {name.split(".")[0] for name in features} == {"encoder", "temperature", "look"}
    assert {name for name in features if name.startswith("look")} == {"look.sharpness"}
    assert any("running_mean" in name for name in features)
    assert not any(name.startswith("encoder") for name in clips) and "recurrent.of_state.weight" in clips
    assert any(name.startswith("encoder") for name in all_)
    assert not any("running" in name for name in all_), "statistics are gathered from pairs alone"


def test_a_stage_may_have_a_rate_of_its_own(tmp_path, drift):
    run = trainer(tmp_path / "run", drift(), replace(ALL_KINDS, last_rate=0.5))
    rates = [run.rate(step) for step in range(6)]
    assert rates[0] == 1e-3 and rates[1] == pytest.approx(1e-3)
    assert rates[4] == pytest.approx(3e-4)
    assert rates[2] > rates[3] and rates[3] == pytest.approx(run.config.rate * (0.5 + 0.25 * (1 + np.cos(np.pi / 4))))


def test_a_signal_stops_after_the_step_at_hand_and_the_state_is_kept(tmp_path, drift):
    def interrupt(seed: int) -> None:
        if seed == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    said: list[str] = []
    before = signal.getsignal(signal.SIGTERM)
    stopped = trainer(tmp_path / "run", drift(interrupt))
    stopped.run(said.append)
    assert stopped.step == 2 and "--resume" in said[-1]
    assert signal.getsignal(signal.SIGTERM) is before
    assert trainer(tmp_path / "run", drift(), resume=True).step == 2


def test_the_minutes_end_a_run(tmp_path, drift):
    short = trainer(tmp_path / "run", drift(), minutes=0.0)
    short.run(quiet)
    assert short.step == 0 and checkpoint.exists(tmp_path / "run" / "state")


def test_a_run_is_not_begun_where_another_is(tmp_path, drift):
    trainer(tmp_path / "run", drift(), minutes=0.0).run(quiet)
    with pytest.raises(UsageError, match="--resume"):
        trainer(tmp_path / "run", drift())
    with pytest.raises(StorageError, match="no state"):
        trainer(tmp_path / "nothing", drift(), resume=True)


def test_the_state_fits_between_two_pieces_and_half_of_it_loses_little(tmp_path, drift):
    run = trainer(tmp_path / "run", drift())
    run.train_step()
    run.save()
    state = tmp_path / "run" / "state"
    exact, _ = checkpoint.load(state, run.network)
    run.options = replace(run.options, compact=True)
    run.save()
    files = list(state.iterdir())
    assert sum(f.stat().st_size for f in files) <= 45e6
    assert max(f.stat().st_size for f in files) <= 16 * 2**20 and len(files) <= 6, "what the GPU machine hands back"
    halved, _ = checkpoint.load(state, run.network)
    for part, share in (("model", 0.0), ("average", 1e-3), ("first", 1e-2), ("second", 1e-2)):
        for name, tensor in exact[part].items():
            torch.testing.assert_close(halved[part][name], tensor, rtol=share, atol=1e-6 if share else 0.0)


def test_a_state_cut_off_while_written_leaves_the_one_before(tmp_path, drift):
    run = trainer(tmp_path / "run", drift(), minutes=0.0)
    run.run(quiet)
    state = tmp_path / "run" / "state"
    state.rename(state.with_name("state.old"))
    half = state.with_name("state.new")
    half.mkdir()
    (half / "model-0.safetensors").write_bytes(b"cut off")
    assert trainer(tmp_path / "run", drift(), resume=True).step == 0


def test_exported_weights_load_into_the_tracker_and_their_card_says_where_they_come_from(tmp_path, drift):
    path = tmp_path / "strand.safetensors"
    run = trainer(tmp_path / "run", drift(), export=path, steps=1, command="tapkit train --out run")
    run.run(quiet)
    loaded = build(weights.read(path), precision="float32")
    assert path.stat().st_size <= 12 * 2**20
    torch.testing.assert_close(loaded.network.temperature, run.average["temperature"], atol=2e-3, rtol=0)
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["sha256"] == weights.sha256(path) and card["licence"] == "Apache-2.0"
    assert card["steps"] == 1 and card["data"] == "drifting noise" and card["commands"] == ["tapkit train --out run"]
    again = trainer(tmp_path / "next", drift(), init=path)
    torch.testing.assert_close(again.network.temperature, run.average["temperature"], atol=2e-3, rtol=0)


def test_the_average_leaves_good_weights_slowly_and_random_ones_quickly(tmp_path, drift):
    run = trainer(tmp_path / "run", drift(), export=tmp_path / "strand.safetensors", steps=1)
    run.run(quiet)
    further = trainer(tmp_path / "next", drift(), init=tmp_path / "strand.safetensors")
    for trained in (trainer(tmp_path / "new", drift()), further):
        begun = trained.average["look.sharpness"].clone()
        trained.train_step()
        now = trained.network.look.sharpness.detach()
        share = (trained.average["look.sharpness"] - begun) / (now - begun)
        slow = 1 - trained.config.ema if trained is further else 1 - 2 / 11
        torch.testing.assert_close(share, torch.full_like(share, slow), rtol=0.2, atol=1e-3)
    further.save()
    assert trainer(tmp_path / "next", drift(), resume=True).initial == "strand.safetensors"


def test_gradients_that_are_not_finite_are_skipped_but_not_for_ever(tmp_path, drift):
    run = trainer(tmp_path / "run", drift())
    before = parameters(run)
    for p in run.network.parameters():
        p.grad = torch.full_like(p, float("nan"))
    for _ in range(20):
        run._apply_gradients()
    assert all(torch.equal(a, parameters(run)[name]) for name, a in before.items())
    with pytest.raises(Diverged, match="20 steps"):
        run._apply_gradients()


def test_the_rate_grows_then_falls(tmp_path, drift):
    run = trainer(tmp_path / "run", drift(), preset("finetune"))
    config = run.config
    rates = [run.rate(step) for step in (0, config.warmup - 1, config.steps // 2, config.steps)]
    assert rates[0] < rates[2] < rates[1] == config.rate
    assert rates[3] == pytest.approx(config.rate * config.last_rate)


@pytest.mark.parametrize("name", list(PRESETS))
@pytest.mark.parametrize("steps", [7, 1000])
def test_presets_are_stretched_to_exactly_the_steps_asked_for(name, steps):
    config = preset(name, steps, seed=3)
    assert config.steps == steps and config.seed == 3
    assert len(config.stages) == len(PRESETS[name].stages)
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config.stage_at(0)[0] == 0 and config.stage_at(steps + 5)[0] == len(config.stages) - 1


def test_impossible_settings_are_refused():
    with pytest.raises(UsageError, match="multiple of 16"):
        Stage(1, 100, 4, 1, 1)
    with pytest.raises(UsageError, match="no preset"):
        preset("huge")
    with pytest.raises(UsageError, match="stages"):
        preset("cpu", 2)


def test_training_needs_neither_a_video_library_nor_a_command_line_library():
    code = (
        "import sys, tapkit.train.__main__, tapkit.synth.batch, tapkit.train.loop\n"
        "print([m for m in ('av', 'typer', 'cv2', 'rich', 'click', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_module_trains_and_says_errors_in_one_sentence(tmp_path, capsys):
    from tapkit.train.__main__ import main

    small = ["--total-steps", "40", "--steps", "1", "--device", "cpu", "--precision", "float32"]
    assert main(["--out", str(tmp_path / "run"), *small, "--minutes", "0"]) == 0
    assert main(["--out", str(tmp_path / "run"), *small]) == 2
    assert "go on with it (--resume)" in capsys.readouterr().err


def test_two_minutes_on_a_processor_are_enough_to_see_it_learn(tmp_path):
    """A few made clips, over and over, at 64x64, pairs and then clips. Untrained it follows pixels already."""
    from tapkit.train.data import MadeLessons

    stage = Stage(45, 64, 4, 4, 24, speed=0.7)
    made = MadeLessons(None, CPU)
    fixed = [made.lesson(stage, seed) for seed in range(2)]

    class Repeat:
        description = "two lessons"

        def lesson(self, stage, seed):
            return fixed[seed % 2]

    pairs = replace(stage, task="pairs")
    config = TrainConfig(stages=(pairs, stage), rate=1e-3, warmup=10, ema=0.9, last_rate=0.2)
    run = trainer(tmp_path / "run", Repeat(), config)

    def measured() -> np.ndarray:
        with run.averaged() as network:
            return np.mean([figures(network.eval(), lesson, 64).mean(0) for lesson in fixed], 0)

    before = measured()
    losses = [run.train_step()["loss"] for _ in range(config.steps)]
    after = measured()
    features, tracking = losses[: pairs.steps], losses[pairs.steps :]
    assert np.mean(features[-4:]) < 0.7 * np.mean(features[:4])
    assert np.mean(tracking[-4:]) < 0.9 * np.mean(tracking[:4])
    assert after[1] > before[1] + 0.03, f"delta_avg {before[1]:.2f} -> {after[1]:.2f}"
    assert after[0] > before[0] + 0.03, f"AJ {before[0]:.2f} -> {after[0]:.2f}"


def test_the_command_passes_its_options_on_and_refuses_what_cannot_be(tmp_path):
    from tapkit.cli.train import train

    train(
        out=tmp_path / "run",
        preset="finetune",
        total_steps=5,
        minutes=0.0,
        device="cpu",
        precision="float32",
        quiet=True,
    )
    run = checkpoint.read_run(tmp_path / "run" / "state")
    assert run["step"] == 0 and TrainConfig.from_dict(run["config"]) == preset("finetune", 5)
    with pytest.raises(UsageError, match="no preset"):
        train(out=tmp_path / "other", preset="huge")
    with pytest.raises(StorageError, match="no photograph"):
        train(out=tmp_path / "other", photos=tmp_path, data=tmp_path)

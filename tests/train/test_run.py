"""A run: learns, stops when told, resumes exactly, and leaves weights that load."""

from __future__ import annotations

import csv
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tapkit import weights
from tapkit.errors import StorageError, UsageError
from tapkit.models.strand.tracker import build
from tapkit.train import checkpoint
from tapkit.train.config import Stage, TrainConfig
from tapkit.train.run import Run, RunOptions
from tapkit.train.strand import recipe as strand
from tapkit.train.trainer import Trainer
from tapkit.train.validate import figures

CPU = torch.device("cpu")
TINY = TrainConfig(stages=(Stage(3, 64, 3, 1, 6), Stage(2, 64, 5, 1, 6, truncate=2)), warmup=2, ema_decay=0.9)
ALL_KINDS = TrainConfig(
    stages=(
        Stage(2, 64, 3, 2, 6, task="matching", learning_rate=1e-3),
        Stage(2, 64, 4, 1, 6, train_encoder=False),
        Stage(2, 64, 4, 1, 6, truncate=2, learning_rate=3e-4),
    ),
    warmup=2,
    ema_decay=0.9,
)


def quiet(_: str) -> None:
    pass


def make_run(out: Path, source, config: TrainConfig = TINY, **options) -> Run:
    trainer = Trainer(config, strand.build(config, CPU), source, CPU, "float32")
    return Run(trainer, RunOptions(out=out, **{"validate_clips": 1, **options}))


@pytest.mark.parametrize("config", [TINY, ALL_KINDS], ids=["tracking alone", "all kinds of stages"])
@pytest.mark.parametrize("cut", [2, 3])
def test_an_interrupted_run_ends_exactly_as_one_that_was_not(tmp_path, drift, config, cut):
    whole = make_run(tmp_path / "whole", drift(), config)
    whole.run(quiet)
    first = make_run(tmp_path / "parts", drift(), config, steps=cut)
    first.run(quiet)
    second = make_run(tmp_path / "parts", drift(), config, resume=True)
    assert second.trainer.step == cut
    second.run(quiet)
    assert second.trainer.step == whole.trainer.step == config.steps
    tensors = second.trainer.tensors()
    assert all(torch.equal(a, tensors[name]) for name, a in whole.trainer.tensors().items())
    assert all(torch.equal(a, second.trainer.average[name]) for name, a in whole.trainer.average.items())
    rows = list(csv.DictReader((tmp_path / "parts" / "validation.csv").open()))
    assert [row["step"] for row in rows] == [str(cut), str(config.steps)]


def test_a_signal_stops_after_the_step_at_hand_and_the_state_is_kept(tmp_path, drift):
    def interrupt(seed: int) -> None:
        if seed == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    said: list[str] = []
    before = signal.getsignal(signal.SIGTERM)
    stopped = make_run(tmp_path / "run", drift(interrupt))
    stopped.run(said.append)
    assert stopped.trainer.step == 2 and "--resume" in said[-1]
    assert signal.getsignal(signal.SIGTERM) is before
    assert make_run(tmp_path / "run", drift(), resume=True).trainer.step == 2


def test_the_minutes_end_a_run(tmp_path, drift):
    short = make_run(tmp_path / "run", drift(), minutes=0.0)
    short.run(quiet)
    assert short.trainer.step == 0 and checkpoint.exists(tmp_path / "run" / "state")


def test_a_run_is_not_started_where_another_is(tmp_path, drift):
    make_run(tmp_path / "run", drift(), minutes=0.0).run(quiet)
    with pytest.raises(UsageError, match="--resume"):
        make_run(tmp_path / "run", drift())
    with pytest.raises(StorageError, match="no state"):
        make_run(tmp_path / "nothing", drift(), resume=True)


def test_the_state_fits_between_two_pieces_and_half_of_it_loses_little(tmp_path, drift):
    run = make_run(tmp_path / "run", drift())
    run.trainer.train_step()
    run.save()
    state = tmp_path / "run" / "state"
    exact, _ = checkpoint.load(state, run.trainer.network)
    run.options = replace(run.options, compact=True)
    run.save()
    files = list(state.iterdir())
    assert sum(f.stat().st_size for f in files) <= 45e6
    assert max(f.stat().st_size for f in files) <= 16 * 2**20 and len(files) <= 6, (
        "as few and small as rented machines take and return"
    )
    halved, _ = checkpoint.load(state, run.trainer.network)
    for part, share in (("model", 0.0), ("average", 1e-3), ("first", 1e-2), ("second", 1e-2)):
        for name, tensor in exact[part].items():
            torch.testing.assert_close(halved[part][name], tensor, rtol=share, atol=1e-6 if share else 0.0)


def test_a_state_cut_off_while_written_leaves_the_one_before(tmp_path, drift):
    run = make_run(tmp_path / "run", drift(), minutes=0.0)
    run.run(quiet)
    state = tmp_path / "run" / "state"
    state.rename(state.with_name("state.old"))
    half = state.with_name("state.new")
    half.mkdir()
    (half / "model-0.safetensors").write_bytes(b"cut off")
    assert make_run(tmp_path / "run", drift(), resume=True).trainer.step == 0


def test_the_state_of_an_older_version_is_resumed_under_the_present_names(tmp_path, drift):
    run = make_run(tmp_path / "run", drift(), steps=2, log_every=1)
    run.run(quiet)
    file, table = tmp_path / "run" / "state" / "run.json", tmp_path / "run" / "train.csv"
    facts = json.loads(file.read_text())
    facts["measured"] = {"made": facts["measured"]["synthetic"]}
    config = facts["config"]
    stages = [
        {**{n: v for n, v in stage.items() if n not in ("train_encoder", "learning_rate")},
         "task": "clips", "encoder": True, "rate": None} for stage in config["stages"]
    ]  # fmt: skip
    old = {"stages": stages, "warmup": 2, "ema": 0.9, "rate": 6e-4, "last_rate": 0.03, "decay": 1e-4, "clip": 1.0}
    weights_of = {"position": 1.0, "refined": 0.5, "hidden": 0.1, "around": 0.3, "score": 0.3, "visible": 0.5}
    facts["config"] = {**old, "radius": 8.0, "fade": 0.93, "pool": None, "seed": 0, "weights": weights_of}
    file.write_text(json.dumps(facts))
    header, rest = table.read_text().split("\n", 1)
    table.write_text(header.replace("learning_rate", "rate").replace("matching_accuracy", "found") + "\n" + rest)
    config = TrainConfig.from_dict(checkpoint.read_run(tmp_path / "run" / "state")["config"])
    assert replace(config, settings=None) == TINY
    again = make_run(tmp_path / "run", drift(), config, resume=True, steps=1, log_every=1)
    assert set(again.measured) == {"synthetic"} and again.trainer.step == 2
    again.run(quiet)
    rows = list(csv.DictReader(table.open(newline="")))
    assert [row["step"] for row in rows] == ["1", "2", "3"]
    assert all(float(row["learning_rate"]) > 0 and float(row["matching_accuracy"]) == 0 for row in rows)


def test_a_table_that_lacks_columns_gets_them_when_its_run_goes_on(tmp_path, drift):
    run = make_run(tmp_path / "run", drift(), steps=2, log_every=1)
    run.run(quiet)
    table = tmp_path / "run" / "train.csv"
    before = list(csv.DictReader(table.open(newline="")))
    with table.open("w", newline="") as file:
        fewer = csv.DictWriter(
            file, [name for name in before[0] if not name.startswith("refine")], extrasaction="ignore"
        )
        fewer.writeheader()
        fewer.writerows(before)
    make_run(tmp_path / "run", drift(), resume=True, steps=1, log_every=1).run(quiet)
    rows = list(csv.DictReader(table.open(newline="")))
    assert [row["step"] for row in rows] == ["1", "2", "3"] and list(rows[0]) == list(before[0])
    assert rows[0]["loss"] == before[0]["loss"] and rows[0]["refinement"] == "" and float(rows[2]["loss"]) > 0


def test_exported_weights_load_into_the_tracker_and_their_card_says_where_they_come_from(tmp_path, drift):
    path = tmp_path / "strand.safetensors"
    run = make_run(tmp_path / "run", drift(), export=path, steps=1, command="tapkit train --out run")
    run.run(quiet)
    loaded = build(weights.read(path), precision="float32")
    assert path.stat().st_size <= 12 * 2**20
    torch.testing.assert_close(loaded.network.temperature, run.trainer.average["temperature"], atol=2e-3, rtol=0)
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["sha256"] == weights.sha256(path) and card["licence"] == "Apache-2.0"
    assert card["steps"] == 1 and card["data"] == "drifting noise" and card["commands"] == ["tapkit train --out run"]
    again = make_run(tmp_path / "next", drift(), init=path)
    again.save()
    assert make_run(tmp_path / "next", drift(), resume=True).trainer.initial == "strand.safetensors"
    torch.testing.assert_close(again.trainer.network.temperature, run.trainer.average["temperature"], atol=2e-3, rtol=0)


def test_two_minutes_on_a_processor_are_enough_to_see_it_learn(tmp_path):
    """A few synthetic clips, over and over, at 64x64: matching, then tracking. Untrained it follows pixels already."""
    from tapkit.train.sources import SyntheticSource

    stage = Stage(30, 64, 4, 4, 24, speed=0.7)
    synthetic = SyntheticSource(None, CPU)
    fixed = [synthetic.batch(stage, seed) for seed in range(2)]

    class Repeat:
        description = "two batches"

        def batch(self, stage, seed):
            return fixed[seed % 2]

    matching = replace(stage, task="matching")
    config = TrainConfig(stages=(matching, stage), learning_rate=1e-3, warmup=10, ema_decay=0.9, final_rate=0.2)
    run = make_run(tmp_path / "run", Repeat(), config)

    def measured() -> np.ndarray:
        with run.trainer.averaged() as averaged:
            averaged.network.eval()
            return np.mean([figures(averaged, batch).mean(0) for batch in fixed], 0)

    before = measured()
    losses = [run.trainer.train_step()["loss"] for _ in range(config.steps)]
    after = measured()
    features, tracking = losses[: matching.steps], losses[matching.steps :]
    assert np.mean(features[-4:]) < 0.7 * np.mean(features[:4])
    assert np.mean(tracking[-4:]) < 0.9 * np.mean(tracking[:4])
    assert after[1] > before[1] + 0.03, f"delta_avg {before[1]:.2f} -> {after[1]:.2f}"
    assert after[0] > before[0] + 0.03, f"AJ {before[0]:.2f} -> {after[0]:.2f}"

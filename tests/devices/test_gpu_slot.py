"""The rehearsal of tools/gpu_slot.sh: what it checks before it trains, what it trains, what it brings home."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch

from tapkit.train.batch import Batch
from tapkit.train.config import Stage
from tapkit.train.trainer import Trainer

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))
from gpu import slot as slots  # noqa: E402

BARE = """
import importlib.abc, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in {"av", "typer", "rich", "click", "matplotlib", "scipy", "zarr", "tensorboard"}:
            raise ModuleNotFoundError(name + " is not on the device machine")
sys.meta_path.insert(0, Missing())
sys.path.insert(0, sys.argv.pop(1))
from gpu import slot
raise SystemExit(slot.main(sys.argv[1:]))
"""


@pytest.fixture
def slot(tmp_path: Path) -> slots.Slot:
    return slots.Slot(torch.device("cpu"), tmp_path / "out", tmp_path / "work", 0.1, slots.SMALL_STAGE)


def test_it_trains_with_nothing_but_what_the_machine_has_and_brings_it_home(tmp_path: Path) -> None:
    given = ["train", "--small", "--device", "cpu", "--minutes", "0.1", "--work", str(tmp_path / "work")]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BARE, str(ROOT / "tools"), *given],
        capture_output=True,
        text=True,
        env=os.environ | {"OUT": str(tmp_path / "out"), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    brought = sorted((tmp_path / "out").iterdir())
    assert len(brought) <= 8 and max(path.stat().st_size for path in brought) <= 16 << 20
    assert sum(path.stat().st_size for path in brought) <= 64 << 20
    names = {path.name for path in brought}
    assert {"strand.safetensors", "reports.tar.gz", "run.json"} <= names, "weights, reports, and the state"
    with tarfile.open(tmp_path / "out" / "reports.tar.gz") as archive:
        facts = json.load(archive.extractfile("slot.json"))  # type: ignore[arg-type]
    assert facts["last_loss"] < facts["first_loss"]
    assert facts["steps"] >= 1
    assert facts["of"] >= facts["steps"]
    assert "the loss of one batch falls" in done.stdout


class Noise:
    """Clips that are made at once, `missing` frames too short."""

    def __init__(self, missing: int = 0) -> None:
        self.missing = missing

    def __call__(self, *given: Any) -> Noise:
        return self

    def batch(self, stage: Stage, seed: int) -> Batch:
        frames, points = stage.frames - self.missing, stage.points
        video = torch.zeros(stage.batch, frames, 3, *stage.shape, dtype=torch.uint8)
        seen = torch.ones(stage.batch, points, frames, dtype=torch.bool)
        return Batch(video, torch.full((*seen.shape, 2), 30.0), seen, seen)


def test_what_is_wrong_ends_it_with_a_sentence(slot: slots.Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "make_source", Noise(1))
    with pytest.raises(slots.Wrong, match=r"video of a batch has the shape \[1, 3, 3, 64, 64\], not \[1, 4, "):
        slots.self_check(slot, print)
    monkeypatch.setattr(slots, "make_source", Noise())
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", lambda self: {"loss": 1.0})
        with pytest.raises(slots.Wrong, match=r"the loss of one batch does not fall: 1\.000, 1\.000"):
            slots.self_check(slot, print)
    monkeypatch.setattr(slots, "has_bfloat16", lambda device: True)
    monkeypatch.setattr("tapkit.train.trainer.feature_dtype", lambda precision, device: torch.float32)
    with pytest.raises(slots.Wrong, match=r"features are in torch\.float32 on a device that multiplies in bfloat16"):
        slots.self_check(slot, print)


def test_what_does_not_fit_stays_there_and_the_weights_come_first(slot: slots.Slot) -> None:
    state = slot.run / "state"
    state.mkdir(parents=True)
    (slot.run / "strand.safetensors").write_bytes(b"weights")
    for number in range(7):
        (state / f"model-{number}.safetensors").write_bytes(b"part")
    said: list[str] = []
    assert [path.name for path in slots.pack(slot, said.append)] == ["reports.tar.gz", "strand.safetensors"]
    assert "the state has 7 files and stays here" in said[0]
    (state / "model-6.safetensors").unlink()
    assert len(slots.pack(slot, said.append)) == 8

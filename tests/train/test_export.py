"""Averaging weights: what lies between, from where, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tapkit.cli.weights import average
from tapkit.errors import UsageError, WeightsError
from tapkit.train.export import average_weights, export_weights
from tapkit.weights import read, sha256


def two_files(folder: Path) -> tuple[Path, Path]:
    first, _ = export_weights(folder / "a.safetensors", {"w": torch.tensor([0.0, 4.0])}, {"steps": 7})
    second = folder / "b.safetensors"
    save_file({"w": torch.tensor([8.0, 4.0])}, second)
    return first, second


def test_the_mean_has_its_share_of_both_and_a_card_that_names_them(tmp_path):
    first, second = two_files(tmp_path)
    path, card = average_weights(first, second, 0.25, tmp_path / "c.safetensors")
    torch.testing.assert_close(read(path)["w"].float(), torch.tensor([2.0, 4.0]))
    said = json.loads(card.read_text())
    assert said["sha256"] == sha256(path) and said["share_of_the_second"] == 0.25
    assert [part["sha256"] for part in said["averaged"]] == [sha256(first), sha256(second)]
    assert said["averaged"][0]["card"]["steps"] == 7 and said["averaged"][1]["card"] is None


def test_the_command_writes_it(tmp_path, capsys):
    first, second = two_files(tmp_path)
    average(first, second, tmp_path / "half.safetensors", 0.5)
    assert "half.json" in capsys.readouterr().out
    assert read(tmp_path / "half.safetensors")["w"][0] == 4


def test_other_networks_and_shares_are_refused(tmp_path):
    first, second = two_files(tmp_path)
    save_file({"w": torch.zeros(3)}, tmp_path / "long.safetensors")
    with pytest.raises(WeightsError, match="w"):
        average_weights(first, tmp_path / "long.safetensors", 0.5, tmp_path / "c.safetensors")
    with pytest.raises(UsageError, match="0 to 1"):
        average_weights(first, second, 1.5, tmp_path / "c.safetensors")

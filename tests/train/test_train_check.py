"""From a step to tracks, for the trackers whose points are independent; `tools/train_check.py` does it for all."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

from tapkit.models.locotrack.network import SMALL, LocoTrackNetwork
from tapkit.models.locotrack.weights import load_released, released


def test_a_step_of_pips2_is_validated_exported_loaded_and_tracked_with():
    path = Path(__file__).parents[2] / "tools" / "train_check.py"
    spec = importlib.util.spec_from_file_location("train_check", path)
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.check("pips2", 3).startswith("pips2: delta_avg")


def test_locotrack_is_exported_under_its_released_names():
    torch.manual_seed(0)
    first, second = LocoTrackNetwork(SMALL), LocoTrackNetwork(SMALL)
    published = released(first.state_dict())
    assert any(name.endswith(".query_proj.weight") for name in published)
    load_released(second, published, "locotrack-small")
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())

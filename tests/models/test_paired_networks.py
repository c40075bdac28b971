"""`benchmarks/paired_networks.py` on two trees that hold a network of one layer."""

from __future__ import annotations

import importlib.util
import json
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
CALL = """
    import torch

    def reference_call(parity, precision, factor={factor}):
        weight = torch.full((64, 64), float(len(parity.root.name)))
        def call():
            x = torch.ones(64, 64)
            for _ in range({rounds}):
                x = torch.tanh(x @ weight)
            return {{"xy": (x * factor,), "count": torch.tensor(3)}}
        return call
"""


@pytest.fixture(scope="module")
def paired() -> ModuleType:
    spec = importlib.util.spec_from_file_location("paired_networks", BENCHMARKS / "paired_networks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tree(folder: Path, factor: float, rounds: int) -> Path:
    for name in ("src", "benchmarks/calls", "tools"):
        (folder / name).mkdir(parents=True)
    (folder / "benchmarks" / "calls" / "__init__.py").touch()
    (folder / "benchmarks" / "calls" / "layer.py").write_text(
        textwrap.dedent(CALL).format(factor=factor, rounds=rounds)
    )
    (folder / "benchmarks" / "reference_protocol.py").write_text((BENCHMARKS / "reference_protocol.py").read_text())
    (folder / "tools" / "parity.py").write_text(
        "class Parity:\n    def __init__(self, root):\n        self.root = root\n"
    )
    return folder


def test_two_trees_take_turns_and_what_they_return_is_compared(
    paired: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, then = tree(tmp_path / "now", 1.0, 300), tree(tmp_path / "then", 1.5, 300)
    assert paired.names_of(now) == ["layer"]
    monkeypatch.setenv("TAPKIT_PARITY", str(BENCHMARKS.parent / "tests" / "parity_set"))
    monkeypatch.syspath_prepend(str(BENCHMARKS.parent / "tools"))
    found = paired.compare("layer", now, then, 3, {"precision": "float32"})
    assert found["ratio"] > 0 and found["range"][0] <= found["ratio"] <= found["range"][1]
    assert found["difference"] == pytest.approx(0.5)
    assert paired.row_of("layer", found | {"of_original": None}).startswith("| layer | ")
    measured = json.loads(paired.PAIRED.read_text())["networks"]["pips2"]["time"]
    assert paired.of_original("pips2", 0.5) == pytest.approx(measured / 2) and paired.of_original("layer", 1.0) is None

"""The figures on the page about pseudo-labels are those that the benchmark stored."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path


def test_the_table_is_that_of_the_stored_results() -> None:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "pseudo_labels.py"
    spec = importlib.util.spec_from_file_location("pseudo_labels", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    stored = json.loads(module.RESULTS.read_text())
    found = module.BLOCK.search(module.PAGE.read_text())
    assert found is not None
    assert found[0] == found[1] + module.table(stored) + found[2], "python benchmarks/pseudo_labels.py --docs"

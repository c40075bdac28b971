"""The scenes of the benchmark, for the tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def _benchmark() -> ModuleType:
    path = Path(__file__).parents[3] / "benchmarks" / "objects.py"
    spec = importlib.util.spec_from_file_location("benchmark_of_objects", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


crossing = _benchmark().crossing

"""The rehearsal of tools/gpu_check.py: in small, on the CPU; and on a simulated GPU, where it must find its way too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from simulated import simulated

TOOLS = Path(__file__).parents[2] / "tools"
sys.path.insert(0, str(TOOLS))
import check_parity  # noqa: E402
import gpu_check  # noqa: E402
from gpu.everywhere import everywhere  # noqa: E402

BLOCKED = """
import importlib.abc, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in {"av", "typer", "rich", "click", "matplotlib", "scipy", "zarr", "pandas", "pyarrow"}:
            raise ImportError(name + " is not on the device machine")
sys.meta_path.insert(0, Missing())
sys.path.insert(0, sys.argv[1])
import gpu_check
raise SystemExit(gpu_check.main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, str]:
    """The report and what was printed, of a run without any library but those named."""
    path = tmp_path_factory.mktemp("gpu") / "report.json"
    given = ["--small", "--device", "cpu", "--model", "strand", "--model", "tapnet", "--json", str(path)]
    command = [sys.executable, "-W", "ignore", "-c", BLOCKED, str(TOOLS), *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text()), done.stdout


def test_the_rehearsal_goes_through_and_says_all(rehearsed):
    report, printed = rehearsed
    assert {row["verdict"] for row in report["parity"]} == {"ok"}
    assert {row["case"] for row in report["parity"]} == {
        path.stem for path in check_parity.cases(check_parity.SMALL_SET) if path.parent.name == "tapnet"
    }
    assert {(row["model"], row["type"]) for row in report["precision"] if row["verdict"] == "ok"} == {
        (model, kind) for model in ("strand", "tapnet") for kind in ("tf32", "bfloat16")
    }, "and float16, of which a CPU is not asked"
    assert all(row["median_px"] == 0 for row in report["precision"] if row["type"] == "tf32"), "there is none on a CPU"
    assert {row["model"] for row in report["speed"]} == {"strand", "tapnet"}
    assert all(row["fps"] > 0 and row["step_p95_ms"] >= row["step_p50_ms"] for row in report["speed"])
    assert all(row["largest_difference"] < 1e-4 for row in report["blocks"])
    assert [(row["model"], row["verdict"], row["recorded"]) for row in report["recorded"]] == [("strand", "ok", False)]
    assert report["limits"].keys() == {"float32_tflops", "bfloat16_tflops", "float16_tflops", "copy_gb_s"}
    assert [row["verdict"] for row in report["sessions"]] == ["ok", "ok"]
    assert report["flat"][0]["frames"] == gpu_check.SMALL.long
    assert "cases exact" in printed
    assert "0 rows were not run" in printed


def test_what_there_is_no_time_for_is_named(capsys):
    assert (
        gpu_check.main(["--small", "--device", "cpu", "--model", "strand", "--model", "tapnet", "--seconds", "0"]) == 0
    )
    assert "rows were not run for want of time" in capsys.readouterr().out


def test_a_fault_is_told_and_counts():
    report = {part: [] for part in ("parity", "precision", "recorded", "speed", "sessions", "budget", "flat")}
    report["parity"] = [{"model": "tapir", "case": "short", "verdict": "FAIL", "failed": ["tracks"]}]
    report["speed"] = [{"model": "pips", "points": 1, "height": 256, "verdict": "not run: out of time"}]
    report["flat"] = [{"model": "strand", "verdict": "FAIL: it grows"}]
    assert gpu_check.wrong(report) == ["parity: tapir short: FAIL ['tracks']", "flat: strand: FAIL: it grows"]


def test_parity_runners_are_led_to_the_device():
    """On a simulated GPU: their networks compute there, and the numbers are the published ones."""
    with simulated() as machine, everywhere(torch.device("cuda", 0)):
        assert torch.zeros(2).device.type == torch.from_numpy(np.zeros(2)).device.type == "cuda"
        rows = gpu_check.exact.parity(torch.device("cuda", 0), check_parity.SMALL_SET, ["tapnet"], lambda: 1.0)
    assert rows
    assert {row["verdict"] for row in rows} == {"ok"}
    assert machine.waits, "nothing came back from the device, so nothing was on it"
    assert torch.from_numpy(np.zeros(2)).device.type == "cpu"

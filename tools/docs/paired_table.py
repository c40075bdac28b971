"""What the published networks cost of what they did at an earlier commit, from `benchmarks/paired_networks.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from model_tables import table

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "paired_networks.json"


def paired_networks() -> str:
    """A table with a row for each network, and the processor."""
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    rows = [_row(label, found[label]) for label in sorted(found)]
    head = ["network", "CPU time", "range", "seconds", "peak memory, MiB", "loaded, MiB", "largest difference", "on"]
    return table(head, rows, "lrrrrrrl")


def _row(label: str, one: dict[str, Any]) -> list[str]:
    low, high = one["range"]
    network, _, options = label.partition(".")
    machine, load = one["machine"], one.get("load")
    busy = "" if load is None else f", {load:.0f} programs at work"
    rate = f", {one['core_gflops']:.0f} GFLOP/s a core" if "core_gflops" in one else ""
    return [
        network.replace("_", "-") + (f" ({options})" if options != "precision=float32" else ""),
        f"{one['ratio']:.2f} of {one['against']}",
        f"{low:.2f} to {high:.2f} ({one['pairs']} pairs)",
        f"{one['cpu_s'][0]:.2f}",
        _of(one["peak_mib"]),
        _of(one["built_mib"]),
        "not compared" if one["difference"] is None else f"{one['difference']:.0e}",
        f"{machine['cpu']} ({machine['capability']}{rate}{busy}), {machine['date']}",
    ]


def _of(pair: list[float]) -> str:
    """A figure of this package, and that of the earlier commit."""
    now, then = pair
    return f"{now:.0f} (was {then:.0f})"

"""How long the studio's server takes, from what `benchmarks/studio_server.py` stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from model_tables import table

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "studio_server.json"
CLICKS = {
    "idle": "a click, nothing else running",
    "while tracking in a process": "a click while strand tracks beside the server, as it does",
    "while tracking in a thread": "a click while strand tracks in a thread of the server, which was not chosen",
}
MANY = {
    "points": "all points",
    "100 frames": "positions of all points on 100 frames",
    "summary, 500 bins": "a summary of the whole clip in 500 bins",
    "click": "a click",
}


def server_latencies() -> str:
    """Tables of frames and clicks, and of many points, each with the machine that they were measured on."""
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    rows = [
        [f"a frame of {size}: {way}", *_times(found["frames"][size][way])]
        for size in ("640x360", "1920x1080")
        for way in ("step", "step back", "jump")
    ]
    rows += [[what, *_times(found["clicks"][way])] for way, what in CLICKS.items()]
    many = [[what, *_times(found["positions"][way])] for way, what in MANY.items()]
    head = ["milliseconds", "median", "95th percentile"]
    frames = _machine(found["frames"]["machine"])
    return "\n\n".join(
        [table(head, rows), frames, "With 500 points on 10,000 frames:", table(head, many), _machine(found["positions"]["machine"])]
    )  # fmt: skip


def _times(value: dict[str, Any]) -> list[str]:
    return [f"{value['median']:.0f}", f"{value['p95']:.0f}"]


def _machine(value: dict[str, Any]) -> str:
    return (
        f"({value['cpus']} processors, {value['load_before']:.0f} other tasks wanting them on average; one pass of the "
        f"fixed workload of `tapkit bench` took {value['calibrate_ms']:.0f} ms.)"
    )

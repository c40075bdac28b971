"""What many videos cost and survive, from what `benchmarks/fleet.py` stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from model_tables import table

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "fleet.json"


def fleet_results() -> str:
    """A table: what was done, and what came of it."""
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    many, wait = found["list"], found["overhead"]
    rows = [
        [
            f"{many['entries']} videos on the work list",
            f"ready to begin after {many['seconds']:.1f} s, of which {many['cpu_seconds']:.1f} s were computing, with "
            f"{many['grown_mb']:.0f} MB; {many['ms_each']:.1f} ms to take one and note it done",
        ],
        [_killed(found["processes"], "two processes, their parent"), _outcome(found["processes"])],
        [_killed(found["ray"], "two Ray workers, one of them"), _outcome(found["ray"])],
    ]
    for name, what in (("ray", "on Ray"), ("processes", "with processes")):
        part = wait[name]
        rows.append(
            [
                f"{wait['items']} items of {wait['seconds_each']:.0f} s on two workers, {what}",
                f"{part['seconds']:.1f} s instead of {wait['least']:.0f} s: {100 * part['overhead']:.1f} % more",
            ]
        )
    load = max(part["load"] for part in found.values())
    machine = f"(On {many['cpus']} processors that other programs shared: up to {load:.0f} of them at a time.)"
    return f"{table(['what', 'result'], rows)}\n\n{machine}"


def _killed(part: dict[str, Any], who: str) -> str:
    return f"{part['videos']} videos, one of them broken, by {who} killed when {part['when_killed']} were done"


def _outcome(part: dict[str, Any]) -> str:
    differ = f"{len(part['differ'])} differ from" if part["differ"] else "all equal to"
    return (
        f"{part['done']} done, {part['done more than once']} more than once, {part['failed']} failed; "
        f"{differ} tracking one after another"
    )

"""Tables of the studio's pages, from what the benchmarks stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from model_tables import table

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "studio_page.json"


def latencies() -> str:
    """How long the page takes to answer: `benchmarks/studio_page.py`."""
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    columns = {"640 x 360": found["360p"], "1920 x 1080": found["1080p"]}
    many = f"{found['points']:,} points x {found['frames']:,} frames"
    rows = [
        ["a key for the next frame, until it is on the screen", *(_times(c["step"]) for c in columns.values())],
        ["the same while the tracker runs", *(_times(c["while_tracking"]["step"]) for c in columns.values())],
        ["a frame far away, not fetched ahead", *(_times(c["jump"]) for c in columns.values())],
        ["a click, until its point is on the screen", *(_times(c["click"]) for c in columns.values())],
        ["the same while the tracker runs", *(_times(c["while_tracking"]["click"]) for c in columns.values())],
        ["a click, until the server has stored it", *(_times(c["stored"]) for c in columns.values())],
        ["the same while the tracker runs", *(_times(c["while_tracking"]["stored"]) for c in columns.values())],
    ]
    scrub = found["many"]["scrub"]
    text = (
        f"With {many}: open with all strips after {found['many']['open_seconds']} s, a key for the next frame {_times(found['many']['step'])} ms; scrubbing over the whole timeline shows "
        f"{scrub['pictures_per_second']} pictures a second, drawing one takes {_times(scrub['draw_ms'])} ms, and the longest "
        f"time for which the page did not answer was {scrub['longest_pause_ms']:.0f} ms ({_machine(found['many'])})."
    )
    note = f"Milliseconds, median (95th percentile); {found['cpus']} processors, {_machine(found)}."
    return "\n\n".join([table(["", *columns], rows), text, note])


def _times(found: dict[str, Any]) -> str:
    return f"{found['median']:.0f} ({found['p95']:.0f})"


def _machine(found: dict[str, Any]) -> str:
    return (
        f"{found['load']:.0f} tasks wanted the processors, and one pass of the fixed workload of `tapkit bench` took "
        f"{1000 * found['calibration_seconds']:.0f} ms"
    )

"""Tables of what methods that are fitted to one video learn, from what `benchmarks/per_video.py --write` kept."""

from __future__ import annotations

import json

from model_tables import ROOT, table

RESULTS = ROOT / "benchmarks" / "results" / "per_video.json"


OCCLUSION = ROOT / "benchmarks" / "results" / "per_video_occlusion.json"


def occlusion() -> str:
    """Points through an occlusion, one row for each method."""
    measured = json.loads(OCCLUSION.read_text(encoding="utf-8"))
    columns = [name for name in next(iter(measured.values())) if name not in ("options", "points covered for a while")]
    rows = [
        [f"`{model}` {' '.join(row['options'])}".strip(), *(f"{row[name]:g}" for name in columns)]
        for model, row in measured.items()
    ]
    return table(["called as", *columns], rows, "l" + "r" * len(columns))


def learned(model: str) -> str:
    """Errors and occlusion of a method at some steps."""
    measured = json.loads(RESULTS.read_text(encoding="utf-8"))[model]
    rows = [
        [
            str(row["step"]),
            f"{row['cpu_seconds']:.0f}",
            *(f"{row[f'{part}_mean']:.2f} / {row[f'{part}_median']:.2f}" for part in ("background", "square")),
            f"{row['hidden_flagged']:.2f}",
            f"{row['visible_flagged']:.2f}",
        ]
        for row in measured["rows"]
    ]
    head = ["step", "CPU seconds", "background, mean / median", "square, mean / median", "hidden", "visible"]
    return table(head, rows, "rrrrrr")

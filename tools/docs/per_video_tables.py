"""Tables of what methods that are fitted to one video learn, from what `benchmarks/per_video*.py --write` kept."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from statistics import mean
from typing import Any

from model_tables import ROOT, table

from tapkit.engine.fitted import options_of

RESULTS = ROOT / "benchmarks" / "results" / "per_video.json"


CLIPS = ROOT / "benchmarks" / "results" / "per_video_clips.json"
FITTED = ("cadex++", "omnimotion")
MARK = "\\*"
OCCLUSION = ROOT / "benchmarks" / "results" / "per_video_occlusion.json"


def occlusion() -> str:
    """Points through an occlusion, one row for each method."""
    measured = json.loads(OCCLUSION.read_text(encoding="utf-8"))
    columns = [name for name in next(iter(measured.values())) if name != "points covered for a while"]
    rows = [[f"`{called}`", *(f"{row[name]:g}" for name in columns)] for called, row in measured.items()]
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


def _clips() -> dict[str, dict[str, Any]]:
    """What `benchmarks/per_video_clips.py --write` kept, of the clips that both methods were fitted to."""
    kept = json.loads(CLIPS.read_text(encoding="utf-8"))["clips"]
    return {name: row for name, row in kept.items() if all(model in row for model in FITTED)}


def _before(row: Mapping[str, Any]) -> str:
    """A mark for a clip with a fit of another schedule than the preset has now."""
    old = any(row[model]["moments"][-1]["steps"] != options_of(model, "cpu", {}).steps for model in FITTED)
    return MARK if old else ""


def _explained(clips: Mapping[str, Mapping[str, Any]]) -> str:
    """What the mark means, if there is one."""
    steps = {
        f"`{model}` with {row[model]['moments'][-1]['steps']} steps"
        for row in clips.values()
        for model in FITTED
        if row[model]["moments"][-1]["steps"] != options_of(model, "cpu", {}).steps
    }
    return f"\n\n{MARK} Not measured again since the preset changed: {', '.join(sorted(steps))}." if steps else ""


def _figures(rows: list[Mapping[str, float]]) -> str:
    """AJ / delta_avg / OA, means."""
    return " / ".join(f"{mean(row[name] for row in rows):.1f}" for name in ("AJ", "delta_avg", "OA"))


def annotated_clips() -> str:
    """Accuracy of fits on annotated clips, beside chained flow of the same flow model."""
    clips = _clips()
    columns = {
        "the same flow, chained": [row["flow-chain"]["as stored"] for row in clips.values()],
        **{f"`{model}`": [row[model]["moments"][-1] for row in clips.values()] for model in FITTED},
    }
    rows = [
        [name + _before(clips[name]), *(_figures([rows[k]]) for rows in columns.values())]
        for k, name in enumerate(clips)
    ]
    rows.append(["mean", *(_figures(rows) for rows in columns.values())])
    return table(["clip", *columns], rows, "l" + "r" * len(columns)) + _explained(clips)


def mechanics() -> str:
    """The fits of DINO-Tracker with a backbone of random weights."""
    kept = json.loads(CLIPS.read_text(encoding="utf-8"))["clips"]
    rows = [
        [name, str(end["steps"]), _figures([end]), f"{end['cpu_seconds'] / 60:.1f}"]
        for name, row in kept.items()
        if "dino-tracker" in row
        for end in row["dino-tracker"]["moments"][-1:]
    ]
    return table(["clip", "steps", "`dino-tracker`, backbone `untrained`", "minutes of a processor"], rows, "lrrr")


def time_on_clips() -> str:
    """What fits took, beside what was said before, and when CaDeX++ was as good as OmniMotion at its end."""
    rows = []
    for name, row in _clips().items():
        ends = {model: row[model]["moments"][-1] for model in FITTED}
        goal = ends["omnimotion"]
        reached = next((m for m in row["cadex++"]["moments"] if m["delta_avg"] >= goal["delta_avg"]), None)
        cells = [name + _before(row)]
        for model in FITTED:
            said = re.search(r": (\S+) minutes on this machine", row[model]["estimate"])
            end = ends[model]
            cells += [said[1] if said else "", f"{end['seconds'] / 60:.1f}", f"{end['cpu_seconds'] / 60:.1f}"]
        share = f"1/{goal['cpu_seconds'] / reached['cpu_seconds']:.0f}" if reached else "not reached"
        rows.append([*cells, f"{reached['cpu_seconds']:.0f} s" if reached else "", share])
    head = ["clip"]
    for model in FITTED:
        head += [f"`{model}`: said, minutes", "took", "of a processor"]
    return table(
        [*head, "as good as `omnimotion` after", "of its time"], rows, "l" + "r" * (len(head) + 1)
    ) + _explained(_clips())

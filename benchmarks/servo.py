"""A task learned from five scripted demonstrations, repeated in twenty new scenes with distractors.

    python benchmarks/servo.py [--scenes 20] [--distractors 3] [--size 256] [--model strand] [--seed 0] [--plan FOLDER]
    python benchmarks/servo.py --first 1 --scenes 10 & python benchmarks/servo.py --first 11 --scenes 20    # in parts

A simulated arm with a camera on its wrist (MuJoCo) puts a box on a pad. Places and turns (up to 35 degrees) of both are
random, in demonstrations and in new scenes; new scenes have other boxes around. A scene is a success if the box ends on
the pad within 1 cm of its middle and 5 degrees of its direction. Results are stored scene by scene in
benchmarks/results/servo.json, so that a run that was interrupted goes on where it was: --again begins anew.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock

from tapkit import api
from tapkit.apps.servo import LearnOptions, Plan
from tapkit.apps.servo.sim.demo import Demo

RESULTS = Path(__file__).parent / "results" / "servo.json"


def main() -> None:
    """Learn, repeat, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--distractors", type=int, default=3)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--model", default="strand")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plan", type=Path, default=Path("build/servo-plan"), help="kept here between runs")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--again", action="store_true", help="forget what is stored for this setting")
    asked = parser.parse_args()
    tracker = api.load(asked.model)
    acting = Demo(asked.size, 5, asked.distractors, asked.seed)
    if not asked.plan.exists():
        began = time.perf_counter()
        acting.record()
        acting.learn(tracker, LearnOptions(seed=asked.seed)).save(asked.plan)
        print(f"learned in {time.perf_counter() - began:.0f} s", flush=True)
    plan = Plan.load(asked.plan)
    name = f"{asked.model}, {asked.size} px, {asked.distractors} distractors, seed {asked.seed}"
    if asked.again and asked.results.exists():
        _store(asked.results, name, None)
    for number in range(asked.first, asked.scenes + 1):
        if any(row["scene"] == number for row in _stored(asked.results).get(name, {}).get("scenes", [])):
            continue
        trial = acting.attempt(plan, tracker, number)
        print(acting.line(number, trial), flush=True)
        _store(asked.results, name, acting.row(number, trial))
    rows = _stored(asked.results)[name]["scenes"]
    print(json.dumps(_summary(rows)))


def _stored(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


def _store(path: Path, name: str, row: dict[str, Any] | None) -> None:
    """Add a scene to a setting; None: forget its scenes. Several runs may do so at a time."""
    with FileLock(f"{path}.lock"):
        stored = _stored(path)
        rows = [] if row is None else [*stored.get(name, {}).get("scenes", []), row]
        rows.sort(key=lambda each: each["scene"])
        stored[name] = {**(_summary(rows) if rows else {}), "scenes": rows}
        path.write_text(json.dumps(stored, indent=1) + "\n")


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    good = [row for row in rows if row["success"]]
    return {
        "successes": len(good),
        "of": len(rows),
        "median_offset_mm": round(float(np.median([row["offset_mm"] for row in good])), 2) if good else None,
        "median_turn_degrees": round(float(np.median([row["turn_degrees"] for row in good])), 2) if good else None,
        "median_step_ms": round(float(np.median([row["step_ms"] for row in rows])), 1),
        "median_step_cpu_ms": round(float(np.median([row["step_cpu_ms"] for row in rows if "step_cpu_ms" in row])), 1)
        if any("step_cpu_ms" in row for row in rows)
        else None,
        "steps_per_simulated_second": 15,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
    }


if __name__ == "__main__":
    main()

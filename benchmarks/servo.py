"""A task learned from five scripted demonstrations, repeated in twenty new scenes with distractors.

    python benchmarks/servo.py [--scenes 20] [--distractors 3] [--size 256] [--model strand] [--seed 0] [--plan FOLDER]

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

from tapkit import api
from tapkit.apps.servo import LearnOptions, Plan
from tapkit.apps.servo.sim.demo import Demo

RESULTS = Path(__file__).parent / "results" / "servo.json"


def main() -> None:
    """Learn, repeat, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=20)
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
    stored: dict[str, Any] = json.loads(asked.results.read_text()) if asked.results.exists() else {}
    rows: list[dict[str, Any]] = [] if asked.again else stored.get(name, {}).get("scenes", [])
    for number in range(len(rows) + 1, asked.scenes + 1):
        trial = acting.attempt(plan, tracker, number)
        rows.append(acting.row(number, trial))
        print(acting.line(number, trial), flush=True)
        stored[name] = {**_summary(rows), "scenes": rows}
        asked.results.write_text(json.dumps(stored, indent=1) + "\n")
    print(json.dumps(_summary(rows)))


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    good = [row for row in rows if row["success"]]
    return {
        "successes": len(good),
        "of": len(rows),
        "median_offset_mm": round(float(np.median([row["offset_mm"] for row in good])), 2) if good else None,
        "median_turn_degrees": round(float(np.median([row["turn_degrees"] for row in good])), 2) if good else None,
        "median_step_ms": round(float(np.median([row["step_ms"] for row in rows])), 1),
        "steps_per_simulated_second": 15,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
    }


if __name__ == "__main__":
    main()

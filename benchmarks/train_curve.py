"""How a training run went: its figures on clips that never change, beside what it began with and standing still.

    tapkit train cotracker3-online --preset tiny --out RUN --export tiny.safetensors
    python benchmarks/train_curve.py RUN [--clips 8]

Draws docs/assets/training/tiny_curve.png and stores the numbers in benchmarks/results/train_curve.json. "Begun" are
the untrained weights of the run's seed, "standing still" the query's position on all frames, always visible. Each
stage of a run measures on clips of its own length.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from tapkit.train import checkpoint
from tapkit.train.batch import Batch, Predictions, Queries
from tapkit.train.config import TrainConfig
from tapkit.train.recipe import Trainable, recipe
from tapkit.train.schedule import first_step, validation_stage
from tapkit.train.sources import SyntheticSource
from tapkit.train.validate import on_batches

HOME = Path(__file__).parent.parent
PICTURE = HOME / "docs" / "assets" / "training" / "tiny_curve.png"
RESULTS = HOME / "benchmarks" / "results" / "train_curve.json"


class Standing:
    """Says that nothing moves, as a `Trainable` for validation."""

    def __init__(self, trainable: Trainable) -> None:
        self.network = trainable.network

    def predict(self, batch: Batch, queries: Queries) -> Predictions:
        """See `Trainable.predict`."""
        length = batch.video.shape[1]
        at = queries.frame.clamp(max=length - 1)[..., None, None].expand(-1, -1, 1, 2)
        xy = batch.xy.gather(2, at).expand(-1, -1, length, -1)
        return Predictions(xy, torch.ones_like(xy[..., 0]), torch.ones_like(xy[..., 0]))


def rows(run: Path) -> list[dict[str, Any]]:
    """What the run measured on synthetic clips, in order."""
    with open(run / "validation.csv", newline="") as file:
        found = [row for row in csv.DictReader(file) if row["on"] == "synthetic"]
    return [
        {"step": int(row["step"]), "minutes": float(row["seconds"]) / 60, "delta_avg": float(row["delta_avg"]),
         "aj": float(row["aj"]), "oa": float(row["oa"])} for row in found
    ]  # fmt: skip


def baselines(config: TrainConfig, clips: int) -> list[dict[str, Any]]:
    """Figures before the first step, and of standing still, on the validation clips of each stage."""
    cpu = torch.device("cpu")
    trainable = recipe(config.model).build(config, cpu)
    source = SyntheticSource(None, cpu)
    found = []
    for number, stage in enumerate(config.stages):
        row: dict[str, Any] = {"from_step": first_step(config, number), "frames": stage.frames}
        for name, judged in (("begun", trainable), ("standing still", Standing(trainable))):
            figures = on_batches(judged, source, validation_stage(stage), clips)  # type: ignore[arg-type]
            row[name] = {key: round(float(getattr(figures, key)), 3) for key in ("aj", "delta_avg", "oa")}
        found.append(row)
    return found


def draw(measured: list[dict[str, Any]], before: list[dict[str, Any]], steps: int, path: Path) -> None:
    """delta_avg over steps, with what it is to rise above; the clips of each stage have another length."""
    figure = Figure(figsize=(7, 3.6), layout="constrained", dpi=110)
    axes = figure.subplots()
    ends = [row["from_step"] for row in before[1:]] + [steps]
    for row, end in zip(before, ends, strict=True):
        first = row is before[0]
        span, still = (row["from_step"], end), row["standing still"]["delta_avg"]
        inside = [r for r in measured if span[0] < r["step"] <= end]
        at = [r["step"] for r in inside], [r["delta_avg"] for r in inside]
        if first:
            at = [0, *at[0]], [row["begun"]["delta_avg"], *at[1]]
        axes.plot(*at, "o-", color="#0b62a4", label="averaged weights" if first else None)
        axes.plot(span, (still, still), color="#b04a00", linestyle="--", label="points do not move" if first else None)
        axes.annotate(f"{row['frames']} frames", (sum(span) / 2, 2), ha="center", color="#555555")
    axes.set(xlabel="step", ylabel="delta_avg on 8 clips, %", ylim=(0, None), xlim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.12))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--clips", type=int, default=8, help="validation clips of the run (RunOptions.validate_clips)")
    parser.add_argument("--picture", type=Path, default=PICTURE)
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    facts = checkpoint.read_run(chosen.run / "state")
    config = TrainConfig.from_dict(facts["config"])
    measured, before = rows(chosen.run), baselines(config, chosen.clips)
    draw(measured, before, facts["step"], chosen.picture)
    result = {
        "commands": facts["commands"],
        "steps": facts["step"],
        "of": config.steps,
        "minutes": round(facts["seconds"] / 60, 1),
        "before": before,
        "measured": measured,
    }
    chosen.results.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({**result, "measured": measured[-1:]}, indent=1))


if __name__ == "__main__":
    main()

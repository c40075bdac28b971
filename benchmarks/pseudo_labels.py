"""Do pseudo-labels help? A student learns from a committee on real videos and is measured on others.

    python benchmarks/pseudo_labels.py VIDEOS... --eval CLIPS --out FOLDER

Teachers are trackers that need no download: strand, flowtrack, flow-chain, lucas-kanade; two of them must agree. There
are two students: strand as it is shipped, and a weakened copy of it, with Gaussian noise on all its weight matrices but
those of the last layers that visibility and confidence are read from (`NOISE` times the standard deviation of each).
Both learn with the preset `pseudo-labels`, whose learning rate is chosen for neither. They are measured on CLIPS at
256x256, where they are trained, query mode first: before, after, and averaged with what they began with (`SHARE`).
What is done in FOLDER already is not done again. Stored in benchmarks/results/pseudo_labels.json, of which `--docs`
writes the table of docs/how-to/pseudo-labels.md.

Never name videos that CLIPS are of.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results" / "pseudo_labels.json"
PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "pseudo-labels.md"
BLOCK = re.compile(r"(<!-- pseudo-labels -->\n).*?(<!-- /pseudo-labels -->)", re.DOTALL)
TEACHERS = "strand,flowtrack,flow-chain,lucas-kanade"
NOISE = 0.8
SHARE = 0.25
"""Of what was learned, averaged with what the student began with: the share that docs/how-to/train.md names."""
FIGURES = {"AJ": "average_jaccard", "delta_avg": "average_pts_within_thresh", "OA": "occlusion_accuracy"}


def tapkit(done: Path, *arguments: object) -> str:
    """Run a command, unless its result is there already; returns it as it is typed, with the names of files alone."""
    if not done.exists():
        subprocess.run([sys.executable, "-m", "tapkit", *map(str, arguments)], check=True)
    return " ".join(["tapkit", *(word.name if isinstance(word, Path) else str(word) for word in arguments)])


def weaken(weights: Path, out: Path) -> Path:
    """Strand with noise on its matrices, drawn from seed 0."""
    import torch

    from tapkit.train.export import export_weights
    from tapkit.train.strand.recipe import VISIBILITY
    from tapkit.weights import read

    random = torch.Generator().manual_seed(0)
    noisy = {}
    for name, value in read(weights).items():
        spread = NOISE * value.float().std() if value.ndim > 1 and not name.startswith(VISIBILITY) else torch.zeros(())
        noisy[name] = value.float() + spread * torch.randn(value.shape, generator=random)
    return export_weights(out, noisy, {"model": "strand", "licence": "Apache-2.0", "noise": NOISE})[0]


def measure(weights: Path, clips: Path, folder: Path) -> dict[str, np.ndarray]:
    """AJ, delta_avg and OA of each clip, fractions."""
    from tapkit.datasets.folder import FolderDataset
    from tapkit.evaluation.protocol import Protocol
    from tapkit.evaluation.run import Contestant, evaluate

    result = evaluate(FolderDataset(clips), [Contestant.of("strand", weights, resolution=256)], Protocol(), folder)
    rows = [score.figures for score in result.models[0].scores]
    return {name: np.array([row[key] for row in rows], np.float64) for name, key in FIGURES.items()}


def compared(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> dict[str, Any]:
    """Means in percent, and the paired difference with its 95 % interval over clips."""
    from tapkit.metrics.statistics import paired_difference

    table = {}
    for name in FIGURES:
        change = paired_difference(before[name], after[name])
        table[name] = {
            "before": 100 * float(np.nanmean(before[name])),
            "after": 100 * float(np.nanmean(after[name])),
            "change": 100 * change.value,
            "low": 100 * change.low,
            "high": 100 * change.high,
            "clips": change.clips,
            "higher_on": change.better,
        }
    return table


def table(stored: dict[str, Any]) -> str:
    """The stored figures as a table of the page."""
    lines = [
        "| student | figure | before | after | difference (95 % over clips) | higher on |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name, figures in (each for student in stored["students"].values() for each in student["figures"].items()):
        for figure, row in figures.items():
            lines.append(
                f"| {name} | {figure} | {row['before']:.1f} | {row['after']:.1f} | "
                f"{row['change']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f}) | "
                f"{row['higher_on']} of {row['clips']} |"
            )
    return "\n".join(lines) + "\n"


def write_page() -> None:
    """Put the table of the stored results on the page."""
    new = table(json.loads(RESULTS.read_text()))
    PAGE.write_text(BLOCK.sub(lambda found: found[1] + new + found[2], PAGE.read_text()))


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*", type=Path)
    parser.add_argument("--eval", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--clips", type=int, default=5, help="pieces of each video")
    parser.add_argument("--least", type=float, default=0.25, help="see tapkit pseudo-label")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--docs", action="store_true", help="only write the page's table anew")
    arguments = parser.parse_args()
    if not arguments.docs and (not arguments.videos or arguments.eval is None or arguments.out is None):
        parser.error("videos, --eval and --out are needed")
    return arguments


def teach(name: str, start: Path, arguments: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Train one student and measure it before and after; returns the command and what is to be stored."""
    from tapkit.train.export import average_weights

    out: Path = arguments.out
    taught = out / f"{name}-taught.safetensors"
    run = ["--preset", "pseudo-labels", "--data", out / "labelled", "--init", start, "--out", out / f"{name}-run"]
    command = tapkit(taught, "train", *run, "--total-steps", arguments.steps, "--export", taught)
    mixed = out / f"{name}-mixed.safetensors"
    average_weights(start, taught, SHARE, mixed)
    before = measure(start, arguments.eval, out / "eval" / start.stem)
    figures = {}
    for what, weights in {name: taught, f"{name}, {SHARE:.0%} of it averaged in": mixed}.items():
        figures[what] = compared(before, measure(weights, arguments.eval, out / "eval" / weights.stem))
        for figure, row in figures[what].items():
            print(
                f"{what}, {figure}: {row['before']:.1f} -> {row['after']:.1f} ({row['change']:+.2f}, 95 % "
                f"{row['low']:+.2f} to {row['high']:+.2f}; higher on {row['higher_on']} of {row['clips']})",
                flush=True,
            )
    training = json.loads(taught.with_suffix(".json").read_text())
    return command, {"figures": figures, **{key: training[key] for key in ("steps", "seconds", "hardware", "config")}}


def main() -> None:
    """Label, train, measure, print, store."""
    from tapkit import weights as stored
    from tapkit.registry import card

    arguments = read_arguments()
    if arguments.docs:
        write_page()
        return
    shipped = stored.find(card("strand"))
    assert shipped is not None, "strand's weights are in the package"
    labelled, weak = arguments.out / "labelled", arguments.out / "weak.safetensors"
    labels = [*arguments.videos, labelled, "--teachers", TEACHERS, "--agree", 2, "--frames", 24]
    labels += ["--clips", arguments.clips, "--least", arguments.least]
    commands = [tapkit(labelled / "report.json", "pseudo-label", *labels)]
    students = {}
    for name, start in {"strand": shipped, "weakened": weak if weak.exists() else weaken(shipped, weak)}.items():
        command, students[name] = teach(name, start, arguments)
        commands.append(command)
    summary = json.loads((labelled / "report.json").read_text())
    summary.pop("pieces")
    facts = {
        "date": time.strftime("%Y-%m-%d"),
        "load": os.getloadavg()[0],
        "videos": [video.name for video in arguments.videos],
        "labels": summary,
        "noise": NOISE,
        "students": students,
        "commands": commands,
    }
    arguments.results.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()

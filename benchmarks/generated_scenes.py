"""How much harder rendered scenes are than flat clips: trackers on both, by PointOdyssey's protocol and figures.

    python benchmarks/generated_scenes.py SET [--flat 10] [--frames 48] [-m strand -m lucas-kanade] [--photos FOLDER]
                                          [--work FOLDER] [--out benchmarks/results/generated_scenes.json]

SET is a folder of `tapkit generate`; the flat clips are `tapkit synth`'s, of the same size and of --frames frames
(photographs from --photos). Both go the way of PointOdyssey's official evaluation (specs/pointodyssey.md 4.2, 5): at
most 256 points that are visible on the first frame and on eight frames in all, asked for there and followed to the
end; MTE, delta (1 to 16 pixels of a 256x256 frame) and survival (16, 50 pixels), on entries that are valid, hidden ones
too. Also what the clips are like: length of a step, share of hidden entries. Long videos have a line of their own.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tapkit import storage
from tapkit.datasets.base import Clip
from tapkit.datasets.folder import FolderDataset
from tapkit.datasets.pointodyssey import MAX_POINTS, evaluation_tracks
from tapkit.evaluation.protocol import Protocol
from tapkit.evaluation.result import ModelResult
from tapkit.evaluation.run import Contestant, evaluate

RESULTS = Path(__file__).parent / "results" / "generated_scenes.json"
FIGURES = {
    "mte": "pointodyssey/mte",
    "delta_avg": "pointodyssey/delta_avg",
    "survival_16": "pointodyssey/survival_16",
    "survival_50": "pointodyssey/survival_50",
}


class AsPointOdyssey(FolderDataset):
    """Clips of tapkit's folder format under the official evaluation of PointOdyssey."""

    metrics = ("pointodyssey", "tapvid")
    query_mode = "first"
    points = "joint"

    def __init__(self, root: Path, name: str, longest: int | None = None, shortest: int = 0) -> None:
        super().__init__(root, name)
        self.longest, self.shortest = longest, shortest

    def names(self) -> Sequence[str]:
        """Those of a length that was asked for."""
        lengths = {name: super(AsPointOdyssey, self).clip(name).frames for name in super().names()}
        return [n for n, frames in lengths.items() if self.shortest <= frames <= (self.longest or frames)]

    def clip(self, name: str) -> Clip:
        """See `Dataset.clip`."""
        whole = super().clip(name)
        valid = np.isfinite(whole.xy).all(-1)
        chosen = evaluation_tracks(whole.xy, whole.visible, valid, whole.size, MAX_POINTS)
        points = len(chosen.xy)
        queries = np.arange(points), np.zeros(points, np.int64)
        return Clip(
            name, chosen.xy, chosen.visible, whole.size, whole.open, valid=chosen.valid, queries=queries,
            stamp=f"{whole.stamp}, PointOdyssey",
        )  # fmt: skip


def character(dataset: AsPointOdyssey) -> dict[str, float]:
    """Steps of valid points from frame to frame, in pixels of a 256x256 frame, and the share of hidden entries."""
    steps, hidden = [], []
    for name in dataset.names():
        clip = dataset.clip(name)
        assert clip.valid is not None
        both = clip.valid[:, 1:] & clip.valid[:, :-1]
        moved = np.diff(clip.xy, axis=1) * (256 / np.array(clip.size[::-1]))
        steps.append(np.linalg.norm(moved, axis=-1)[both])
        hidden.append((~clip.visible & clip.valid).sum() / max(clip.valid.sum(), 1))
    every = np.concatenate(steps)
    return {
        "step_median_px": round(float(np.median(every)), 2),
        "step_95_px": round(float(np.quantile(every, 0.95)), 2),
        "hidden_share": round(float(np.mean(hidden)), 3),
    }


def row(name: str, dataset: AsPointOdyssey, model: ModelResult) -> dict[str, Any]:
    """One line of the table."""
    means = {short: model.summary[key].value for short, key in FIGURES.items()}
    return {"set": name, "clips": len(model.scores), "model": model.id, **means, "failed": dict(model.failed)}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("--flat", type=int, default=10)
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("-m", "--model", action="append")
    parser.add_argument("--work", type=Path, default=Path("build/generated_scenes"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    sets = {
        f"flat, {chosen.frames} frames": AsPointOdyssey(_flat_clips(chosen), "flat"),
        f"rendered, up to {2 * chosen.frames} frames": AsPointOdyssey(chosen.set, "rendered", 2 * chosen.frames),
        "rendered, longer": AsPointOdyssey(chosen.set, "rendered, longer", None, 2 * chosen.frames + 1),
    }
    rows, about = [], {}
    print("| clips | n | tracker | MTE px | delta_avg % | survival 16 px % | survival 50 px % |")
    print("|---|---|---|---|---|---|---|")
    for name, dataset in sets.items():
        if not dataset.names():
            continue
        about[name] = character(dataset)
        contestants = [Contestant.of(model, None, "cpu") for model in chosen.model or ("strand", "lucas-kanade")]
        protocol = Protocol("first", 5, "native", "joint")
        for model in evaluate(dataset, contestants, protocol, chosen.work / dataset.name).models:
            found = row(name, dataset, model)
            rows.append(found)
            shares = " | ".join(f"{100 * found[key]:.1f}" for key in ("delta_avg", "survival_16", "survival_50"))
            print(f"| {name} | {found['clips']} | {model.id} | {found['mte']:.2f} | {shares} |", flush=True)
    print()
    for name, facts in about.items():
        print(
            f"{name}: steps of {facts['step_median_px']} px (median), {facts['step_95_px']} px (95 %); "
            f"{100 * facts['hidden_share']:.1f} % of the entries are hidden"
        )
    storage.write_text(chosen.out, json.dumps({"rows": rows, "clips": about}, indent=1) + "\n")


def _flat_clips(chosen: argparse.Namespace) -> Path:
    """`tapkit synth`'s clips, at the size of the set."""
    from tapkit.synth.batch import ClipMaker
    from tapkit.synth.config import SynthConfig
    from tapkit.synth.photos import PhotoBank
    from tapkit.synth.write import write_clips

    dataset = FolderDataset(chosen.set)
    size = dataset.clip(dataset.names()[0]).size
    bank = PhotoBank.load(chosen.photos) if chosen.photos else None
    maker = ClipMaker(SynthConfig(frames=chosen.frames, size=size, points=512), bank, "cpu")
    folder: Path = chosen.work / "flat-clips"
    write_clips(maker, folder, chosen.flat)
    return folder


if __name__ == "__main__":
    main()

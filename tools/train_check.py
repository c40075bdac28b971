"""One step of every model that can be trained, then all that follows it: validation, export, loading, tracking.

    python tools/train_check.py [MODEL ...] [--frames 9]

Networks have their published sizes and random weights, clips are small: about 10 s of a core and 2 GB a model (gmrw: a
minute). Prints a line for each; exit 1 if one fails.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import tapkit
from tapkit.train.config import Stage
from tapkit.train.recipe import RECIPES, recipe
from tapkit.train.run import Run, RunOptions
from tapkit.train.sources import SyntheticSource
from tapkit.train.trainer import Trainer

SIDES = {"pips2": 128, "gmrw": 128}
"""Frames that some networks need at least; 64 pixels for the others."""
AS_THEY_ARE = ("cotracker", "pips")
"""Beginnings of the models that would otherwise enlarge frames before they track."""


def check(model: str, frames: int) -> str:
    """One step and what follows -> what there is to say of it."""
    cpu, found = torch.device("cpu"), recipe(model)
    config = next(iter(found.presets.values()))
    if model == "gmrw":
        frames, config = 2, replace(config, settings=replace(config.settings, crop=64))
    stage = Stage(1, SIDES.get(model, 64), frames, 1, 4)
    config = replace(config, stages=(stage,), augmentation=None, cache=None, warmup=0)
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "w.safetensors"
        trainer = Trainer(config, found.build(config, cpu), SyntheticSource(None, cpu), cpu, "float32")
        options = RunOptions(out=Path(folder) / "run", validate_clips=1, export=weights)
        measured = Run(trainer, options).run(lambda _: None)["synthetic"]
        given = {"input_size": None} if model.startswith(AS_THEY_ARE) else {}
        tracker = tapkit.load(model, weights=weights, device="cpu", **given)
        tracks = tracker.track(np.zeros((9, 128, 128, 3), np.uint8), queries=[(0, 20.0, 20.0)])
    assert tracks.xy.shape == (1, 9, 2) and np.isfinite(tracks.xy).all()
    return (
        f"{model}: delta_avg {measured['delta_avg']:.1f} after a step, {time.process_time() - started:.1f} s of a core"
    )


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(RECIPES))
    parser.add_argument("--frames", type=int, default=9)
    chosen = parser.parse_args()
    failed = 0
    for model in chosen.models:
        try:
            print(check(model, chosen.frames), flush=True)
        except Exception as error:
            failed += 1
            print(f"{model}: FAILED: {type(error).__name__}: {error}", flush=True)
    raise SystemExit(failed > 0)


if __name__ == "__main__":
    main()

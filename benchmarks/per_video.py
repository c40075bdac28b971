"""Whether methods that are fitted to one video learn what they should: a square in front of a moving background, with
exact flow, at the sizes at which the originals were measured.

    python benchmarks/per_video.py [omnimotion] [cadex++] [--steps N] [--seed S] [--write]

Prints errors (pixels) and occlusion at some steps; with --write keeps them in results/per_video.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

from per_video_scene import CADEXPP, OMNIMOTION, ExactFlows, Scene, figures

from tapkit.per_video.cadexpp.geometry import map_size
from tapkit.per_video.cadexpp.method import METHOD as CADEX_METHOD
from tapkit.per_video.cadexpp.method import CadexFit
from tapkit.per_video.cadexpp.options import CadexOptions
from tapkit.per_video.method import Place
from tapkit.per_video.omnimotion.method import METHOD as OMNI_METHOD
from tapkit.per_video.omnimotion.method import OmniMotionFit
from tapkit.per_video.omnimotion.options import OmniMotionOptions
from tapkit.per_video.omnimotion.render import OCCLUDED

RESULTS = Path(__file__).parent / "results" / "per_video.json"
CPU = torch.device("cpu")


def omnimotion(steps: int, seed: int) -> tuple[Scene, Any, Any, OmniMotionOptions, int]:
    """The small network of the original's measurement; schedules run 25 times as fast as published."""
    options = OmniMotionOptions(
        steps=steps, pairs=4, points=48, samples=6, code=32, time_hidden=64, coupling_hidden=64, color_hidden=64,
        affine=False, rate_time=1e-3, rate_bijection=1e-3, rate_color=1e-3,
    )  # fmt: skip
    flows: Any = ExactFlows(OMNIMOTION, OMNIMOTION.frames)
    return OMNIMOTION, OmniMotionFit(OMNIMOTION.prepared(), flows, options, seed, CPU), OMNI_METHOD, options, 4000


def cadexpp(steps: int, seed: int) -> tuple[Scene, Any, Any, CadexOptions, int]:
    """With a rough prior of depth; learning rates fall over the steps asked for."""
    with TemporaryDirectory() as folder:
        prior = Path(folder) / "depth.npy"
        np.save(prior, CADEXPP.depth(map_size(CADEXPP.size)))
        options = CadexOptions(steps=steps, pairs=8, points=128, reach=12, depth=str(prior), matches=False)
        fit = CadexFit(CADEXPP.prepared(), ExactFlows(CADEXPP, 12), options, seed, CPU)  # type: ignore[arg-type]
    return CADEXPP, fit, CADEX_METHOD, options, steps


MAKERS = {"omnimotion": (omnimotion, (100, 300, 500, 1000, 1750), 3), "cadex++": (cadexpp, (100, 300, 750, 1000), 4)}


FULL = {"omnimotion": 2 * OCCLUDED, "cadex++": 1.0}
"""What 1 - P(visible) is multiplied by to be the method's own score of occlusion."""


def measure(model: str, steps: int | None, seed: int) -> list[dict[str, float]]:
    """Figures at some steps."""
    make, moments, spacing = MAKERS[model]
    last = steps or moments[-1]
    scene, fit, method, options, schedule = make(last, seed)
    place, rows, begun = Place(scene.frames, scene.size), [], time.process_time()
    for index in range(last):
        fit.step(index, schedule)
        if index + 1 in moments or index + 1 == last:
            answer: Any = method.answer(fit.state().model, place, options)
            row = {"step": index + 1, "cpu_seconds": round(time.process_time() - begun, 1)}
            rows.append(
                {**row, **{name: round(v, 3) for name, v in figures(scene, answer, spacing, full=FULL[model]).items()}}
            )
            print(model, json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(MAKERS), help="omnimotion, cadex++")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = {model: measure(model, arguments.steps, arguments.seed) for model in arguments.models}
    if arguments.write:
        kept = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
        kept |= {model: {"seed": arguments.seed, "torch": torch.__version__, "rows": r} for model, r in found.items()}
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()

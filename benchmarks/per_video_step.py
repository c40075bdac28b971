"""What a step of a fit costs, as it is and with `torch.compile` around its networks.

    python benchmarks/per_video_step.py [omnimotion] [cadex++] [--steps N]

CPU time of one thread in milliseconds, of the preset `cpu` on a made clip with exact flow; and the wall time of the
first compiled step, which is spent in compilers. Compiled are the functions in which the time goes: of OmniMotion the
bijections and the field, of CaDeX++ the map from frame to frame.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))

from per_video_occlusion import SCENE
from per_video_scene import ExactFlows

from tapkit.engine.fitted import options_of
from tapkit.per_video.cadexpp.method import CadexFit
from tapkit.per_video.omnimotion.method import OmniMotionFit

KINDS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "omnimotion": (OmniMotionFit, ("to_canonical", "to_local", "field")),
    "cadex++": (CadexFit, ("map",)),
}
SCHEDULE = 1000
"""Steps of the schedule, from the middle of which steps are timed."""


def timed(step: Callable[[int, int], object], first: int, count: int) -> float:
    """Milliseconds of a processor that steps take from `first` on."""
    begun = time.process_time()
    for index in range(first, first + count):
        step(index, SCHEDULE)
    return 1000 * (time.process_time() - begun) / count


def measure(model: str, count: int) -> dict[str, float]:
    """As it is and compiled."""
    kind, names = KINDS[model]
    options = options_of(model, "cpu", {"steps": SCHEDULE})
    fit = kind(SCENE.prepared(), ExactFlows(SCENE, options.reach), options, 0, torch.device("cpu"))
    middle = SCHEDULE // 2
    timed(fit.step, middle, 2)
    found = {"as it is": timed(fit.step, middle + 2, count)}
    for name in names:
        setattr(fit.network, name, torch.compile(getattr(fit.network, name), dynamic=False))
    begun = time.perf_counter()
    fit.step(middle + 2, SCHEDULE)
    found["first compiled step, wall time"] = 1000 * (time.perf_counter() - begun)
    timed(fit.step, middle + 3, 5)  # shapes that come up later are compiled anew
    return {**found, "compiled": timed(fit.step, middle + 8, count)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(KINDS), help="omnimotion, cadex++")
    parser.add_argument("--steps", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for model in arguments.models or KINDS:
        print(model, json.dumps({name: round(ms) for name, ms in measure(model, arguments.steps).items()}), flush=True)


if __name__ == "__main__":
    main()

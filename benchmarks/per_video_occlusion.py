"""Points that something covers for a while: methods that are fitted to the video beside chained flow, on the same flow.

    python benchmarks/per_video_occlusion.py [cadex++] [omnimotion] [--set NAME=VALUE ...] [--write] [--keep DIR]
    python benchmarks/per_video_occlusion.py omnimotion --flow [--set NAME=VALUE ...]

A textured square crosses a textured background that moves itself; a grid of points of the first frame on the background
is followed to the last. Prints, for the points that were covered and are seen again at the end, the error there in
pixels, and how often hidden and visible points are said to be hidden. With --flow nothing is fitted: it prints how much
of the flow a fit would believe, and how much of that is wrong, by the distance of the frames.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

from per_video_scene import Scene

import tapkit
from tapkit.engine.fitted import options_of
from tapkit.parsing import read_options
from tapkit.per_video.flow_fit import flows_of
from tapkit.per_video.known import method
from tapkit.per_video.prepare.flows import PairFlows

RESULTS = Path(__file__).parent / "results" / "per_video_occlusion.json"
SCENE = Scene(24, (96, 160), (0.6, 0.25), (112.0, 46.0), (-3.0, 0.0), 14.0, bright=True)
SPACING, MARGIN = 4, 6


def judged(scene: Scene, tracks: tapkit.Tracks, grid: np.ndarray) -> dict[str, float]:
    """Errors and occlusion of tracks of the grid [N,2] (index coordinates) of the first frame."""
    frames = np.arange(scene.frames)
    truth = np.stack([scene.moved(grid, 0, t) for t in frames], 1)
    seen = np.stack([scene.seen(grid, 0, t) for t in frames], 1)
    apart = np.linalg.norm(tracks.xy - 0.5 - truth, axis=-1)
    back = seen[:, -1] & ~seen.all(1) & ~scene.on_square(grid, 0)
    inside = ((truth >= 0) & (truth <= np.array(scene.size[::-1]) - 1)).all(-1)
    said = tracks.visible_at()
    later, on = frames > 0, scene.on_square(grid, 0)
    return {
        "points covered for a while": int(back.sum()),
        "their error at the end, median": float(np.median(apart[back, -1])),
        "their error at the end, mean": float(apart[back, -1].mean()),
        "share of them within 2 px": float((apart[back, -1] < 2).mean()),
        "error of all visible points, median": float(np.median(apart[:, later][seen[:, later]])),
        "error of the square's points, median": float(np.median(apart[:, later][seen[:, later] & on[:, None]])),
        "hidden points said to be hidden": float((~said)[:, later][inside[:, later] & ~seen[:, later]].mean()),
        "visible points said to be hidden": float((~said)[:, later][seen[:, later]].mean()),
    }


DISTANCES = (1, 2, 3, 6, 9, 12, 16)
"""Of two frames: those up to the next are counted together."""
WRONG = 2.0
"""Pixels from which flow is."""


def judged_flow(scene: Scene, flows: PairFlows) -> list[dict[str, float]]:
    """For each group of distances, of the square and of the background that is seen in both frames: the share of the
    flow that is believed, and the share of that which is wrong."""
    counts: dict[tuple[int, str], np.ndarray] = {}
    for first in range(scene.frames):
        on = scene.on_square(scene.pixels, first)
        for second in flows.targets(first):
            group = max(distance for distance in DISTANCES if distance <= abs(first - second))
            flow = np.asarray(flows.flow(first, second), np.float64)
            apart = np.linalg.norm(scene.pixels + flow - scene.moved(scene.pixels, first, second), axis=-1)
            believed = np.asarray(flows.mask(first, second)) > 0
            for layer, there in (("square", on), ("background", ~on & scene.seen(scene.pixels, first, second))):
                row = [there.sum(), (there & believed).sum(), (there & believed & (apart > WRONG)).sum()]
                counts[group, layer] = counts.get((group, layer), np.zeros(3)) + row
    rows = []
    for group in DISTANCES:
        found: dict[str, float] = {"frames apart": group}
        for layer in ("square", "background"):
            if (group, layer) in counts:
                total, kept, wrong = counts[group, layer]
                found[f"{layer} believed"] = round(kept / max(total, 1), 3)
                found[f"{layer} wrong of that"] = round(wrong / max(kept, 1), 3)
        rows.append(found)
    return rows


def show_flow(model: str, chosen: Mapping[str, Any]) -> None:
    """Print `judged_flow` of what a model's preset believes."""
    options = options_of(model, "cpu", chosen)
    with TemporaryDirectory() as folder:
        request = method(model).request(options)  # type: ignore[attr-defined]
        flows = flows_of(SCENE.prepared(Path(folder)), request, torch.device("cpu"))
        for row in judged_flow(SCENE, flows):
            print(model, json.dumps(row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["cadex++", "omnimotion"])
    parser.add_argument("--set", action="append", default=[], help="an option of the method")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--flow", action="store_true", help="fit nothing, and look at the flow")
    parser.add_argument("--keep", type=Path, help="keep the fits there, and take those that are there already")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.flow:
        for model in arguments.models:
            show_flow(model, read_options(arguments.set))
        return
    height, width = SCENE.size
    grid = (
        np.mgrid[MARGIN : width - MARGIN : SPACING, MARGIN : height - MARGIN : SPACING].reshape(2, -1).T.astype(float)
    )
    queries = [(0, x + 0.5, y + 0.5) for x, y in grid]
    found: dict[str, Any] = {}
    kept = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    with TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        for model in ["flow-chain", *arguments.models]:
            begun = time.process_time()
            took = folder / f"{model}.fit" / "cpu_seconds"  # a fit that is kept says what it took when it was made
            if model == "flow-chain":
                tracks = tapkit.track(SCENE.video, queries, model=model, device="cpu")
            elif took.is_file():
                tracks = tapkit.load(str(folder / f"{model}.fit"), device="cpu").track(SCENE.video, queries)
            else:
                fit = tapkit.fit(
                    SCENE.video, folder / f"{model}.fit", model=model, preset="cpu", device="cpu",
                    say=lambda text: print(text, flush=True), **read_options(arguments.set),
                )  # fmt: skip
                tracks = fit.track(SCENE.video, queries)
                took.write_text(f"{time.process_time() - begun:.1f}")
            row = {name: round(value, 3) for name, value in judged(SCENE, tracks, grid).items()}
            row["CPU seconds"] = float(took.read_text()) if took.is_file() else round(time.process_time() - begun, 1)
            called = " ".join([model, *(arguments.set if model != "flow-chain" else [])])
            found[called] = row
            print(called, json.dumps(row), flush=True)
    if arguments.write:
        RESULTS.write_text(json.dumps({**kept, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()

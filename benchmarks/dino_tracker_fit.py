"""DINO-Tracker's networks learn a made clip whose correspondences are known: does the loss reach where it should?

    python benchmarks/dino_tracker_fit.py [--steps 200] [--save]
    python benchmarks/dino_tracker_fit.py --cost cpu          # instead: CPU seconds of a preset's parts

The clip is `seeded.video(6, 112, 154, 3)` of the parity set: a textured background that moves, and a square that moves
before it. Frozen features are a fixed random projection of each patch in place of DINOv2's. Each step learns from 256
exact pairs of visible points on three random frames, by the flow loss and the two priors, with networks of full width.
Printed: mean and median error (px) of a grid of frame 0 over the later frames, and the flow loss. What the original
does on the same clip: background 38.7/29.4 px at the start, 4.1/1.7 after 200 steps; square 21/21 and 6.8/5.4.

With --cost the package's clip rabbit.mp4 is fitted to for a few steps, with a backbone of the preset's size and random
weights (they do not change the cost).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from parity import Parity  # noqa: E402
from parity.dino_tracker import patches  # noqa: E402

import tapkit  # noqa: E402
from tapkit.nn.dinov2 import DinoV2  # noqa: E402
from tapkit.per_video.dino_tracker import losses  # noqa: E402
from tapkit.per_video.dino_tracker.fit import RATE  # noqa: E402
from tapkit.per_video.dino_tracker.grid import TokenGrid  # noqa: E402
from tapkit.per_video.dino_tracker.method import METHOD  # noqa: E402
from tapkit.per_video.dino_tracker.network import DinoTracker  # noqa: E402
from tapkit.per_video.dino_tracker.options import PRESETS  # noqa: E402
from tapkit.per_video.dino_tracker.tracking import tracks  # noqa: E402
from tapkit.per_video.method import Place  # noqa: E402
from tapkit.per_video.prepare.store import Prepared  # noqa: E402
from tapkit.per_video.prepare.tokens import backbone  # noqa: E402
from tapkit.video.samples import sample  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "dino_tracker_fit.json"
FRAMES, HEIGHT, WIDTH, SEED = 6, 112, 154, 3
INSIDE, MARGIN, SPACING = 7, 12, 10
PAIRS, SHOWN = 256, 3
"""Pairs of points and frames of a step."""


class Scene:
    """Where every point of the clip goes."""

    def __init__(self) -> None:
        rng = np.random.RandomState(SEED)
        rng.uniform(size=84)  # what the texture is made of is drawn before
        self.velocity = rng.uniform(-1.5, 1.5, 2)
        self.half = 0.14 * min(HEIGHT, WIDTH)

    def centre(self, frame: np.ndarray) -> np.ndarray:
        """Of the square, (x, y) [...,2]."""
        x = WIDTH * (0.2 + 0.6 * frame / (FRAMES - 1))
        return np.stack([x, np.full_like(x, HEIGHT / 2)], -1)

    def on_square(self, frame: np.ndarray, xy: np.ndarray) -> np.ndarray:
        """Whether points [...,2] on frames [...] lie on the square."""
        return (np.abs(xy - self.centre(frame)) < self.half).all(-1)

    def carried(self, source: np.ndarray, target: np.ndarray, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where points [n,2] of the source frames [n] are on the target frames, and whether they are seen there."""
        square = self.on_square(source, xy)
        with_square = xy + self.centre(target) - self.centre(source)
        with_background = xy + (target - source)[:, None] * self.velocity
        end = np.where(square[:, None], with_square, with_background)
        inside = ((end >= INSIDE) & (end <= np.array([WIDTH, HEIGHT]) - 1 - INSIDE)).all(-1)
        return end, inside & (square | ~self.on_square(target, end))


def batch(scene: Scene, rng: np.random.Generator) -> tuple[np.ndarray, Tensor, Tensor, Tensor, Tensor]:
    """Frames, then the number of each pair's source and target among them, and both positions."""
    frames = np.sort(rng.choice(FRAMES, SHOWN, replace=False))
    drawn = 4 * PAIRS
    ends = rng.integers(SHOWN, size=(2, drawn))
    begin = rng.uniform(INSIDE, np.array([WIDTH, HEIGHT]) - 1 - INSIDE, (drawn, 2))
    end, seen = scene.carried(*frames[ends].astype(float), begin)
    rows = np.flatnonzero(seen)[:PAIRS]
    numbers = (torch.from_numpy(which[rows]) for which in ends)
    positions = (torch.from_numpy(xy[rows].astype(np.float32)) for xy in (begin, end))
    return frames, *numbers, *positions


@torch.no_grad()
def errors(network: DinoTracker, scene: Scene, frames: Tensor, raw: Tensor, grid: TokenGrid) -> dict[str, list[float]]:
    """Mean and median error of the grid of frame 0, by what the points lie on."""
    network.eval()
    features = network.refine(frames, raw, grid)
    x, y = np.meshgrid(np.arange(MARGIN, WIDTH - MARGIN, SPACING), np.arange(MARGIN, HEIGHT - MARGIN, SPACING))
    begin = np.stack([x, y], -1).reshape(-1, 2).astype(float)
    xy = torch.from_numpy(begin.astype(np.float32))
    found = tracks(network, features, torch.zeros(len(xy), dtype=torch.long), xy)[0].numpy()
    first = np.zeros(len(begin))
    square, missed = scene.on_square(first, begin), []
    for frame in range(1, FRAMES):
        end, seen = scene.carried(first, first + frame, begin)
        missed.append(np.where(seen, np.linalg.norm(found[:, frame] - end, axis=1), np.nan))
    network.train()
    of_all = np.stack(missed, 1)
    kinds = {"background": of_all[~square], "square": of_all[square]}
    return {kind: [float(np.nanmean(rows)), float(np.nanmedian(rows))] for kind, rows in kinds.items()}


def run(steps: int, shown: tuple[int, ...], seed: int = 0, width: int = 1024) -> list[dict[str, Any]]:
    """The fit; a row for each of the steps `shown`."""
    scene, grid = Scene(), TokenGrid((HEIGHT, WIDTH))
    parity = Parity(ROOT / "tests" / "parity_set")
    video = torch.from_numpy(parity.seeded.video(FRAMES, HEIGHT, WIDTH, SEED)).permute(0, 3, 1, 2)
    raw, frames = patches(video, parity, "dino_tracker.toy_patch", width), video / 255
    torch.manual_seed(seed)
    network = DinoTracker(width).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    rng, rows, seconds = np.random.default_rng(seed), [], 0.0
    for step in range(steps + 1):
        begun = time.process_time()
        chosen, source, target, begin, end = batch(scene, rng)
        features = network.refine(frames[chosen], raw[chosen], grid)
        found = network.locate(features, features.at(source, begin), target)
        length, direction = losses.prior_losses(features, raw[chosen])
        terms = {"flow": losses.flow_loss(found, end, grid.size), "length": length, "direction": direction}
        optimizer.zero_grad(set_to_none=True)
        losses.weighted(terms).backward()
        if step in shown:  # before the step is made: the state after so many steps
            figures = errors(network, scene, frames, raw, grid)
            rows.append(
                {"step": step, "flow": float(terms["flow"].detach()), **figures, "cpu_seconds": round(seconds, 1)}
            )
        optimizer.step()
        seconds += time.process_time() - begun
    return rows


def cost(preset: str, frames: int = 12, points: int = 100) -> dict[str, float]:
    """CPU seconds of a fit's parts: each frame's tokens, each pair's buddies, an early and a late step, answers."""
    spent: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        weights = str(Path(place) / "random.safetensors")
        chosen = PRESETS[preset]
        save_file(DinoV2(backbone(chosen.backbone).config).state_dict(), weights)
        options = replace(chosen, backbone_weights=weights)
        with tapkit.open_video(sample("rabbit"), end=frames) as source:
            prepared = Prepared.of(place, source, options.max_side)
        device, begun, stage = torch.device("cpu"), time.process_time(), "frames"

        def report(what: str, done: int, total: int) -> None:
            nonlocal begun, stage
            now = time.process_time()
            spent[stage] = spent.get(stage, 0.0) + now - begun
            begun, stage = now, what if done < total else "between"

        METHOD.prepare(prepared, options, device, report)
        fit = METHOD.build(prepared, options, 0, device)
        for name, index in (("early step", 0), ("late step", options.steps - 4)):
            fit.step(index, options.steps)
            begun = time.process_time()
            for number in range(1, 4):
                fit.step(index + number, options.steps)
            spent[name] = (time.process_time() - begun) / 3
        model = METHOD.answer(fit.state().model, Place(frames, prepared.size), options)
        features = model.encode(torch.from_numpy(np.array(prepared.frames)).permute(0, 3, 1, 2))
        queries = torch.rand(points, 3) * torch.tensor([0.0, prepared.size[1], prepared.size[0]])
        begun = time.process_time()
        model.track(features, prepared.size, queries)
        spent["answers"] = time.process_time() - begun
    pairs = frames * (frames - 1) / 2
    return {
        "tokens, each frame": spent["tokens"] / frames,
        "buddies, each pair of frames": spent["buddies"] / pairs,
        "early step": spent["early step"],
        "late step": spent["late step"],
        f"answers, each of {points} points and frame": spent["answers"] / points / frames,
    }


def main() -> None:
    """Print a table; with --save keep it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cost", metavar="PRESET", choices=sorted(PRESETS), help="CPU seconds of a preset's parts")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--save", action="store_true", help=f"write {RESULT.relative_to(ROOT)}")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.cost:
        for part, seconds in cost(arguments.cost).items():
            print(f"{part}: {seconds:.3g} s")
        return
    shown = tuple(step for step in (0, 50, 100, 150, 200, arguments.steps) if step <= arguments.steps)
    rows = run(arguments.steps, shown)
    print("step | flow loss | background mean/median px | square mean/median px | CPU seconds")
    for row in rows:
        background, square = ("{:.1f}/{:.1f}".format(*row[kind]) for kind in ("background", "square"))
        print(f"{row['step']} | {row['flow']:.1e} | {background} | {square} | {row['cpu_seconds']}")
    if arguments.save:
        RESULT.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""A square that moves in front of a background, with exact flow, tracks and visibility: what methods that are fitted to
one video must be able to explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tapkit.per_video.prepare.flows import BELIEVED, targets
from tapkit.per_video.prepare.store import Prepared


@dataclass(frozen=True)
class Scene:
    """The background moves by `pan` a frame; a square of half side `half` begins at `centre` and moves by `speed`."""

    frames: int
    size: tuple[int, int]
    pan: tuple[float, float]
    centre: tuple[float, float]
    speed: tuple[float, float]
    half: float

    def place(self, frame: int) -> np.ndarray:
        """Where the square's centre is, [2]."""
        return np.add(self.centre, np.multiply(self.speed, frame))

    def on_square(self, xy: np.ndarray, frame: int) -> np.ndarray:
        """Whether points [...,2] of a frame lie on the square."""
        return (np.abs(xy - self.place(frame)) < self.half).all(-1)

    @cached_property
    def pixels(self) -> np.ndarray:
        """[h,w,2] (x, y), index coordinates."""
        return np.stack(np.meshgrid(np.arange(self.size[1]), np.arange(self.size[0])), -1).astype(np.float64)

    def moved(self, xy: np.ndarray, first: int, second: int) -> np.ndarray:
        """Where points [...,2] of a frame are on another."""
        step = np.where(self.on_square(xy, first)[..., None], self.speed, self.pan)
        return xy + step * (second - first)

    def seen(self, xy: np.ndarray, first: int, second: int) -> np.ndarray:
        """Whether points [...,2] that are seen in `first` are seen in `second`."""
        there = self.moved(xy, first, second)
        inside = ((there >= 0) & (there <= np.array(self.size[::-1]) - 1)).all(-1)
        return inside & (self.on_square(xy, first) | ~self.on_square(there, second))

    @cached_property
    def video(self) -> np.ndarray:
        """uint8 [N,h,w,3]: smooth textures."""
        waves = np.random.default_rng(4).uniform(0.15, 0.6, (2, 3, 5, 2))
        phases = np.random.default_rng(5).uniform(0, 6.3, (2, 3, 5))
        found = []
        for frame in range(self.frames):
            on = self.on_square(self.pixels, frame)[..., None]
            back, front = self.pixels - np.multiply(self.pan, frame), self.pixels - np.multiply(self.speed, frame)
            pictures = [
                np.sin(np.einsum("hwd,ckd->hwck", place, waves[k]) + phases[k]).mean(-1)
                for k, place in enumerate((back, front))
            ]
            found.append(np.clip(127 + 110 * np.where(on, pictures[1], pictures[0]), 0, 255).astype(np.uint8))
        return np.stack(found)

    def prepared(self, folder: Path = Path()) -> Prepared:
        """The clip as methods take it."""
        return Prepared(folder, self.video)

    def depth(self, cells: tuple[int, int]) -> np.ndarray:
        """A prior float32 [N,h,w]: 1.3 on the square, beyond it a surface with some relief."""
        row, column = np.mgrid[: cells[0], : cells[1]]
        relief = 2 + 0.3 * row / cells[0] + 0.1 * np.sin(column / 3)
        scale = [(self.size[1] - 1) / (cells[1] - 1), (self.size[0] - 1) / (cells[0] - 1)]
        places = np.stack([column, row], -1) * scale
        return np.stack([np.where(self.on_square(places, t), 1.3, relief) for t in range(self.frames)]).astype(
            np.float32
        )


class ExactFlows:
    """The scene's own flow in the form of `PairFlows`; points that are not seen in both frames are not believed."""

    def __init__(self, scene: Scene, reach: int) -> None:
        self.scene, self.reach = scene, reach
        self._held: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return self.scene.frames

    def targets(self, first: int) -> list[int]:
        """See `PairFlows.targets`."""
        return targets(first, len(self), self.reach)

    def _pair(self, first: int, second: int) -> tuple[np.ndarray, np.ndarray]:
        if (first, second) not in self._held:
            scene = self.scene
            flow = scene.moved(scene.pixels, first, second) - scene.pixels
            mask = scene.seen(scene.pixels, first, second) * np.uint8(BELIEVED)
            self._held[first, second] = flow.astype(np.float32), mask
        return self._held[first, second]

    def flow(self, first: int, second: int) -> np.ndarray:
        """See `PairFlows.flow`."""
        return self._pair(first, second)[0]

    def mask(self, first: int, second: int) -> np.ndarray:
        """See `PairFlows.mask`."""
        return self._pair(first, second)[1]

    def counts(self) -> tuple[np.ndarray, np.ndarray]:
        """See `PairFlows.counts`."""
        of_pairs = np.zeros((len(self), len(self)), np.int64)
        of_pixels = np.zeros((len(self), *self.scene.size), np.uint16)
        for first in range(len(self)):
            for second in self.targets(first):
                usable = self.mask(first, second) > 0
                of_pairs[first, second] = usable.sum()
                of_pixels[first] += usable
        return of_pairs, of_pixels


def figures(scene: Scene, model: Any, spacing: int, margin: int = 2, full: float = 1.0) -> dict[str, float]:
    """Errors in pixels of a grid of the first frame over all later ones, visible points only, on the background and on
    the square; shares of the hidden and of the visible points that are said to be hidden, and their mean score: 1 -
    P(visible), times `full`, 1 at the most."""
    import torch

    height, width = scene.size
    grid = (
        np.mgrid[margin : width - margin : spacing, margin : height - margin : spacing].reshape(2, -1).T.astype(float)
    )
    queries = torch.from_numpy(np.concatenate([np.zeros((len(grid), 1)), grid + 0.5], 1)).float()
    said = model.answer(queries)
    xy, visible = said.xy.numpy() - 0.5, said.visible.numpy()
    on = scene.on_square(grid, 0)
    errors: dict[str, list[np.ndarray]] = {"background": [], "square": []}
    lost: dict[str, list[np.ndarray]] = {"hidden": [], "visible": []}
    for frame in range(1, scene.frames):
        truth, seen = scene.moved(grid, 0, frame), scene.seen(grid, 0, frame)
        inside = ((truth >= 0) & (truth <= np.array([width, height]) - 1)).all(-1)
        apart = np.linalg.norm(xy[:, frame] - truth, axis=-1)
        errors["background"].append(apart[seen & ~on])
        errors["square"].append(apart[seen & on])
        lost["hidden"].append(1 - visible[inside & ~seen, frame])
        lost["visible"].append(1 - visible[seen, frame])
    joined = {name: np.concatenate(parts) for name, parts in {**errors, **lost}.items()}
    found: dict[str, float] = {}
    for name in errors:
        found |= {f"{name}_mean": float(joined[name].mean()), f"{name}_median": float(np.median(joined[name]))}
    for name in lost:
        found |= {
            f"{name}_flagged": float((joined[name] > 0.5).mean()),
            f"{name}_score": float(np.minimum(full * joined[name], 1).mean()),
        }
    return found


OMNIMOTION = Scene(6, (32, 40), (1.0, 0.5), (24.0, 16.0), (-1.5, 0.0), 8.0)
CADEXPP = Scene(20, (48, 72), (0.6, 0.3), (50.0, 24.0), (-1.0, 0.0), 9.0)
SCENES: Sequence[Scene] = (OMNIMOTION, CADEXPP)

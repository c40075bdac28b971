"""What one step of the fit looks at: frames, pairs of points out of trajectories, buddies, points to go round with.

Everything is drawn from one generator, which is seeded by the fit's seed and the number of the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tapkit.coords import Size, resize
from tapkit.per_video.dino_tracker.grid import TokenGrid
from tapkit.per_video.dino_tracker.losses import Buddies, Limit, Pair
from tapkit.per_video.prepare import trajectories
from tapkit.per_video.prepare.foreground import foreground_at

PAIRS = 512
"""Pairs of points in a step, as published; half of them foreground."""
FOREGROUND, BACKGROUND = 179 / PAIRS, 77 / PAIRS
"""Points for each pair of frames, as shares of those pairs: of buddies at most so many, of points that go round just so
many."""
ROUNDS = 4
"""Pairs of frames of each of these losses."""
_TRIES = 10
"""How often frames are drawn again that no trajectory connects well."""


class Correspondences(NamedTuple):
    """Pairs of points that flow says are the same."""

    frames: np.ndarray
    """int64 [F], rising: the frames that they lie on, and all that the step looks at."""
    source: Tensor
    """int64 [P], numbers among `frames`."""
    target: Tensor
    begin: Tensor
    """float32 [P,2], pixels of the model's size."""
    end: Tensor


class Material:
    """What a clip offers to be learned from."""

    def __init__(
        self,
        chains: Sequence[np.ndarray],
        buddies: Sequence[np.ndarray],
        masks: np.ndarray,
        size: Size,
        grid: TokenGrid,
    ) -> None:
        """
        Args:
            chains: for each frame the trajectories alive there (`trajectories.ROW`), pixels of a frame of `size`.
            buddies: for each frame its best buddies on later frames (`prepare.buddies.ROW`).
            masks: bool [T,h,w], of any size: foreground.
            size: (height, width) of the working size.
            grid: of the model's size.
        """
        self.chains, self.buddies, self.size, self.grid = chains, buddies, size, grid
        self.masks = torch.from_numpy(masks)
        self.centres = grid.centres()
        self._foreground = self._begun_on_foreground()

    def __len__(self) -> int:
        return len(self.chains)

    def _begun_on_foreground(self) -> np.ndarray:
        """For each chain whether its first point is foreground, bool [chains]."""
        parts, begun = [np.empty(0, bool)], 0
        for frame in range(len(self)):
            entry = self.chains[frame]
            new = entry[np.searchsorted(entry["id"], begun) :]
            xy = torch.from_numpy(trajectories.positions(new))
            parts.append(foreground_at(self.masks[frame], xy, self.size).numpy())
            begun += len(new)
        return np.concatenate(parts)

    def rows(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the frame's chains that agree with the direct flow: those of foreground chains, and the others."""
        entry = self.chains[frame]
        foreground = self._foreground[entry["id"]]
        agrees = np.asarray(entry["agrees"])
        return np.flatnonzero(agrees & foreground), np.flatnonzero(agrees & ~foreground)

    def at(self, frame: int, rows: np.ndarray) -> np.ndarray:
        """Positions [n,2] of chains, pixels of the model's size."""
        return resize(trajectories.positions(self.chains[frame][rows]), self.size, self.grid.size)

    def limit(self, frames: np.ndarray, rng: np.random.Generator, pairs: int) -> Limit:
        """Which of given points on the frames numbered so are used: random ones, so many foreground, so many not."""
        most = round(FOREGROUND * pairs), round(BACKGROUND * pairs)

        def choose(number: int, xy: Tensor) -> Tensor:
            inside = foreground_at(self.masks[int(frames[number])], xy.cpu(), self.grid.size).numpy()
            kinds = (np.flatnonzero(inside), np.flatnonzero(~inside))
            kept = [rng.permutation(rows)[:share] for rows, share in zip(kinds, most, strict=True)]
            return torch.from_numpy(np.concatenate(kept)).to(xy.device)

        return choose

    def pixels(self, frame: int, rng: np.random.Generator, pairs: int) -> np.ndarray:
        """Centres of random pixels [n,2] of the frame, so many of its foreground, so many of the rest."""
        mask = self.masks[frame].numpy()
        parts = [np.empty((0, 2), np.float32)]
        for kind, share in ((mask, FOREGROUND), (~mask, BACKGROUND)):
            cells = np.argwhere(kind)
            if len(cells):
                cell = cells[rng.integers(len(cells), size=round(share * pairs))]
                spot = (cell + rng.random(cell.shape)) / mask.shape * self.grid.size  # anywhere in the cell
                parts.append((np.floor(spot) + 0.5)[:, ::-1].astype(np.float32))
        return np.concatenate(parts)


def correspondences(
    material: Material, rng: np.random.Generator, each: int = 4, pairs: int = PAIRS
) -> Correspondences | None:
    """Pairs of points between `each` random frames and as many others; None: nothing connects any frames tried.

    Half of the pairs are of foreground trajectories, as far as there are any. Frames are drawn again, and the best draw
    is taken, where trajectories between them are few.
    """
    best: list[np.ndarray] = []
    for _ in range(_TRIES):
        pool = _pool(material, rng, each, pairs)
        if sum(map(len, pool)) > sum(map(len, best)):
            best = pool
        if sum(map(len, best)) >= pairs:
            break
    count = sum(map(len, best))
    if not count:
        return None
    first, second = (rng.permutation(rows) for rows in best)
    half = pairs // 2
    fore = min(len(first), max(half, pairs - len(second)))
    drawn = np.concatenate([first[:fore], second[: pairs - fore]])
    frames, numbers = np.unique(drawn[:, :2].astype(np.int64), return_inverse=True)
    source, target = torch.from_numpy(numbers.reshape(-1, 2)).unbind(1)
    places = torch.from_numpy(drawn[:, 2:].astype(np.float32))
    return Correspondences(frames, source, target, places[:, :2], places[:, 2:])


def _pool(material: Material, rng: np.random.Generator, each: int, pairs: int) -> list[np.ndarray]:
    """Of random frames: pairs of points (frame, frame, x, y, x', y') [n,6] of the foreground, and of the rest."""
    frames = len(material)
    sources, targets = (rng.choice(frames, min(each, frames), replace=False) for _ in range(2))
    found: list[list[np.ndarray]] = [[], []]
    for source in sources.tolist():
        kinds = material.rows(source)
        for target in targets.tolist():
            if source == target:
                continue
            for kind, rows in zip(found, kinds, strict=True):
                some = rng.choice(rows, min(pairs, len(rows)), replace=False)
                kind.append(_followed(material, source, target, some))
    nothing = np.empty((0, 6))
    return [np.concatenate([nothing, *kind]) for kind in found]


def _followed(material: Material, source: int, target: int, rows: np.ndarray) -> np.ndarray:
    """Those of the source frame's chains that are on the target frame, too: (frame, frame, x, y, x', y') [n,6]."""
    entry = material.chains[target]
    place = trajectories.found(entry, material.chains[source]["id"][rows])
    kept = (place >= 0) & np.asarray(entry["agrees"])[place]
    ends = (material.at(source, rows[kept]), material.at(target, place[kept]))
    return np.concatenate([np.full((int(kept.sum()), 2), (source, target)), *ends], 1)


def frame_pairs(rng: np.random.Generator, frames: int, same: bool) -> list[Pair]:
    """Random pairs of the frames of a step; `same`: both may be one frame."""
    if frames < 2 and not same:
        return []
    drawn = []
    for _ in range(ROUNDS):
        source, target = (int(number) for number in rng.choice(frames, 2, replace=same))
        drawn.append(Pair(source, target))
    return drawn


def buddies(material: Material, frames: np.ndarray, pairs: Sequence[Pair], limit: Limit) -> list[tuple[Pair, Buddies]]:
    """Best buddies of the frozen features between the pairs of frames."""
    found = []
    for pair in pairs:
        first, second = sorted(int(frames[number]) for number in pair)
        entry = material.buddies[first]
        low, high = np.searchsorted(entry["frame"], (second, second + 1))
        rows = entry[low:high]
        names = ("source", "target") if int(frames[pair.source]) == first else ("target", "source")
        source, target = (material.centres[torch.from_numpy(rows[name].astype(np.int64))] for name in names)
        kept = limit(pair.source, source)
        cosine, ambiguity = (torch.from_numpy(rows[name].copy())[kept] for name in ("cosine", "ambiguity"))
        found.append((pair, Buddies(source[kept], target[kept], cosine, ambiguity)))
    return found


def round_points(
    material: Material, frames: np.ndarray, rng: np.random.Generator, pairs: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Random points of random pairs of the step's frames: source and target frames int64 [n], positions [n,2]."""
    parts = []
    for pair in frame_pairs(rng, len(frames), same=True):
        xy = material.pixels(int(frames[pair.source]), rng, pairs)
        parts.append((np.full(len(xy), pair.source), np.full(len(xy), pair.target), xy))
    sources, targets, places = (torch.from_numpy(np.concatenate(column)) for column in zip(*parts, strict=True))
    return sources, targets, places

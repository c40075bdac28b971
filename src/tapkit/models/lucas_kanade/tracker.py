"""Pyramidal Lucas-Kanade: the classical tracker, and the floor which every learned one must beat.

Flow from frame to frame by OpenCV (Bouguet 2000), trusted where going back returns to the start (forward-backward
error, Kalal et al. 2010) and where the patch still looks like the one that was asked for (normalised cross-correlation
with the query's own patch, which is what notices slow drift). A lost point moves with the picture around it, and is
taken up again where the query's patch, and nothing else like it, is found near there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from tapkit import coords
from tapkit.errors import UsageError, require
from tapkit.models.base import Prediction, Size
from tapkit.models.lucas_kanade.card import CARDS
from tapkit.models.lucas_kanade.evidence import Evidence, joined, probabilities
from tapkit.models.lucas_kanade.patches import normalize, patches, peak_offset
from tapkit.models.options import Options, require_least
from tapkit.nn.precision import feature_dtype
from tapkit.types import ModelCard


@dataclass(frozen=True)
class LucasKanadeOptions(Options):
    """Settings; lengths are pixels of the frames as tracked (at most `max_side` long)."""

    window: int = 15
    """Side of the window that is registered."""
    levels: int = 4
    """Pyramid levels above the image itself."""
    max_side: int = 960
    """Longer frames are tracked at this length of their longer side."""
    back_error: float = 2.0
    """Forward-backward error above which a point is lost."""
    patch: int = 15
    """Side of the patch that is compared with the query's own."""
    least_match: float = -0.5
    """Correlation with the query's patch below which a point is lost."""
    search: int = 40
    """Half the side of the area in which a lost point is looked for."""
    found_match: float = 0.87
    """Correlation at which it is taken up again."""
    neighbours: int = 5
    """Places of the fixed grid whose median motion a lost point follows."""
    found_margin: float = 0.05
    """By how much that must exceed the correlation anywhere else in the area."""

    def check(self) -> None:
        """See `Options.check`. OpenCV registers windows of at least 3 pixels a side."""
        require_least(self, window=3, levels=0, max_side=1, patch=3, search=1, neighbours=1)


class LucasKanadeState(NamedTuple):
    """What is carried from frame to frame."""

    gray: Tensor
    """The last frame [h,w] uint8."""
    xy: Tensor
    """[N,2] float32, corner origin."""
    patch: Tensor
    """[N,p,p] float32: the query's patch, zero mean, unit norm (all zero where it has no texture)."""
    tracked: Tensor
    """[N] bool: followed; else lost."""
    age: Tensor
    """[N] float32: frames since the query."""
    lost: Tensor
    """[N] float32: frames since it was lost, 0 while followed."""
    taken_up: Tensor
    """[N] bool: was lost at least once and found again."""
    own: Tensor
    """[N,2] float32: how it moved lately beside the picture as a whole, pixels a frame; as it was when lost."""


class LucasKanade:
    """A `CausalModel` on the CPU; points do not influence each other."""

    card: ModelCard = CARDS[0]

    def __init__(self, config: LucasKanadeOptions) -> None:
        self.config = config
        self.options: Mapping[str, Any] = config.to_json()
        self._cv: Any = require("cv2", "cv")

    @property
    def device(self) -> torch.device:
        """Always the CPU: OpenCV works there."""
        return torch.device("cpu")

    def to(self, device: torch.device | str) -> Self:
        """Stays on the CPU."""
        return self

    def frame_size(self, size: Size) -> Size | None:
        """See `Model.frame_size`."""
        return coords.shrunk(size, self.config.max_side)

    def point_bytes(self, size: Size) -> int:
        """See `CausalModel.point_bytes`."""
        return 64 + 4 * self.config.patch**2 * 4

    def start(self, size: Size) -> LucasKanadeState:
        """See `CausalModel.start`."""
        p = self.config.patch
        return LucasKanadeState(
            gray=torch.zeros(size, dtype=torch.uint8),
            xy=torch.zeros(0, 2),
            patch=torch.zeros(0, p, p),
            tracked=torch.zeros(0, dtype=torch.bool),
            age=torch.zeros(0),
            lost=torch.zeros(0),
            taken_up=torch.zeros(0, dtype=torch.bool),
            own=torch.zeros(0, 2),
        )

    def select(self, state: LucasKanadeState, rows: Tensor) -> LucasKanadeState:
        """See `CausalModel.select`."""
        return LucasKanadeState(state.gray, *(part[rows] for part in state[1:]))

    def step(self, state: LucasKanadeState, frame: Tensor, new_xy: Tensor) -> tuple[LucasKanadeState, Prediction]:
        """See `CausalModel.step`."""
        gray = self._cv.cvtColor(np.ascontiguousarray(frame.permute(1, 2, 0).numpy()), self._cv.COLOR_RGB2GRAY)
        moved, evidence = self._advance(state, gray)
        count = len(new_xy)
        new = LucasKanadeState(
            gray=moved.gray,
            xy=new_xy.float(),
            patch=torch.from_numpy(normalize(patches(gray, new_xy.numpy(), self.config.patch))),
            tracked=torch.ones(count, dtype=torch.bool),
            age=torch.zeros(count),
            lost=torch.zeros(count),
            taken_up=torch.zeros(count, dtype=torch.bool),
            own=torch.zeros(count, 2),
        )
        state = LucasKanadeState(
            torch.from_numpy(gray), *(joined(a, b) for a, b in zip(moved[1:], new[1:], strict=True))
        )
        visible, confidence = (joined(p, torch.ones(count)) for p in probabilities(evidence))
        return state, Prediction(state.xy, visible, confidence)

    # -- one frame ---------------------------------------------------------------------------------

    def _advance(self, state: LucasKanadeState, gray: np.ndarray) -> tuple[LucasKanadeState, Evidence]:
        """The points of the last frame on this one, and what speaks for them."""
        config = self.config
        old = state.xy.numpy()
        tracked = state.tracked.numpy()
        xy, back = old.copy(), np.full(len(old), np.inf, np.float32)
        if tracked.any():
            xy[tracked], back[tracked] = self._flow(state.gray.numpy(), gray, old[tracked])
        height, width = gray.shape
        inside = ((xy >= 0) & (xy <= (width, height))).all(1)
        good = tracked & (back < config.back_error) & inside
        match = np.zeros(len(old), np.float32)
        match[good] = self._match(gray, xy[good], state.patch.numpy()[good])
        good &= match > config.least_match
        whole, around = self._picture_motion(state.gray.numpy(), gray, old)
        own = state.own.numpy().copy()
        own[good] += 0.3 * (xy[good] - old[good] - whole - own[good])
        # A lost point keeps moving with whatever it moved with before: the picture as a whole, or what is around it.
        with_whole = np.linalg.norm(own, axis=1) <= np.linalg.norm(own - (around - whole), axis=1)
        drift = np.where(with_whole[:, None], whole, around)
        xy[~good] = np.clip((old + drift)[~good], 0, (width, height))
        # Looked for at once, then ever more seldom: the cost stays small however many are lost.
        for row in np.flatnonzero(~good & search_now(state.lost.numpy())):
            place, score = self._find(gray, xy[row], state.patch.numpy()[row])
            match[row] = score
            if score > config.found_match:
                xy[row], back[row], good[row] = place, 0.5, True
        after = torch.from_numpy(good)
        lost = torch.from_numpy(np.where(good, np.float32(0), state.lost.numpy() + 1))
        taken_up = state.taken_up | (after & ~state.tracked)
        moved = state._replace(
            xy=torch.from_numpy(xy),
            tracked=after,
            age=state.age + 1,
            lost=lost,
            taken_up=taken_up,
            own=torch.from_numpy(own),
        )
        edge = torch.from_numpy(((xy < 1) | (xy > (width - 1, height - 1))).any(1))
        evidence = Evidence(after, torch.from_numpy(back), torch.from_numpy(match), moved.age, lost, taken_up, edge)
        return moved, evidence

    def _flow(self, before: np.ndarray, after: np.ndarray, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where points went [n,2], and by how much the way back misses [n] (infinite where there is no answer)."""
        config = self.config
        criteria = (self._cv.TERM_CRITERIA_EPS | self._cv.TERM_CRITERIA_COUNT, 30, 0.01)
        options = {"winSize": (config.window, config.window), "maxLevel": config.levels, "criteria": criteria}
        start = (xy - 0.5).astype(np.float32)[:, None]
        there, found, _ = self._cv.calcOpticalFlowPyrLK(before, after, start, None, **options)
        back, returned, _ = self._cv.calcOpticalFlowPyrLK(after, before, there, None, **options)
        error = np.linalg.norm(back - start, axis=-1)[:, 0]
        error[(found[:, 0] == 0) | (returned[:, 0] == 0) | ~np.isfinite(error)] = np.inf
        there = np.where(np.isfinite(there), there, start)
        return there[:, 0] + 0.5, error

    def _picture_motion(self, before: np.ndarray, after: np.ndarray, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How the picture moved as a whole [2] and around each point [n,2]: medians of the flow of a fixed grid.

        Of a grid and not of the other points, so that points do not influence each other.
        """
        if not len(xy):
            return np.zeros(2, np.float32), np.zeros_like(xy)
        height, width = before.shape
        x, y = np.meshgrid((np.arange(16) + 0.5) * width / 16, (np.arange(12) + 0.5) * height / 12)
        grid = np.stack([x.ravel(), y.ravel()], 1).astype(np.float32)
        there, back = self._flow(before, after, grid)
        trusted = back < self.config.back_error
        grid, flow = grid[trusted], (there - grid)[trusted]
        if not len(grid):
            return np.zeros(2, np.float32), np.zeros_like(xy)
        distance = ((xy[:, None] - grid) ** 2).sum(-1)
        nearest = np.argsort(distance, axis=1, kind="stable")[:, : self.config.neighbours]
        return np.median(flow, axis=0), np.median(flow[nearest], axis=1)

    def _match(self, gray: np.ndarray, xy: np.ndarray, patch: np.ndarray) -> np.ndarray:
        """Correlation -1..1 of what is at `xy` with the query's patches; 1 where the query has no texture."""
        here = normalize(patches(gray, xy, self.config.patch))
        flat = ~patch.any((1, 2))
        return np.where(flat, 1.0, (here * patch).sum((1, 2))).astype(np.float32)

    def _find(self, gray: np.ndarray, xy: np.ndarray, patch: np.ndarray) -> tuple[np.ndarray, float]:
        """The best place of a patch near `xy`, to half a pixel, and its correlation.

        That is -1 where it cannot be told, and at most `found_match` where another place is nearly as good.
        """
        config, half = self.config, self.config.patch // 2
        if not patch.any():
            return xy, -1.0
        height, width = gray.shape
        reach = config.search + half
        x, y = int(xy[0]), int(xy[1])
        left, top = max(x - reach, 0), max(y - reach, 0)
        area = gray[top : min(y + reach + 1, height), left : min(x + reach + 1, width)]
        if min(area.shape) < config.patch:
            return xy, -1.0
        scores = self._cv.matchTemplate(area.astype(np.float32), patch, self._cv.TM_CCOEFF_NORMED)
        _, best, _, (column, row) = self._cv.minMaxLoc(scores)
        if best <= config.found_match:
            return xy, float(best)
        dx, dy = peak_offset(scores[row, :], column), peak_offset(scores[:, column], row)
        place = np.array([left + column + half + 0.5 + dx, top + row + half + 0.5 + dy], np.float32)
        scores[max(row - half, 0) : row + half + 1, max(column - half, 0) : column + half + 1] = -1
        unique = best - float(scores.max()) > config.found_margin
        return place, float(best) if unique else min(float(best), config.found_match)


def search_now(lost: np.ndarray) -> np.ndarray:
    """Whether points lost for so many frames [N] are looked for: at 0-2, each third until 30, then each tenth."""
    return np.asarray((lost < 3) | ((lost < 30) & (lost % 3 == 0)) | (lost % 10 == 0))


def build(weights: Mapping[str, Tensor] | None = None, **options: Any) -> LucasKanade:
    """The model; options are the fields of `LucasKanadeOptions`. It takes no weights."""
    if weights is not None:
        raise UsageError("lucas-kanade takes no weights")
    # Every tracker takes `precision`; this one has no features that it could apply to.
    feature_dtype(options.get("precision", "float32"), torch.device("cpu"))  # says if there is no such precision
    asked = {name: value for name, value in options.items() if name != "precision"}
    return LucasKanade(LucasKanadeOptions.of(CARDS[0].id, asked))

"""Best buddies: tokens of two frames that are each other's nearest, and how ambiguous their match is.

Tumanyan et al., "DINO-Tracker", ECCV 2024 (arXiv:2403.14548), section 3.3; best buddies: Dekel et al., CVPR 2015.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tapkit.errors import require
from tapkit.per_video.prepare import trajectories

HALF_BOX = 30.0
"""Pixels: two peaks of similarity are one if boxes of this half side around them overlap by more than `OVERLAP`."""
OVERLAP = 0.2
CANDIDATES = 400
"""Among how many of the largest similarities the second peak is looked for."""
_ROWS = 1024
"""Pairs whose similarities are looked through at once."""
ROW = np.dtype([("frame", "<i2"), ("source", "<i4"), ("target", "<i4"), ("cosine", "<f4"), ("ambiguity", "<f4")])
"""One pair in the entry of its first frame: the second frame (a later one), tokens on both, cosine, ambiguity."""


class Peaks(NamedTuple):
    """Of pairs between two frames."""

    source: Tensor
    """int64 [n]: tokens of the first frame, rising."""
    target: Tensor
    """int64 [n]: tokens of the second."""
    cosine: Tensor
    """[n]."""
    second: Tensor
    """[n]: the best similarity of the source token away from the target."""
    second_back: Tensor
    """[n]: that of the target token away from the source."""

    @property
    def ambiguity(self) -> Tensor:
        """[n]: how near the second best comes to the best, the larger of both ways."""
        return torch.maximum(self.second, self.second_back) / self.cosine


def mutual_nearest(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which tokens of two frames, [S,C] of length 1, are each other's nearest.

    -> their numbers [n] in the first frame (rising) and in the second, and their cosines.
    """
    return mutual_in(first @ second.T)


def mutual_in(similarity: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same from the cosines [S,S'] of all tokens with all."""
    best, there = similarity.max(1)
    back = similarity.argmax(0)
    mutual = (back[there] == torch.arange(len(similarity), device=similarity.device)).nonzero()[:, 0]
    return mutual, there[mutual], best[mutual]


def peaks(
    first: Tensor,
    second: Tensor,
    centres: Tensor,
    *,
    half_box: float = HALF_BOX,
    overlap: float = OVERLAP,
    candidates: int = CANDIDATES,
) -> Peaks:
    """The best buddies of two frames with their second best matches.

    Args:
        first, second: [S,C] tokens of length 1.
        centres: [S,2] pixels, where they lie.
        half_box, overlap, candidates: see the constants.
    """
    similarity = first @ second.T
    source, target, cosine = mutual_in(similarity)
    how = (centres, half_box, overlap, candidates)
    rows = [some for some in torch.split(torch.arange(len(source), device=source.device), _ROWS) if len(some)]
    there = [second_peak(similarity[source[some]], target[some], *how) for some in rows]
    back = [second_peak(similarity.T[target[some]], source[some], *how) for some in rows]
    nothing = [cosine[:0]]
    return Peaks(source, target, cosine, torch.cat(nothing + there), torch.cat(nothing + back))


def second_peak(
    similarity: Tensor, best: Tensor, centres: Tensor, half_box: float, overlap: float, candidates: int
) -> Tensor:
    """The largest similarity whose box does not belong to the best one: [n]; 0 where there is none.

    That is what suppression of all that is not a maximum leaves as its second: before it, only the best suppresses.

    Args:
        similarity: [n,S].
        best: int64 [n], the place of each row's largest.
        centres, half_box, overlap, candidates: see `peaks`.
    """
    side = 2 * half_box
    inner = (side - (centres - centres[best][:, None]).abs()).clamp(min=0).prod(-1)  # [n,S]
    same = inner / (2 * side**2 - inner) > overlap
    away = similarity.masked_fill(same, -torch.inf)
    if candidates < similarity.shape[1] and bool((same.sum(1) >= candidates).any()):
        away = away.masked_fill(similarity < similarity.topk(candidates, 1).values[:, -1:], -torch.inf)
    second = away.amax(1)
    return torch.where(second == -torch.inf, 0.0, second)


class Continuity:
    """Which tokens can be followed by trajectories, and so need no buddies."""

    def __init__(self, entries: Callable[[int], np.ndarray], frames: int, centres: np.ndarray) -> None:
        """
        Args:
            entries: the trajectories alive on a frame (`trajectories.ROW`).
            frames: how many frames there are.
            centres: [S,2] where the tokens lie, pixels of the working size.
        """
        self.entries, self.frames, self.centres = entries, frames, centres
        self._nearest: dict[int, np.ndarray] = {}

    def nearest(self, frame: int) -> np.ndarray:
        """The number of the chain nearest to each token, int64 [S], of those that live on more than this frame; -1
        where there are none."""
        if frame not in self._nearest:
            spatial = require("scipy.spatial", "fit")
            entry = self.entries(frame)
            ids = np.asarray(entry["id"])
            lasting = np.zeros(len(ids), bool)
            for other in (frame - 1, frame + 1):
                if 0 <= other < self.frames:
                    lasting |= trajectories.found(self.entries(other), ids) >= 0
            chosen = entry[lasting]
            if len(chosen):
                place = spatial.cKDTree(trajectories.positions(chosen)).query(self.centres)[1]
                self._nearest[frame] = chosen["id"][place].astype(np.int64)
            else:
                self._nearest[frame] = np.full(len(self.centres), -1)
        return self._nearest[frame]

    def lost(self, frame: int, other: int, tokens: np.ndarray) -> np.ndarray:
        """Whether the trajectories nearest to these tokens of `frame` have ended before `other` (or not begun): [n]."""
        return trajectories.found(self.entries(other), self.nearest(frame)[tokens]) < 0


def buddies_of(
    frame: int,
    tokens: Callable[[int], Tensor],
    frames: int,
    centres: Tensor,
    continuity: Continuity | None,
) -> np.ndarray:
    """The best buddies of a frame on all later frames, `ROW` [n].

    Args:
        frame: which one.
        tokens: the tokens [S,C] of a frame, of length 1.
        frames: how many frames there are.
        centres: [S,2] where tokens lie, pixels of the model's size.
        continuity: keep only pairs both of whose trajectories are lost; None: all.
    """
    parts = [np.empty(0, ROW)]
    first = tokens(frame)
    for other in range(frame + 1, frames):
        pairs = peaks(first, tokens(other), centres)
        rows = np.empty(len(pairs.source), ROW)
        rows["frame"] = other
        for name in ("source", "target", "cosine", "ambiguity"):
            rows[name] = getattr(pairs, name).cpu().numpy()
        if continuity is not None:
            rows = rows[continuity.lost(frame, other, rows["source"]) & continuity.lost(other, frame, rows["target"])]
        parts.append(rows)
    return np.concatenate(parts)

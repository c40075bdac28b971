"""Trajectories: points carried from frame to frame by the flow between neighbours, for as long as it can be trusted.

Tumanyan et al., "DINO-Tracker", ECCV 2024 (arXiv:2403.14548), appendix. A chain begins at every pixel that no earlier
chain passes through, or whose flow back is not consistent (what has just come into sight); it goes on while its round
trip over one frame misses by less than 1.5 px and it is inside the frame. A point of it does not agree with the flow
straight from where it began if that is known, is consistent itself, and leads elsewhere by more than 2.5 px.

One table, an entry for each frame: all chains that are alive there, by rising number. The chains that begin on a frame
have the highest numbers of its entry. Positions are corner origin, pixels of the working size.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from tapkit import coords
from tapkit.flow.fields import at_points, pixel_centers, round_trip, round_trip_field

CONSISTENT = 1.5
"""Pixels by which a round trip may miss."""
ELSEWHERE = 2.5
"""Pixels from which a chain contradicts the direct flow."""
ROW = np.dtype([("id", "<i4"), ("x", "<f4"), ("y", "<f4"), ("agrees", "?")])
"""What is kept of one chain on one frame."""

Flows = Callable[[int, int], "np.ndarray | None"]
"""The flow [h,w,2] from a frame to another; None where it has not been computed. Neighbours always have."""


class Chains:
    """The entries of the frames so far, and the next one."""

    def __init__(self, entries: Callable[[int], np.ndarray], flows: Flows, every: int = 1) -> None:
        """
        Args:
            entries: the entry of a frame that has been computed.
            flows: the flow between frames.
            every: chains begin on each `every`-th pixel of each `every`-th row.
        """
        self.entries, self.flows, self.every = entries, flows, every
        self._first: list[int] = []

    def first(self, frame: int) -> int:
        """The number of the first chain that begins on `frame`."""
        while len(self._first) <= frame:
            before = len(self._first) - 1
            last = self.entries(before)["id"][-1:] if before >= 0 else np.empty(0, np.int32)
            begun = self._first[-1] if self._first else 0
            self._first.append(max(begun, int(last[0]) + 1 if len(last) else 0))
        return self._first[frame]

    def entry(self, frame: int, size: coords.Size) -> np.ndarray:
        """The chains alive on `frame`, `ROW` [n]."""
        if frame == 0:
            return self._begun(0, np.empty(0, ROW), np.ones(size, bool), size)
        ahead, back = (_field(self.flows(*pair)) for pair in ((frame - 1, frame), (frame, frame - 1)))
        before = self.entries(frame - 1)
        xy = torch.from_numpy(np.stack([before["x"], before["y"]], 1))
        moved = xy + at_points(ahead, xy[None])[0]
        kept = (round_trip(ahead, back, xy[None])[0] < CONSISTENT) & coords.inside(moved, size)
        alive = np.empty(int(kept.sum()), ROW)
        alive["id"] = before["id"][kept.numpy()]
        alive["x"], alive["y"] = moved[kept].T.numpy()
        alive["agrees"] = self._agree(frame, alive, size)
        return self._begun(frame, alive, (round_trip_field(back, ahead)[0] >= CONSISTENT).numpy(), size)

    def _begun(self, frame: int, alive: np.ndarray, anew: np.ndarray, size: coords.Size) -> np.ndarray:
        """The chains alive, and after them those that begin: where none passes, and where `anew` [h,w] says so."""
        step = self.every
        centres = pixel_centers(size).numpy()[step // 2 :: step, step // 2 :: step]
        wanted = anew[step // 2 :: step, step // 2 :: step].copy()
        rows, columns = (
            (alive[axis] // step).astype(int).clip(0, most - 1) for axis, most in zip("yx", wanted.shape, strict=True)
        )
        free = np.ones_like(wanted)
        free[rows, columns] = False
        begin = centres[wanted | free]
        new = np.empty(len(begin), ROW)
        new["id"] = self.first(frame) + np.arange(len(begin))
        new["x"], new["y"], new["agrees"] = begin[:, 0], begin[:, 1], True
        return np.concatenate([alive, new])

    def _agree(self, frame: int, alive: np.ndarray, size: coords.Size) -> np.ndarray:
        """Whether chains agree with the flow straight from where they began: bool [n]."""
        agrees = np.ones(len(alive), bool)
        firsts = np.array([self.first(number) for number in range(frame + 1)])
        begun = np.searchsorted(firsts, alive["id"], side="right") - 1
        for start in np.unique(begun[begun < frame - 1]).tolist():
            there, back = self.flows(start, frame), self.flows(frame, start)
            if there is None or back is None:
                continue
            rows = np.flatnonzero(begun == start)
            entry = self.entries(start)
            origin = entry[np.searchsorted(entry["id"], alive["id"][rows])]
            xy = torch.from_numpy(np.stack([origin["x"], origin["y"]], 1))
            direct, known = _field(there), _field(back)
            reliable = (round_trip(direct, known, xy[None])[0] < CONSISTENT).numpy()
            end = (xy + at_points(direct, xy[None])[0]).numpy()
            away = np.hypot(end[:, 0] - alive["x"][rows], end[:, 1] - alive["y"][rows])
            agrees[rows] = ~(reliable & (away > ELSEWHERE))
        return agrees


def _field(flow: np.ndarray | None) -> Tensor:
    """A flow [h,w,2] as a field [1,2,h,w] float32."""
    assert flow is not None, "the flow between neighbours is always known"
    return torch.from_numpy(np.array(flow, np.float32)).permute(2, 0, 1)[None]


def positions(rows: np.ndarray) -> np.ndarray:
    """(x, y) [n,2] of rows of an entry."""
    return np.stack([rows["x"], rows["y"]], 1)


def found(entry: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Where chains of these numbers are in an entry: int64 [n], -1 for those that are not alive there."""
    if not len(entry):
        return np.full(len(ids), -1)
    place = np.searchsorted(entry["id"], ids).clip(max=len(entry) - 1)
    return np.where(entry["id"][place] == ids, place, -1)

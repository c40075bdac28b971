"""The two networks of DINO-Tracker, and positions found with them.

Positions are pixels of the frame as the model sees it, corner origin; frames of a call are numbered from 0 among those
whose features are given.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor, nn

from tapkit.per_video.dino_tracker.delta import DeltaDino
from tapkit.per_video.dino_tracker.grid import TokenGrid
from tapkit.per_video.dino_tracker.head import HIDDEN, TrackerHead, unit


class Features:
    """Refined features of F frames."""

    def __init__(self, maps: Tensor, grid: TokenGrid) -> None:
        """maps [F,C,h,w]."""
        self.maps, self.grid = maps, grid

    @cached_property
    def tokens(self) -> Tensor:
        """[F,h*w,C], each of length 1: kept, as all losses read them."""
        return unit(self.maps.flatten(2).transpose(1, 2))

    def tokens_of(self, frame: int) -> Tensor:
        """Those of one frame, [h*w,C]. Of a whole clip they are not kept, which would take as much again."""
        return self.tokens[frame] if torch.is_grad_enabled() else unit(self.maps[frame].flatten(1).T)

    def at(self, frame: Tensor, xy: Tensor) -> Tensor:
        """Features [P,C] of points at xy [P,2] on frames [P] int64. No gradient goes into the positions."""
        xy, parts = xy.detach(), []
        for number, rows in by_frame(frame):
            parts.append((rows, self.grid.read(self.maps[number : number + 1], xy[None, rows])[0]))
        return _in_order(parts, self.maps.new_zeros(0, self.maps.shape[1]))


class DinoTracker(nn.Module):
    """Delta-DINO and the tracker head."""

    def __init__(self, width: int = 1024) -> None:
        """width: channels of the frozen features."""
        super().__init__()
        self.delta_dino, self.tracker_head = DeltaDino(width), TrackerHead()

    def refine(self, frames: Tensor, raw: Tensor, grid: TokenGrid) -> Features:
        """Features of frames [F,3,H,W] in [0,1] from their frozen ones [F,C,h,w]. In training, the statistics of the
        batch norms are those of these frames."""
        return Features(raw + self.delta_dino(frames, grid), grid)

    def locate(self, features: Features, points: Tensor, frame: Tensor, budget: int | None = None) -> Tensor:
        """Where points are found.

        Args:
            features: of F frames.
            points: [P,C] features of the points.
            frame: int64 [P], the frame to look for each point in.
            budget: bytes that the maps of points may take at once; None: all at once (for training).

        Returns: [P,2].
        """
        points, grid, parts = unit(points), features.grid, []
        most = max(len(points) if budget is None else budget // head_bytes(grid), 1)
        for number, rows in by_frame(frame):
            tokens = features.tokens_of(number)
            for some in torch.split(rows, most):
                parts.append((some, self.tracker_head(points[some] @ tokens.T, grid)))
        return _in_order(parts, points.new_zeros(0, 2))


def head_bytes(grid: TokenGrid) -> int:
    """About how much memory the head takes for one point, without gradients."""
    return 4 * grid.count * (2 * HIDDEN + 6)


def _in_order(parts: list[tuple[Tensor, Tensor]], nothing: Tensor) -> Tensor:
    """Values [n,...] of rows [n], which together are all rows, as one tensor; `nothing` where there are no rows."""
    if not parts:
        return nothing
    rows, values = (torch.cat(column) for column in zip(*parts, strict=True))
    return torch.zeros_like(values).index_put((rows,), values)


def by_frame(frame: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Each frame that occurs in `frame` [P], and the rows that have it, rising."""
    order = frame.argsort(stable=True)
    numbers, counts = torch.unique_consecutive(frame[order], return_counts=True)
    yield from zip(numbers.tolist(), torch.split(order, counts.tolist()), strict=True)

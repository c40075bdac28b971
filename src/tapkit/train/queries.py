"""From where the points of a batch are tracked, as data: any frame, the best corners, points that go along."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.errors import UsageError
from tapkit.train.batch import Batch, Queries, first_visible

CORNER_WINDOW = 7
"""Side of the square over which the gradients of a corner are summed."""


@dataclass(frozen=True)
class QuerySampling:
    """How the queries of a batch are drawn."""

    any_frame: float = 0.0
    """Share of the points that are queried on a frame drawn from those on which they are visible; the others are on the
    first of these."""
    first_frame: bool = False
    """Only points that are visible on frame 0 are queried, there."""
    corners: float = 1.0
    """Share of the points that are queried at all: those that lie at the best corners of their frame (1: all)."""
    support: int = 0
    """Side of a grid of points on frame 0 that are tracked along and have no loss; 0: none."""

    def __post_init__(self) -> None:
        if not 0 <= self.any_frame <= 1 or not 0 < self.corners <= 1 or self.support < 0:
            raise UsageError(
                f"any_frame is a share from 0 to 1, corners one above 0, support a number; got {self.any_frame}, "
                f"{self.corners}, {self.support}"
            )

    def draw(self, batch: Batch, generator: torch.Generator) -> Queries:
        """Queries of a batch, on frames on which points are visible and their positions known."""
        seen = batch.visible & batch.known & torch.isfinite(batch.xy).all(-1)
        length = seen.shape[-1]
        if self.first_frame:
            frame = torch.where(seen[..., 0], 0, length)
        else:
            frame = first_visible(seen).frame
            # The first of the visible frames by random keys is one of them, each as likely.
            keys = torch.rand(seen.shape, generator=generator).to(seen.device)
            drawn = torch.where(seen, keys, -1.0).argmax(-1)
            chosen = torch.rand(seen.shape[:2], generator=generator).to(seen.device) < self.any_frame
            frame = torch.where(chosen & (frame < length), drawn, frame)
        if self.corners < 1:
            frame = torch.where(self._at_corners(batch, frame), frame, length)
        return Queries(frame, tuple(t for t in sorted(set(frame.flatten().tolist())) if t < length))

    def _at_corners(self, batch: Batch, frame: Tensor) -> Tensor:
        """Which points [B,N] are among the best `corners` of those that are queried in their clip."""
        length = batch.video.shape[1]
        best = torch.zeros_like(frame, dtype=torch.bool)
        for clip, (video, xy, at) in enumerate(zip(batch.video, batch.xy, frame, strict=True)):
            asked = (at < length).nonzero()[:, 0]
            if not len(asked):
                continue
            strength = torch.zeros(len(asked), device=xy.device)
            for t in sorted(set(at[asked].tolist())):
                here = at[asked] == t
                strength[here] = corner_strength(video[t], xy[asked[here], t])
            kept = max(round(self.corners * len(asked)), 1)
            best[clip, asked[strength.topk(kept).indices]] = True
        return best


def corner_strength(frame: Tensor, xy: Tensor) -> Tensor:
    """How good a corner is at xy [P,2] (pixels, corner origin) of a frame uint8 [3,H,W]: [P].

    The smaller eigenvalue of the summed products of gradients (J. Shi and C. Tomasi, Good Features to Track, 1994).
    """
    grey = frame.float().mean(0)[None, None]
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    dx = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    dy = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    products = torch.cat([dx * dx, dx * dy, dy * dy], 1)
    xx, mixed, yy = F.avg_pool2d(products, CORNER_WINDOW, 1, CORNER_WINDOW // 2)[0]
    smaller = (xx + yy) / 2 - (((xx - yy) / 2).square() + mixed.square()).sqrt()
    height, width = smaller.shape
    column, row = xy[:, 0].floor().long().clamp(0, width - 1), xy[:, 1].floor().long().clamp(0, height - 1)
    strength: Tensor = smaller[row, column]
    return strength

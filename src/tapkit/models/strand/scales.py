"""A query at several sizes: what a point is looked for by when it has come nearer or gone away.

Features stay the same over a change of size of a quarter or so, and are off the place before they are lost. So the
frame of a query is encoded at other sizes too, once, and the point is looked for by the patches of that size which what
was seen of it lately is most like (a template at several scales, as M. Danelljan et al. choose one by correlation in
Accurate Scale Estimation for Robust Visual Tracking, BMVC 2014). Nothing here is learned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit import coords
from tapkit.models.strand.encoder import Maps
from tapkit.models.strand.patches import cut, middles

SCALES = (0.6, 0.78, 1.0, 1.28, 1.6)
"""By so much the frame of a query is enlarged."""
OWN = SCALES.index(1.0)
KEPT = 0.6
"""Share of the running means of likeness that stays from frame to frame."""
WORTH = 0.02
"""By so much another size must be more like what is seen, of 3 that it can be: between two that fit none is changed."""


class Scales(NamedTuple):
    """What is known of M queries at S sizes."""

    patches: tuple[Tensor, ...]
    """[M,S,K,C] for each map, as `network.Points.query`, in the dtype of the maps."""
    middles: Tensor
    """float32 [M,S,C]: the middle cells of all maps side by side."""
    like: Tensor
    """[M,S] running means of how much what is seen is like them."""
    chosen: Tensor
    """int64 [M] the size that is looked for."""

    @classmethod
    def begin(cls, views: Sequence[tuple[Tensor, ...]], dtype: torch.dtype) -> Scales:
        """Of patches [M,K,C] at each of SCALES in turn; or of those of the frame as it is alone, which then stay."""
        views = views if len(views) > 1 else list(views) * len(SCALES)
        patches = [torch.stack(parts, 1) for parts in zip(*views, strict=True)]
        middle = middles(tuple(patches))
        like = middle.new_zeros(middle.shape[:2])
        chosen = torch.full_like(like[:, 0], OWN, dtype=torch.long)
        return cls(tuple(part.to(dtype) for part in patches), middle, like, chosen)

    def select(self, rows: Tensor) -> Scales:
        """Only those rows."""
        return Scales(
            tuple(part[rows] for part in self.patches), self.middles[rows], self.like[rows], self.chosen[rows]
        )

    def joined(self, more: Scales) -> Scales:
        """And those of others behind them."""
        patches = tuple(torch.cat(pair) for pair in zip(self.patches, more.patches, strict=True))
        return Scales(patches, *(torch.cat(pair) for pair in zip(self[1:], more[1:], strict=True)))

    def anew(self) -> Scales:
        """Of the same queries, when nothing has been seen of them."""
        return self._replace(like=torch.zeros_like(self.like), chosen=torch.full_like(self.chosen, OWN))

    def compared(self, here: Tensor, seen: Tensor) -> Scales:
        """After features `here` [M,C], of all maps side by side, were found at points of which `seen` [M] bool are."""
        now = torch.bmm(self.middles, here[:, :, None])[:, :, 0]
        like = torch.where(seen[:, None], torch.lerp(now, self.like, KEPT), self.like)
        most, best = like.max(1)
        better = most > like.gather(1, self.chosen[:, None])[:, 0] + WORTH
        return self._replace(like=like, chosen=torch.where(better, best, self.chosen))

    def asked(self, query: tuple[Tensor, ...], before: Tensor) -> tuple[Tensor, ...]:
        """The patches [M,K,C] that are looked for, after `query`, of the sizes `before` [M].

        On a processor only rows that have changed are read: a size of all is megabytes.
        """
        changed = self.chosen != before
        if changed.device.type == "cpu":
            rows = changed.nonzero()[:, 0]
            if not len(rows):
                return query
            size = self.chosen[rows]
            both = zip(query, self.patches, strict=True)
            return tuple(old.index_copy(0, rows, part[rows, size].float()) for old, part in both)
        rows = torch.arange(len(changed), device=changed.device)
        both = zip(query, self.patches, strict=True)
        return tuple(torch.where(changed[:, None, None], part[rows, self.chosen].float(), old) for old, part in both)


def scaled(frame: Tensor, scale: float) -> Tensor:
    """A frame uint8 [1,3,H,W] about so many times as large, sides multiples of 16, 32 at least."""
    height, width = (max(round(side * scale / 16), 2) * 16 for side in frame.shape[2:])
    # Without it fine patterns would turn into coarse ones; where torch does not have it (MPS) they do.
    antialias = scale < 1 and frame.device.type != "mps"
    image = F.interpolate(frame.float(), (height, width), mode="bilinear", align_corners=False, antialias=antialias)
    return image.round().clamp(0, 255).byte()


def views(
    encode: Callable[[Tensor], Maps], frame: Tensor, query: tuple[Tensor, ...], xy: Tensor, patches: tuple[int, ...]
) -> list[tuple[Tensor, ...]]:
    """Patches around xy [M,2] pixels of a frame uint8 [1,3,H,W] at each of SCALES; `query` are those as it is."""
    owner = torch.zeros(len(xy), dtype=torch.long, device=xy.device)
    size = (frame.shape[2], frame.shape[3])
    found = []
    for scale in SCALES:
        if scale == 1:
            found.append(query)
            continue
        image = scaled(frame, scale)
        there = coords.resize(xy, size, (image.shape[2], image.shape[3]))
        found.append(cut(encode(image), owner, there, patches))
    return found

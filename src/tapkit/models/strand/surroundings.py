"""Points that keep with their surroundings, and what would carry them off.

A hand that covers a point takes the pixels that are followed along with it, and on a periodic pattern the next crossing
fits as well as the point's own. What speaks against both is how the frame as a whole moves (`frame_motion`): a point
that has gone with it ever since its query is still where that leads, unless it is seen elsewhere and that place is no
look-alike, that is, unless the place did not look as much like the query already on the query's own frame (look-alikes
as what a tracker must know of: C. Mayer et al., Learning Target Candidate Association to Keep Track of What Not to
Track, ICCV 2021). While it is hidden it is carried on with the frame, and looked for there by the query's pixels.

Rules on top of what the network says, without anything learned. Points that have not kept with the frame are left
alone. Rows are M points; positions pixels of the frames given to the network, corner origin.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.models.base import Size
from tapkit.models.strand.anchor import Asked, Fit, fit
from tapkit.models.strand.encoder import STRIDES, Maps
from tapkit.models.strand.evidence import unless_jumped
from tapkit.models.strand.frame_motion import inverse, moved, near_frame, unit_of
from tapkit.models.strand.matching import cells_around, products
from tapkit.models.strand.network import Points, Step, distance
from tapkit.models.strand.rows import picked

LEAST = 4
"""Frames on which a point must have been seen before it is known to keep with its surroundings."""
MOSTLY = 0.9
"""And on so large a share of these it must have."""
APART = 6.0
"""Pixels of a frame of 256x256 (of that many pixels, whatever its shape; so all others here): further away from where
its surroundings lead, a point has not kept with them."""
NEARLY = 4.0
"""From this far on, where its pixels went, a point is likely to be found apart, and is looked for there beforehand."""
REACH = 5.0
"""So far from there the query's pixels are looked for."""
FITS = 0.8
"""Correlation of the query's pixels by which a point is found there."""
SURE = 0.5
"""P(visible) P(right) from which a frame counts."""
OWN = 14.0
"""Pixels of the frame on each side of a query whose cells are its own look, and no look-alike."""
ALIKE, BETTER = 0.6, 0.6
"""A place of the query's frame with a product of features `there` (1: the same) of more than ALIKE is a look-alike, and
what is seen now must look more like the query by BETTER * (there - ALIKE)."""
UNFIT = 0.4
"""What fits the query's pixels worse than this, and is less like its features, at the place where a point is if it is
visible, lies over it."""
FOUND = 1.0
"""Logits of P(visible) and P(right), at least, of a point that was found by its pixels."""
HIDDEN = -2.0
"""Logit of P(visible), at most, of one that was not."""


class Kept(NamedTuple):
    """What is known of M points and their surroundings."""

    asked: Tensor
    """[M,2] the query."""
    place: Tensor
    """[M,2] where it has gone if it has kept with its surroundings."""
    warp: Tensor
    """[M,3,3] float32: how the frame has moved since the query's."""
    alike: Tensor
    """float16 [M,h,w]: products of the query's features with cells of stride 8 of its frame; -1 around it."""
    seen: Tensor
    """[M] on how many frames it was seen for sure."""
    together: Tensor
    """[M] on how many of these it was where its surroundings lead."""

    @classmethod
    def nothing(cls, size: Size, device: torch.device) -> Kept:
        """Of no points, frames of size (h, w)."""

        def empty(*shape: int) -> Tensor:
            return torch.zeros(0, *shape, device=device)

        alike = empty(size[0] // STRIDES[1], size[1] // STRIDES[1]).half()
        return cls(empty(2), empty(2), empty(3, 3), alike, empty(), empty())

    @classmethod
    def begin(cls, maps: Maps, query: tuple[Tensor, ...], xy: Tensor) -> Kept:
        """Of points asked for at xy [M,2] on the frame of `maps` (B = 1); `query` as in `network.Points`."""
        coarse, wide = (
            products(level, patch[:, patch.shape[1] // 2]).float().view(-1, *level.shape[1:3])
            for patch, level in zip(query[1:3], maps.learned[1:], strict=True)
        )
        wide = F.interpolate(wide[:, None], size=coarse.shape[1:], mode="bilinear", align_corners=False)[:, 0]
        y, x = ((torch.arange(n, device=xy.device) + 0.5) * STRIDES[1] for n in coarse.shape[1:])
        own = ((x - xy[:, :1]).abs() < OWN)[:, None] & ((y - xy[:, 1:]).abs() < OWN)[:, :, None]
        alike = ((coarse + wide) / 2).masked_fill(own, -1.0).half()
        still = torch.eye(3, device=xy.device).repeat(len(xy), 1, 1)
        zero = torch.zeros_like(xy[:, 0])
        return cls(xy.float(), xy.float(), still, alike, zero, zero)

    def select(self, rows: Tensor) -> Kept:
        """Only those rows."""
        return Kept(*(part[rows] for part in self))

    def joined(self, more: Kept) -> Kept:
        """And those of others behind them."""
        return Kept(*(torch.cat(pair) for pair in zip(self, more, strict=True)))

    def keeps(self) -> Tensor:
        """Which points have kept with their surroundings [M] bool."""
        return (self.seen >= LEAST) & (self.together >= MOSTLY * self.seen)

    def moved_on(self, motion: Tensor, size: Size) -> Kept:
        """On the next frame, after `frame_motion.between`."""
        warp = (motion @ self.warp.to(motion.dtype)).float()
        return self._replace(place=near_frame(moved(motion, self.place), size), warp=warp / warp[:, 2:, 2:])

    def look_alike(self, xy: Tensor) -> Tensor:
        """How much what stood at xy [M,2] on the query's frame looked like the query [M]; -1 within its own look.

        The point itself is taken to be at `place`, whatever `warp` has gathered of errors.
        """
        own = moved(self.warp, self.asked)
        there = moved(inverse(self.warp), xy - self.place + own)
        x, y = cells_around(there, STRIDES[1], self.alike.shape[2], self.alike.shape[1])
        return self.alike.flatten(1).gather(1, y * self.alike.shape[2] + x).float().amax(-1)


def led(points: Points, kept: Kept) -> Points:
    """Points before a step: hidden ones that keep with their surroundings are expected where these lead."""
    carried = kept.keeps() & (points.seen <= 0.5)
    return points._replace(xy=torch.where(carried[:, None], kept.place - points.motion, points.xy))


def held(
    kept: Kept, before: Points, after: Points, step: Step, image: Tensor, size: Size, also: Asked | None
) -> tuple[Kept, Points, Step]:
    """What a step found, where points were not carried off.

    Args:
        kept: of this frame (`moved_on`).
        before: the points on the frame before, as `led` to.
        after: as the step left them.
        step: what it found.
        image: [1,1,H,W] the frame in grey.
        size: of the frame.
        also: what the step was asked besides (`asked`).
    """
    unit = unit_of(size)
    keeps = kept.keeps()
    apart = distance(step.xy, kept.place) > APART * unit
    doubtful = keeps & (apart | (before.seen <= 0.5))
    place, fits = _found(kept, before.template, image, doubtful, unit, also, step.also)
    back = doubtful & (fits > FITS)
    there = kept.look_alike(step.xy)
    off = keeps & apart & ~back & (there > ALIKE) & (step.like < there + BETTER * (there - ALIKE))
    here = torch.where(back[:, None], place, torch.where(off[:, None], kept.place, step.xy))
    visible = torch.where(
        back, step.visible.clamp(min=FOUND), torch.where(off, step.visible.clamp(max=HIDDEN), step.visible)
    )
    over = keeps & ~apart & ~back & (step.fits < UNFIT) & (step.like < UNFIT)
    visible = torch.where(over, visible.clamp(max=HIDDEN), visible)
    visible = unless_jumped(visible, distance(here, before.xy), size)
    confidence = torch.where(back, step.confidence.clamp(min=FOUND), step.confidence)
    moved_to = back | off
    after = after._replace(
        memory=_unlearned(before.memory, after.memory, off),
        hidden=torch.where(off[:, None], before.hidden, after.hidden),
        xy=torch.where(moved_to[:, None], here, after.xy),
        motion=torch.where(moved_to[:, None], torch.zeros_like(after.motion), after.motion),
        seen=torch.sigmoid(visible),
    )
    sure = torch.sigmoid(visible) * torch.sigmoid(confidence) > SURE
    together = sure & (distance(here, kept.place) < APART * unit)
    kept = kept._replace(
        # The pixels say where it is; what frames' motions add up to is off by a little more each time.
        place=torch.where(back[:, None], here, kept.place),
        seen=kept.seen + sure,
        together=kept.together + together,
    )
    return kept, after, step._replace(xy=here, visible=visible, confidence=confidence)


def _unlearned(before: tuple[Tensor, ...], after: tuple[Tensor, ...], off: Tensor) -> tuple[Tensor, ...]:
    """The memory `after` a step, but for points that are `off` [M], which keep the one from `before`.

    On a processor only their rows are copied, to where `after` lies, which is the step's own: the whole is megabytes.
    """
    if off.device.type != "cpu":
        return tuple(torch.where(off[:, None, None], old, new) for old, new in zip(before, after, strict=True))
    rows = off.nonzero()[:, 0]
    if len(rows):
        after = tuple(new.index_copy_(0, rows, picked(old, rows)) for old, new in zip(before, after, strict=True))
    return after


def asked(kept: Kept, points: Points, expected: Tensor, size: Size) -> Asked | None:
    """Where a step is to look for the query's pixels, too: around `place`.

    Of all points; but on a processor, where time goes with the rows, of those only that will probably be doubtful
    (`held`), being `expected` [M,2] apart. In one piece with the others they cost next to nothing, afterwards half a
    millisecond.
    """
    if kept.place.device.type != "cpu":
        return Asked(None, kept.place)
    apart = distance(expected, kept.place) > NEARLY * unit_of(size)
    rows = (kept.keeps() & (apart | (points.seen <= 0.5))).nonzero()[:, 0]
    return Asked(rows, kept.place[rows]) if len(rows) else None


def _found(
    kept: Kept,
    template: Tensor,
    image: Tensor,
    doubtful: Tensor,
    unit: float,
    also: Asked | None = None,
    known: Fit | None = None,
) -> tuple[Tensor, Tensor]:
    """Where the query's pixels fit best around `kept.place` [M,2], and how well [M]; -1 where that is out of `REACH`.

    Of the points that were `also` asked for it is `known`; of the others only those that are `doubtful` [M] are looked
    for.
    """
    place, fits = kept.place.clone(), torch.full_like(kept.seen, -1.0)
    if also is not None and known is not None:
        if also.rows is None:
            return known.xy, _in_reach(kept, *known, unit)
        place[also.rows], fits[also.rows] = known
        doubtful = doubtful.index_fill(0, also.rows, False)
    rows = doubtful.nonzero()[:, 0]
    if len(rows):
        place[rows], fits[rows] = fit(picked(template, rows), image, kept.place[rows])
    return place, _in_reach(kept, place, fits, unit)


def _in_reach(kept: Kept, place: Tensor, fits: Tensor, unit: float) -> Tensor:
    """How well pixels fit at places [M,2]: [M], -1 where these are out of `REACH`."""
    return torch.where(distance(place, kept.place) < REACH * unit, fits, -1.0)

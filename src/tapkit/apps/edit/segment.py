"""A segmentation model asked on every frame, with tracked points as its prompts (as in SAM-PT, F. Rajic et al., 2023).

The model is the user's: SAM, SAM 2 or any other that takes points and a box. Points are drawn anew from its mask every
eight frames, and those that still agree stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tapkit.apps.edit.follow import Settings, tracker_of
from tapkit.apps.edit.region import Region, grown, points_for
from tapkit.errors import ShapeError, UsageError
from tapkit.types import Queries
from tapkit.video.span import part_of

if TYPE_CHECKING:
    from tapkit.apps.edit.masks import CarriedMasks

Segmenter = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], tuple[Any, float]]
"""segmenter(image [H,W,3] uint8, points [n,2], labels [n], box [4]) -> (mask [H,W], score 0..1)."""

POSITIVE, NEGATIVE = 8, 4
ERODED = 5
"""Pixels from the mask's border within which no point is taken."""
RING = (10, 30)
"""Pixels around the mask in which points outside it lie."""
SURE = 0.7
"""Score from which a mask is taken,"""
HELD = 0.7
"""if it holds this share of the points."""
RENEWED = 8
"""Frames after which points are drawn anew."""
GROWN = 0.1
"""By how much the box is larger than that of the warped mask."""
_POINTS = 48


class Prompts:
    """Asks the model on every frame, away from the reference frame on both sides."""

    def __init__(self, carried: CarriedMasks, segmenter: Segmenter, settings: Settings, mask: np.ndarray) -> None:
        self.carried, self.segmenter, self.mask = carried, segmenter, mask
        self.source = carried.source
        self.tracker = tracker_of(settings)
        self.seed = settings.seed

    def all(self) -> Iterator[tuple[int, np.ndarray, float]]:
        """Frame, mask [H,W] float32 and how sure it is, in the order of the frames.

        Masks before the reference frame are kept as bits until they are due.
        """
        reference, frames = self.carried.found.motion.reference, self.carried.found.motion.frames
        before: dict[int, tuple[np.ndarray, float]] = {}
        for t, mask, sure in self._walk(reference, -1, frames):
            before[t] = np.packbits(mask), sure
        shape = self.mask.shape
        for t in sorted(before):
            bits, sure = before[t]
            yield t, np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape).astype(np.float32), sure
        yield reference, self.mask.astype(np.float32), 1.0
        for t, mask, sure in self._walk(reference, 1, frames):
            yield t, mask.astype(np.float32), sure

    def _walk(self, reference: int, way: int, frames: int) -> Iterator[tuple[int, np.ndarray, float]]:
        """Frames from the one after (or before) the reference on, in blocks whose points begin on the frame before."""
        at, mask = reference, self.mask
        kept = np.zeros((0, 2))
        while 0 <= at + way < frames:
            last = int(np.clip(at + way * RENEWED, 0, frames - 1))
            low, high = min(at, last), max(at, last)
            inside, outside = self._points(mask, kept, at)
            queries = Queries.at(0 if way > 0 else high - low, np.concatenate([inside, outside]))
            with_ends = part_of(self.source, low, high + 1)
            tracks = self.tracker.track(with_ends, queries, "forward" if way > 0 else "backward")
            seen = tracks.visible_at()
            for t in range(at + way, last + way, way):
                own = tracks.xy[:, t - low], seen[:, t - low]
                mask, sure = self._ask(t, *own, len(inside))
                yield t, mask, sure
            xy, there = tracks.xy[: len(inside), last - low], seen[: len(inside), last - low]
            kept = xy[there & Region.of(mask=mask).contains(xy)] if mask.any() else np.zeros((0, 2))
            at = last
            if not mask.any():
                mask = self.carried.at(at)
            if not mask.any():
                yield from ((t, mask, 0.0) for t in range(at + way, frames if way > 0 else -1, way))
                return

    def _points(self, mask: np.ndarray, kept: np.ndarray, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """Points inside (those that are kept, and new ones) and outside a mask."""
        image = self.source.read(frame).image
        core = grown(mask, -ERODED)
        core = core if core.any() else mask
        new = points_for(Region.of(mask=core), mask.shape, 0, count=_POINTS, image=image, seed=self.seed).xy
        new = new[Region.of(mask=core).contains(new)]
        inside = np.concatenate([kept, new])[: 2 * _POINTS]
        if not len(inside):
            rows, columns = np.nonzero(core)
            inside = np.array([(columns.mean() + 0.5, rows.mean() + 0.5)])
        ring = grown(mask, RING[1]) & ~grown(mask, RING[0])
        if not ring.any():
            return inside, np.zeros((0, 2))
        rows, columns = np.nonzero(ring)
        some = np.linspace(0, len(rows) - 1, 4 * NEGATIVE).astype(int)
        return inside, np.stack([columns[some], rows[some]], 1) + 0.5

    def _ask(self, t: int, xy: np.ndarray, seen: np.ndarray, inside: int) -> tuple[np.ndarray, float]:
        """The model's mask of a frame if it is to be believed, else the warped one."""
        image = self.source.read(t).image
        warped = self.carried.at(t, image)
        sure = float(self.carried.confidence[t])
        good = xy[:inside][seen[:inside]].astype(float)
        if not len(good) or not warped.any():
            return warped, sure
        if (near := Region.of(mask=grown(warped, ERODED)).contains(good)).any():
            good = good[near]
        positive, negative = good[medoids(good, POSITIVE)], xy[inside:][seen[inside:]].astype(float)
        negative = negative[medoids(negative, NEGATIVE)] if len(negative) else negative
        rows, columns = np.flatnonzero(warped.any(1)), np.flatnonzero(warped.any(0))
        box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], float)
        room = GROWN / 2 * (box[2:] - box[:2])
        box = np.concatenate([box[:2] - room, box[2:] + room])
        labels = np.array([1] * len(positive) + [0] * len(negative))
        answer = self.segmenter(image, np.concatenate([positive, negative]), labels, box)
        try:
            found, score = np.asarray(answer[0]) > 0, float(answer[1])
        except (TypeError, ValueError, IndexError) as error:
            raise UsageError(f"a segmenter returns (mask [H,W], score), got {type(answer).__name__}") from error
        if found.shape != warped.shape:
            raise ShapeError(f"a segmenter returns a mask [H,W] of the frame's size, got {list(found.shape)}")
        held = Region.of(mask=found).contains(positive).mean() if found.any() else 0.0
        return (found, score) if score > SURE and held >= HELD else (warped, sure)


def medoids(xy: np.ndarray, count: int) -> np.ndarray:
    """Rows of `count` of the points [n,2] around which the others lie closest: k-medoids, from points far apart.

    (L. Kaufman and P. Rousseeuw, 1987; assignment and update in turn.)
    """
    if len(xy) <= count:
        return np.arange(len(xy))
    distance = np.hypot(*np.moveaxis(xy[:, None] - xy[None], -1, 0))
    chosen = [int(distance.sum(1).argmin())]
    while len(chosen) < count:
        chosen.append(int(distance[:, chosen].min(1).argmax()))
    rows = np.array(chosen)
    for _ in range(10):
        owner = distance[:, rows].argmin(1)
        new = rows.copy()
        for k in range(count):
            own = np.flatnonzero(owner == k)
            if len(own):
                new[k] = own[distance[np.ix_(own, own)].sum(1).argmin()]
        if (new == rows).all():
            break
        rows = new
    return np.unique(rows)

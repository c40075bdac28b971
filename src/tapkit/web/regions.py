"""What a request to track means for each point: which frames, and from which positions.

A region is a run of frames with the positions ("anchors") from which a point is tracked in it. Positions that a human
set count wherever they lie in the region, so that the path passes through them; those where the point is hidden do not:
what is seen there is something else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tapkit.errors import UsageError

Direction = Literal["forward", "backward", "both"]
Until = Literal["end", "keyframes"] | int


class Anchor(NamedTuple):
    """A position from which a point is tracked; pixels of the video, corner origin."""

    t: int
    x: float
    y: float


@dataclass(frozen=True)
class Wish:
    """What was asked for, of all points alike."""

    start: int | None
    """The frame that was on the screen; None: from the keyframes of each point, wherever they are."""
    direction: Direction
    until: Until
    """The end of the clip, the neighbouring keyframes of each point, or a frame."""

    def __post_init__(self) -> None:
        if isinstance(self.until, int) and self.direction == "both":
            raise UsageError("until a frame one tracks forward or backward, not both ways")
        if isinstance(self.until, int) and self.start is not None and self.until != self.start:
            ahead = "forward" if self.until > self.start else "backward"
            if ahead != self.direction:
                raise UsageError(f"frame {self.until} is not {self.direction} of frame {self.start}")


@dataclass(frozen=True)
class Region:
    """Frames first..last, and the positions in them."""

    first: int
    last: int
    anchors: tuple[Anchor, ...]


@dataclass(frozen=True)
class Group:
    """Points that are tracked together, over the same frames."""

    first: int
    last: int
    direction: Direction
    points: tuple[tuple[int, tuple[Anchor, ...]], ...]
    """Ids, with their anchors by frame."""


def region(keys: Iterable[Anchor], wish: Wish, frames: int, now: Anchor | None = None) -> Region | None:
    """The region of one point; None: nothing is known of it from which it could be tracked.

    Args:
        keys: keyframes at which it is seen.
        wish: what was asked for.
        frames: of the clip.
        now: where it is taken to be on frame `wish.start`, if it is anywhere.
    """
    keys = sorted(keys)
    if wish.start is None:
        return _from_keyframes(keys, wish, frames)
    seed = _seed(keys, wish, now)
    if seed is None:
        return None
    others = [key for key in keys if key.t != seed.t]
    first, last = 0, frames - 1
    if wish.until == "keyframes":
        first = max((key.t for key in others if key.t < seed.t), default=first)
        last = min((key.t for key in others if key.t > seed.t), default=last)
    elif wish.until != "end":
        first, last = max(min(wish.until, seed.t), first), min(max(wish.until, seed.t), last)
    if wish.direction == "forward":
        first = seed.t
    elif wish.direction == "backward":
        last = seed.t
    return _within(first, last, [seed, *others])


def _from_keyframes(keys: Sequence[Anchor], wish: Wish, frames: int) -> Region | None:
    if not keys:
        return None
    first, last = 0, frames - 1
    if wish.direction == "forward":
        first = keys[0].t
    elif wish.direction == "backward":
        last = keys[-1].t
    if wish.until == "keyframes" and len(keys) > 1:
        first, last = keys[0].t, keys[-1].t
    elif isinstance(wish.until, int) and wish.direction == "forward":
        last = max(min(wish.until, last), first)
    elif isinstance(wish.until, int):
        first = min(max(wish.until, first), last)
    return _within(first, last, keys)


def _seed(keys: Sequence[Anchor], wish: Wish, now: Anchor | None) -> Anchor | None:
    """Where tracking starts: the keyframe or the position on that frame, else the keyframe that comes next in the
    direction from which one comes."""
    assert wish.start is not None
    here = [key for key in keys if key.t == wish.start]
    if here or now is not None:
        return here[0] if here else now
    before = [key for key in keys if key.t < wish.start][-1:]
    after = [key for key in keys if key.t > wish.start][:1]
    chosen = [*after, *before] if wish.direction == "backward" else [*before, *after]
    return chosen[0] if chosen else None


def _within(first: int, last: int, anchors: Iterable[Anchor]) -> Region:
    return Region(first, last, tuple(sorted(anchor for anchor in anchors if first <= anchor.t <= last)))


def grouped(regions: Iterable[tuple[int, Region]], direction: Direction) -> list[Group]:
    """Points of the same frames together, in the order of these; a region of one frame has nothing to be tracked."""
    by_span: defaultdict[tuple[int, int], list[tuple[int, tuple[Anchor, ...]]]] = defaultdict(list)
    for point, each in regions:
        if each.last > each.first:
            by_span[each.first, each.last].append((point, each.anchors))
    return [Group(first, last, direction, tuple(points)) for (first, last), points in sorted(by_span.items())]

"""How bodies walk, swim and fly: their vertices at moments of an animation, and smoothly at any time between them."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from tapkit.synth.dice import Dice

FINE = 32767
"""Whole numbers per radius, in which moments are held."""
STILL = 0.03
"""Animations in which nothing moves farther than this (radii of the body) are left out."""
CYCLE = (8.0, 60.0)
"""Fewest and most frames in which a gait is gone through once, at speed 1."""


class Gait(NamedTuple):
    """K moments of a body of V vertices, at most 1 away from the origin."""

    moments: Tensor
    """int16 [K,V,3], in 1/FINE: half of the memory of floats, and finer than a thousandth of a pixel."""
    loops: bool
    """Whether the first moment comes after the last one; else it is played forth and back."""

    def to(self, device: torch.device | str) -> Gait:
        """This gait on another device."""
        return Gait(self.moments.to(device), self.loops)

    def places(self) -> Tensor:
        """The moments as float32 [K,V,3]."""
        return self.moments.float() / FINE

    def joined(self, vertex: Tensor, cluster: Tensor) -> Gait:
        """Of fewer vertices: each is the mean of the old ones that are in its cluster.

        Args:
            vertex, cluster: int64 [n], an old vertex and the new one that it belongs to; repeated ones count as often.
        """
        moments = self.places()
        total = moments.new_zeros(len(moments), int(cluster.max()) + 1, 3).index_add_(1, cluster, moments[:, vertex])
        return Gait(_whole(total / torch.bincount(cluster)[:, None]), self.loops)


def gait_of(moments: Tensor) -> Gait | None:
    """A gait of vertices at moments spread evenly from the beginning to the end of an animation, [K,V,3].

    Moved to the origin and scaled as a whole. It loops if from its end to its beginning is no farther than a step
    (animations end on their first moment or one step before it). None: nothing moves.
    """
    low, high = moments.flatten(0, 1).amin(0), moments.flatten(0, 1).amax(0)
    moments = moments - (low + high) / 2
    moments = moments / moments.norm(dim=-1).amax().clamp_min(1e-9)
    if float((moments - moments[:1]).norm(dim=-1).amax()) < STILL:
        return None
    steps = (moments[1:] - moments[:-1]).norm(dim=-1).amax(1)
    gap = float((moments[0] - moments[-1]).norm(dim=-1).amax())
    loops = gap <= 1.5 * float(steps.amax())
    if loops and gap < 0.5 * float(steps.median()):
        moments = moments[:-1]
    return Gait(_whole(moments), loops)


def _whole(moments: Tensor) -> Tensor:
    return (moments * FINE).round().clamp(-FINE, FINE).short()


class Stride(NamedTuple):
    """A gait as it goes in one clip."""

    moments: Tensor
    """float32 [K,V,3]."""
    loops: bool
    phase: float
    """Where it is at time 0, in moments."""
    rate: float
    """Moments per frame."""

    def at(self, times: Tensor) -> Tensor:
        """Vertices at times [M], in frames -> [M,V,3]: Catmull-Rom curves through the moments, so nothing jerks."""
        count = len(self.moments)
        place = self.phase + self.rate * times
        if not self.loops:
            # Forth and back, slowly at both ends.
            place = (count - 1) * (0.5 - 0.5 * torch.cos(place * (math.pi / count)))
        first = place.floor()
        t = (place - first)[:, None, None]
        before, start, end, after = (self._moment(first.long() + step) for step in (-1, 0, 1, 2))
        bend = 3 * (start - end) + after - before
        return start + 0.5 * t * (end - before + t * (2 * before - 5 * start + 4 * end - after + t * bend))

    def _moment(self, index: Tensor) -> Tensor:
        count = len(self.moments)
        return self.moments[index % count if self.loops else index.clamp(0, count - 1)]


def random_stride(dice: Dice, gaits: tuple[Gait, ...], speed: float) -> Stride:
    """Draw one of some gaits, where it begins and how fast it goes."""
    gait = gaits[dice.below(len(gaits))]
    count = len(gait.moments)
    phase = dice.number(0, 2 * count)
    return Stride(gait.places(), gait.loops, phase, speed * count / dice.log_number(*CYCLE))


def smooth_normals(places: Tensor, vertex: Tensor) -> Tensor:
    """Normals of length 1 at vertices [M,V,3] of triangles `vertex` int64 [F,3] -> [M,V,3].

    Triangles count by their size. Edges that are sharp in a file stay so: vertices are doubled there.
    """
    a, b, c = (places[:, vertex[:, corner]] for corner in range(3))
    facing = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(places)
    for corner in range(3):
        total.index_add_(1, vertex[:, corner], facing)
    return torch.nn.functional.normalize(total, dim=-1)

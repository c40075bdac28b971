"""Outlines of layers: blobs, polygons, rings, foliage, bars, branches and strokes, as signed distances.

A bank of them is made once. Distances (positive inside, in pixels of the mask) are kept instead of masks, so that
an edge is one pixel wide on the screen however large the layer is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.synth.dice import Dice

SIDE = 128
STEPS = 8.0
"""Stored steps per pixel of distance; uint8 then reaches 16 pixels either way."""
SOLID, THIN = 0, 1


def _plane(device: torch.device) -> tuple[Tensor, Tensor]:
    """x and y of the mask's pixels in -1..1, [SIDE,SIDE] each."""
    ticks = (torch.arange(SIDE, device=device) + 0.5) / (SIDE / 2) - 1
    return ticks[None, :].expand(SIDE, SIDE), ticks[:, None].expand(SIDE, SIDE)


def _blob(dice: Dice) -> Tensor:
    """A closed curve whose radius is a short Fourier series."""
    x, y = _plane(dice.device)
    angle, orders = torch.atan2(y, x), torch.arange(1, 7, device=dice.device)
    strength = dice.normal(6) * dice.number(0.05, 0.3) / orders
    wave = torch.cos(angle[..., None] * orders + dice.uniform(0, 2 * math.pi, 6)) @ strength
    return 0.62 * (1 + wave).clamp(0.25, 1.4) - torch.hypot(x, y)


def _polygon(dice: Dice) -> Tensor:
    """Corners at sorted angles and random radii: convex, star-shaped or spiky."""
    x, y = _plane(dice.device)
    corners = 3 + dice.below(6)
    step = 2 * math.pi / corners
    angles = (torch.arange(corners, device=dice.device) + dice.uniform(-0.3, 0.3, corners)) * step
    radii = dice.uniform(dice.number(0.25, 0.8), 0.88, corners)
    a = torch.stack([radii * torch.cos(angles), radii * torch.sin(angles)], -1)
    b = a.roll(-1, 0)
    near = _to_segments(x, y, a, b)
    # Even-odd rule: how many edges a ray to the right crosses.
    above = (a[:, 1, None, None] > y) != (b[:, 1, None, None] > y)
    rise = (b - a)[:, 1, None, None]
    cross = a[:, 0, None, None] + (y - a[:, 1, None, None]) * (b - a)[:, 0, None, None] / rise
    inside = (above & (x < cross)).sum(0) % 2 == 1
    return torch.where(inside, near, -near)


def _ring(dice: Dice) -> Tensor:
    """A blob with a hole: points behind it come and go."""
    outer = _blob(dice)
    x, y = _plane(dice.device)
    px, py = dice.number(-0.15, 0.15), dice.number(-0.15, 0.15)
    return torch.minimum(outer, torch.hypot(x - px, y - py) - dice.number(0.15, 0.38))


def _foliage(dice: Dice) -> Tensor:
    """Smooth noise above a threshold inside a blob: leaves and gaps."""
    cells = 6 + dice.below(8)
    field = F.interpolate(dice.normal(1, 1, cells, cells), size=(SIDE, SIDE), mode="bicubic", align_corners=False)[0, 0]
    return torch.minimum((field + dice.number(-0.2, 0.5)) * 0.25, _blob(dice))


def _bars(dice: Dice) -> Tensor:
    """Parallel or crossed bars: a fence, a grating, a post."""
    x, y = _plane(dice.device)
    turn = dice.number(0, math.pi)
    u = math.cos(turn) * x + math.sin(turn) * y
    v = math.cos(turn) * y - math.sin(turn) * x
    width = dice.number(0.03, 0.09)
    period = dice.number(0.3, 0.9)
    found = width - (u - period * (u / period).round()).abs()
    if dice.happens(0.3):
        found = torch.maximum(found, width - (v - period * (v / period).round()).abs())
    if dice.happens(0.35):
        found = width * 1.5 - u.abs()
    return torch.minimum(found, dice.number(0.6, 0.88) - torch.maximum(u.abs(), v.abs()))


def _branch(dice: Dice) -> Tensor:
    """A stem that wanders and twigs that leave it, thinner towards their ends."""
    x, y = _plane(dice.device)
    places, heading = [torch.tensor([dice.number(-0.3, 0.3), -0.85], device=dice.device)], math.pi / 2
    starts, ends, widths = [], [], []
    width = dice.number(0.035, 0.08)
    for step in range(5):
        heading += dice.number(-0.5, 0.5)
        there = places[-1] + 0.34 * torch.tensor([math.cos(heading), math.sin(heading)], device=dice.device)
        starts.append(places[-1])
        ends.append(there)
        widths.append(width * (1 - 0.12 * step))
        side = heading + dice.number(0.4, 1.2) * (1 if step % 2 else -1)
        length = dice.number(0.2, 0.6)
        starts.append(there)
        ends.append(there + length * torch.tensor([math.cos(side), math.sin(side)], device=dice.device))
        widths.append(width * 0.6)
        places.append(there)
    reach = _to_segments(x, y, torch.stack(starts), torch.stack(ends), torch.tensor(widths, device=dice.device))
    return torch.minimum(-reach, 0.92 - torch.maximum(x.abs(), y.abs()))


def _strokes(dice: Dice) -> Tensor:
    """Three to five thick strokes between the places of a 3 by 4 grid: like letters and signs."""
    x, y = _plane(dice.device)
    count = 3 + dice.below(3)
    places = torch.stack([dice.integers(0, 3, count + 1) * 0.5 - 0.5, dice.integers(0, 4, count + 1) * 0.4 - 0.6], -1)
    starts, ends = places[:-1], places[1:]
    ends = torch.where((starts == ends).all(-1, keepdim=True), -ends, ends)
    width = torch.full((count,), dice.number(0.06, 0.14), device=dice.device)
    return -_to_segments(x, y, starts, ends, width)


def _to_segments(x: Tensor, y: Tensor, a: Tensor, b: Tensor, width: Tensor | None = None) -> Tensor:
    """Distance of the pixels [SIDE,SIDE] to the nearest of the segments a-b [n,2], less its half width [n]."""
    along = b - a
    px, py = x - a[:, 0, None, None], y - a[:, 1, None, None]
    length = (along * along).sum(-1).clamp_min(1e-8)
    t = ((px * along[:, 0, None, None] + py * along[:, 1, None, None]) / length[:, None, None]).clamp(0, 1)
    distance = torch.hypot(px - t * along[:, 0, None, None], py - t * along[:, 1, None, None])
    return (distance if width is None else distance - width[:, None, None]).amin(0)


_KINDS: tuple[tuple[Callable[[Dice], Tensor], int], ...] = (
    (_blob, SOLID),
    (_polygon, SOLID),
    (_bars, THIN),
    (_ring, SOLID),
    (_strokes, SOLID),
    (_blob, SOLID),
    (_branch, THIN),
    (_foliage, SOLID),
)


class ShapeBank:
    """`count` outlines: `distance` uint8 [count,SIDE,SIDE] (see `STEPS`), and whether each is thin."""

    def __init__(self, count: int, seed: int = 0, device: str | torch.device = "cpu") -> None:
        dice = Dice(seed)
        kinds = [_KINDS[i % len(_KINDS)] for i in range(count)]
        field = torch.stack([make(dice) for make, _ in kinds])
        self.distance = _stored(field).to(device)
        self.thin = torch.tensor([kind == THIN for _, kind in kinds], device=device)

    def draw(self, dice: Dice, count: int) -> Tensor:
        """Indices of `count` random outlines, int64 [count]."""
        return dice.integers(0, len(self.thin), count)

    def distances(self, index: Tensor) -> Tensor:
        """Signed distances in mask pixels, positive inside -> float [n,1,SIDE,SIDE]."""
        return self.distance[index][:, None].float().sub_(128).div_(STEPS)


def _stored(field: Tensor) -> Tensor:
    """Implicit functions [n,SIDE,SIDE] as distances to their zero line, in the bank's uint8 steps."""
    gradient = torch.hypot(*torch.gradient(field, dim=(1, 2)))
    distance = field / gradient.clamp_min(0.1 * 2 / SIDE)
    rim = torch.arange(SIDE, dtype=torch.float32)
    rim = torch.minimum(rim, SIDE - 1 - rim) - 2
    distance = torch.minimum(distance, torch.minimum(rim[:, None], rim[None, :]))
    return (distance * STEPS + 128).round().clamp(0, 255).to(torch.uint8)

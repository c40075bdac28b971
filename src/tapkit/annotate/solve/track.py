"""One point through all its clicks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tapkit.annotate.solve import path as search
from tapkit.annotate.solve import polish
from tapkit.annotate.solve.motion import Motion, at
from tapkit.errors import QueryError, UsageError

RADIUS = 8.0
"""Pixels of a 256x256 frame: confidence is P(the position is right to within that)."""
DRIFT = 0.3
"""Pixels (of the fields) by which a step of a flow that is fully trusted is off, where no second click says better."""


@dataclass(frozen=True)
class Click:
    """A position that is certain: pixels of the video, corner origin."""

    t: int
    x: float
    y: float


@dataclass(frozen=True, eq=False)
class Solved:
    """A track on frames start..stop (excluded), n of them."""

    start: int
    stop: int
    xy: np.ndarray
    """[n,2] float64, pixels of the video."""
    confidence: np.ndarray
    """[n] P(right to within `RADIUS`)."""
    disagreement: np.ndarray
    """[n] pixels of the video between what the flow says from the click before and from the one after; NaN beyond the
    first and the last click."""


def solve_track(
    clicks: Sequence[Click],
    motion: Motion,
    hidden: Sequence[tuple[int, int]] = (),
    open_ends: bool = True,
) -> Solved:
    """The track through all clicks along the motion.

    Args:
        clicks: at least one; a frame has one at most.
        motion: of the clip.
        hidden: spans (start, stop) of frames on which the point is not seen, where the flow says nothing about it.
        open_ends: go on before the first and after the last click to the ends of the clip, as the flow says.

    Raises `UsageError`, `QueryError` for clicks that are none, or outside of the clip.
    """
    ordered = sorted(clicks, key=lambda click: click.t)
    if not ordered:
        raise UsageError("a track needs at least one click")
    for one, other in pairwise(ordered):
        if one.t == other.t:
            raise UsageError(f"frame {one.t} has two clicks")
    first, last = ordered[0].t, ordered[-1].t
    if first < 0 or last >= motion.frames:
        raise QueryError(f"the clicks are on frames {first} to {last}, the clip has 0..{motion.frames - 1}")
    start, stop = (0, motion.frames) if open_ends else (first, last + 1)
    motion.prepare(start, stop)
    scale = np.array(motion.scale)
    where = [np.array([click.x, click.y]) * scale for click in ordered]
    xy = np.zeros((stop - start, 2))
    spread = np.zeros(stop - start)
    apart = np.full(stop - start, np.nan)
    for click, place in zip(ordered, where, strict=True):
        xy[click.t - start] = place
    for (one, a), (other, b) in pairwise(zip(ordered, where, strict=True)):
        part = slice(one.t - start, other.t - start + 1)
        xy[part], spread[part], apart[part] = between(motion, one.t, a, other.t, b, _free(one.t, other.t, hidden))
    if open_ends:
        tail, loose = onward(motion, range(last, stop - 1), where[-1], ahead=True)
        xy[last + 1 - start :], spread[last + 1 - start :] = tail, loose
        head, loose = onward(motion, range(first - 1, start - 1, -1), where[0], ahead=False)
        xy[: first - start], spread[: first - start] = head[::-1], loose[::-1]
    radius = RADIUS / 256 * _side(motion)
    with np.errstate(divide="ignore"):
        confidence = 1 - np.exp(-(radius**2) / (2 * spread**2))
    return Solved(start, stop, xy / scale, confidence, apart / np.sqrt(scale.prod()))


def between(
    motion: Motion, s: int, a: np.ndarray, e: int, b: np.ndarray, free: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Path [L+1,2], its spread [L+1] and the disagreement [L+1] of the flow from either side, in pixels of the fields.

    The best of several polished paths, by how much each disagrees with the flow: the cheapest ones of the grid found
    forwards and backwards, what the flow alone says from either end (faded into each other), and the straight line.
    """
    forward, backward = motion.forward(s, e), motion.backward(s, e)
    count = e - s
    share = np.linspace(0, 1, count + 1)[:, None]
    line = a + share * (b - a)
    ahead, back = _carried(a, b, forward, backward, free)
    candidates = [line, (1 - share) * ahead + share * back]
    if count > 1 and not free.any():
        size = (forward.shape[1], forward.shape[2])
        layers = [search.corridor(np.stack([ahead[t], back[t], line[t]]), size) for t in range(1, count)]
        candidates.append(search.cheapest(forward, layers, a, b))
        candidates.append(search.cheapest(backward[::-1], layers[::-1], b, a)[::-1])
    exact, terms = polish.polish(np.stack(candidates), forward, backward, free)
    best = int(polish.costs(exact, forward, backward, free).argmin())
    spread = polish.spread_of(exact[best], terms.step[best], terms.weight[best])
    return exact[best], spread, np.linalg.norm(ahead - back, axis=1)


def _carried(
    a: np.ndarray, b: np.ndarray, forward: np.ndarray, backward: np.ndarray, free: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where the flow alone takes the first click, and the second one backwards, [L+1,2] each; steps that are free are
    not taken."""
    ahead, back = [a], [b]
    for t in range(len(forward)):
        ahead.append(ahead[-1] + (0 if free[t] else at(forward, t, ahead[-1])))
    for t in range(len(backward) - 1, -1, -1):
        back.append(back[-1] + (0 if free[t] else at(backward, t, back[-1])))
    return np.stack(ahead), np.stack(back[::-1])


def onward(motion: Motion, steps: range, place: np.ndarray, ahead: bool) -> tuple[np.ndarray, np.ndarray]:
    """Positions [n,2] beyond the last click (`ahead`) or before the first, as the flow takes it, and their spread."""
    path, spread, variance = [], [], 0.0
    for t in steps:
        there, back = motion.forward(t, t + 1), motion.backward(t, t + 1)
        there, back = (there, back) if ahead else (back, there)
        step = at(there, 0, place)
        miss = step + at(back, 0, place + step)
        variance += DRIFT**2 * (1 + float((miss**2).sum()) / polish.SIGMA**2)
        place = place + step
        path.append(place)
        spread.append(np.sqrt(variance))
    return np.array(path).reshape(-1, 2), np.array(spread)


def _free(s: int, e: int, hidden: Sequence[tuple[int, int]]) -> np.ndarray:
    """Steps t to t + 1, for t in s..e, with a hidden end: [e-s] bool."""
    frames = np.zeros(e - s + 1, bool)
    for start, stop in hidden:
        frames[max(start - s, 0) : max(stop - s, 0)] = True
    free: np.ndarray = frames[:-1] | frames[1:]
    return free


def _side(motion: Motion) -> float:
    """Side of a square with as many pixels as the fields have."""
    height, width = motion.forward(0, 1).shape[1:3]
    return float(np.sqrt(height * width))

"""Drawing pairs of frames and points in them from flow. Every draw depends on seed and step alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tapkit.per_video.prepare.flows import BELIEVED, PairFlows

BLIND = 4
"""Rounds of drawing pixels blindly, before all are looked at."""


class Points(NamedTuple):
    """K points of a pair of frames, index coordinates."""

    first: int
    second: int
    pixels: np.ndarray
    """[K,2] float32 in the first frame."""
    targets: np.ndarray
    """[K,2] float32 in the second."""
    weights: np.ndarray
    """[K] float32."""


def generator(seed: int, *numbers: int) -> np.random.Generator:
    """The dice of a step (and of what is drawn in it)."""
    return np.random.default_rng([seed, *numbers])


def cycled(frames: int, seed: int, position: int) -> int:
    """Entry `position` of an endless sequence that goes through all frames in ever new random orders."""
    order = generator(seed, 1, position // frames).permutation(frames)
    return int(order[position % frames])


def choose(
    pixels: int, weight_at: Callable[[np.ndarray], np.ndarray], count: int, dice: np.random.Generator
) -> np.ndarray:
    """Flat indices [count] of `pixels`, with a probability in proportion to `weight_at(indices)`, which is 0 to 1;
    without repeating one, as long as there are enough of a weight.

    Drawn blindly and kept by weight, so that of a large frame little is looked at; where little is of a weight, all is.
    """
    kept = np.empty(0, np.int64)
    for _ in range(BLIND):
        drawn = dice.integers(0, pixels, 4 * count)
        kept = np.concatenate([kept, drawn[dice.random(len(drawn)) < weight_at(drawn)]])
        _, first = np.unique(kept, return_index=True)
        kept = kept[np.sort(first)]
        if len(kept) >= count:
            return kept[:count]
    weight = weight_at(np.arange(pixels))
    usable = np.flatnonzero(weight > 0)
    if not len(usable):
        return dice.integers(0, pixels, count)
    if len(usable) < count:
        return dice.choice(usable, count, p=weight[usable] / weight[usable].sum())
    # The first `count` arrivals of processes with these rates are such a draw.
    arrivals = dice.exponential(size=len(usable)) / weight[usable]
    nearest: np.ndarray = usable[np.argpartition(arrivals, count - 1)[:count]]
    return nearest


def points_of(flows: PairFlows, first: int, second: int, index: np.ndarray, weight: float | np.ndarray) -> Points:
    """The points at the flat pixel indices [K] of a pair."""
    flow = np.asarray(flows.flow(first, second))
    y, x = np.divmod(index, flow.shape[1])
    pixels = np.stack([x, y], 1).astype(np.float32)
    moved = pixels + flow[y, x].astype(np.float32)
    return Points(first, second, pixels, moved, np.broadcast_to(np.float32(weight), (len(index),)).copy())


def believed(flows: PairFlows, first: int, second: int, index: np.ndarray) -> np.ndarray:
    """Whether the flow at flat pixel indices [K] is believed and the point seen in both frames: bool [K]."""
    found: np.ndarray = (flows.mask(first, second).reshape(-1)[index] & BELIEVED) > 0
    return found


def colours(frame: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Bilinear colours [K,3] (0..1) of a frame uint8 [h,w,3] at pixels [K,2]; the border holds outside."""
    height, width = frame.shape[:2]
    x, y = np.clip(xy[:, 0], 0, width - 1), np.clip(xy[:, 1], 0, height - 1)
    left, top = np.minimum(x.astype(int), max(width - 2, 0)), np.minimum(y.astype(int), max(height - 2, 0))
    right, low = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    fx, fy = (x - left)[:, None], (y - top)[:, None]
    above = frame[top, left] * (1 - fx) + frame[top, right] * fx
    below = frame[low, left] * (1 - fx) + frame[low, right] * fx
    found: np.ndarray = ((above * (1 - fy) + below * fy) / 255).astype(np.float32)
    return found

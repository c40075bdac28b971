"""A path made exact between the pixels, from the flow in both directions.

With the flow read at the present path, F_t forwards and G_t backwards, the path that minimises

    sum over t of  a_t |p_{t+1} - p_t - F_t|^2 + b_t |p_{t+1} - p_t - G_t|^2

between fixed ends has a closed form: it steps by the weighted mean of F_t and G_t and adds of the closing error in
proportion to 1 / (a_t + b_t), so that the error goes where the flow is least reliable. The flow is then read again at
the new path. Weights fall with how far a round trip by both flows ends from where it began; steps with a hidden end
have none, so that what happens there is a straight line.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tapkit.annotate.solve.motion import at

SIGMA = 0.7
"""Pixels (of the fields) of a round trip at which a weight is one half."""
FREE = 1e-6
"""Weight of a step that is free."""
ROUNDS = 6


class Terms(NamedTuple):
    """What the flow says of each of L steps, along C paths."""

    step: np.ndarray
    """[C,L,2]."""
    weight: np.ndarray
    """[C,L]."""


def polish(
    paths: np.ndarray, forward: np.ndarray, backward: np.ndarray, free: np.ndarray, rounds: int = ROUNDS
) -> tuple[np.ndarray, Terms]:
    """Paths [C,L+1,2] with the same ends, and the terms that they follow.

    `forward`, `backward` [L,h,w,2]: the flow; `free` [L]: steps without any.
    """
    for _ in range(rounds):
        terms = read(paths, forward, backward, free)
        paths = closed(paths[:, 0], paths[:, -1], terms)
    return paths, terms


def read(paths: np.ndarray, forward: np.ndarray, backward: np.ndarray, free: np.ndarray) -> Terms:
    """The terms at paths [C,L+1,2]."""
    which = np.broadcast_to(np.arange(len(forward)), (len(paths), len(forward)))
    here, there = paths[:, :-1], paths[:, 1:]
    ahead, back = at(forward, which, here), at(backward, which, there)
    one = _trust(ahead + at(backward, which, here + ahead))
    other = _trust(back + at(forward, which, there + back))
    steps = (one * ahead - other * back) / (one + other)
    steps[:, free] = 0
    weights = (one + other)[..., 0]
    weights[:, free] = FREE
    return Terms(steps, weights)


def _trust(miss: np.ndarray) -> np.ndarray:
    trust: np.ndarray = 1 / (1 + (miss**2).sum(-1, keepdims=True) / SIGMA**2) + 1e-3
    return trust


def closed(start: np.ndarray, end: np.ndarray, terms: Terms) -> np.ndarray:
    """The paths of least error between fixed ends [C,2], [C,L+1,2]."""
    error = end - start - terms.step.sum(1)
    share = (1 / terms.weight) / (1 / terms.weight).sum(1, keepdims=True)
    steps = terms.step + share[..., None] * error[:, None]
    return np.concatenate([start[:, None], start[:, None] + steps.cumsum(1)], 1)


def spread_of(path: np.ndarray, step: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """How far one path may be off on each frame, [L+1]: the standard deviation of a random walk that is tied at both
    ends, whose steps are as uncertain as the closing error says (and at least by a tenth of a pixel)."""
    error = path[-1] - path[0] - step.sum(0)
    variance = np.concatenate([[0.0], (1 / weight).cumsum()])
    whole = variance[-1]
    unit = max(float((error**2).sum()) / 2 / whole, 0.01 * len(weight) / whole)
    spread: np.ndarray = np.sqrt(unit * variance * (whole - variance) / whole)
    return spread


def costs(paths: np.ndarray, forward: np.ndarray, backward: np.ndarray, free: np.ndarray) -> np.ndarray:
    """How much each path disagrees with the flow in both directions [C]: pixels, each term no more than 4."""
    which = np.broadcast_to(np.arange(len(forward)), (len(paths), len(forward)))
    here, there = paths[:, :-1], paths[:, 1:]
    misses = (there - here - at(forward, which, here), here - there - at(backward, which, there))
    total: np.ndarray = sum(np.minimum(np.linalg.norm(miss[:, ~free], axis=-1), 4.0).sum(1) for miss in misses)
    return total

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
    """What the flow says of each of L steps."""

    step: np.ndarray
    """[L,2]."""
    weight: np.ndarray
    """[L]."""


def polish(
    path: np.ndarray, forward: list[np.ndarray], backward: list[np.ndarray], free: np.ndarray, rounds: int = ROUNDS
) -> tuple[np.ndarray, Terms]:
    """The path [L+1,2] with the same ends, and the terms that it follows. `free` [L]: steps without flow."""
    for _ in range(rounds):
        terms = read(path, forward, backward, free)
        path = closed(path[0], path[-1], terms)
    return path, terms


def read(path: np.ndarray, forward: list[np.ndarray], backward: list[np.ndarray], free: np.ndarray) -> Terms:
    """The terms at a path."""
    count = len(forward)
    steps, weights = np.zeros((count, 2)), np.full(count, FREE)
    for t in np.flatnonzero(~free):
        here, there = path[t : t + 1], path[t + 1 : t + 2]
        ahead, back = at(forward[t], here), at(backward[t], there)
        one = _trust(ahead + at(backward[t], here + ahead))
        other = _trust(back + at(forward[t], there + back))
        steps[t] = ((one * ahead - other * back) / (one + other))[0]
        weights[t] = (one + other)[0, 0]
    return Terms(steps, weights)


def _trust(miss: np.ndarray) -> np.ndarray:
    trust: np.ndarray = 1 / (1 + (miss**2).sum(1, keepdims=True) / SIGMA**2) + 1e-3
    return trust


def closed(start: np.ndarray, end: np.ndarray, terms: Terms) -> np.ndarray:
    """The path of least error between fixed ends, [L+1,2]."""
    error = end - start - terms.step.sum(0)
    share = (1 / terms.weight) / (1 / terms.weight).sum()
    steps = terms.step + share[:, None] * error
    return np.concatenate([start[None], start + steps.cumsum(0)])


def spread_of(start: np.ndarray, end: np.ndarray, terms: Terms) -> np.ndarray:
    """How far the path may be off on each frame, [L+1]: the standard deviation of a random walk that is tied at both
    ends, whose steps are as uncertain as the closing error says (and at least by a tenth of a pixel)."""
    error = end - start - terms.step.sum(0)
    variance = np.concatenate([[0.0], (1 / terms.weight).cumsum()])
    whole = variance[-1]
    unit = max(float((error**2).sum()) / 2 / whole, 0.01 * len(terms.weight) / whole)
    spread: np.ndarray = np.sqrt(unit * variance * (whole - variance) / whole)
    return spread


def cost(path: np.ndarray, forward: list[np.ndarray], backward: list[np.ndarray], free: np.ndarray) -> float:
    """How much a path disagrees with the flow in both directions: pixels, each term no more than 4."""
    total = 0.0
    for t in np.flatnonzero(~free):
        here, there = path[t : t + 1], path[t + 1 : t + 2]
        for miss in (there - here - at(forward[t], here), here - there - at(backward[t], there)):
            total += min(float(np.linalg.norm(miss)), 4.0)
    return total

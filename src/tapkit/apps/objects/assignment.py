"""The best one-to-one assignment between tracks and detections."""

from __future__ import annotations

import numpy as np


def assign(similarity: np.ndarray, minimum: float) -> list[tuple[int, int]]:
    """Pairs (row, column) of a matrix [N,M] of similarities, each row and column at most once.

    The sum of `similarity - minimum` over the pairs is the largest possible, and no pair is below `minimum`. This is
    what a cost matrix padded with dummies of half the cost limit gives (`lap.lapjv(extend_cost=True, cost_limit=...)`).

    >>> assign(np.array([[0.9, 0.8], [0.8, 0.0]]), 0.1), assign(np.array([[0.9, 0.3], [0.3, 0.0]]), 0.25)
    ([(0, 1), (1, 0)], [(0, 0)])
    """
    gain = np.maximum(np.asarray(similarity, np.float64) - minimum, 0)
    # An exact tie with the minimum still counts as a pair, if nothing else wants either of the two.
    gain = np.where(similarity >= minimum, gain + 1e-12, 0)
    if not gain.any():
        return []
    turned = gain.shape[0] > gain.shape[1]
    columns = _shortest_paths(-(gain.T if turned else gain))
    pairs = [(int(c), r) if turned else (r, int(c)) for r, c in enumerate(columns)]
    return sorted((r, c) for r, c in pairs if gain[r, c] > 0)


def _shortest_paths(cost: np.ndarray) -> np.ndarray:
    """The column of each row [N] that makes the sum of cost [N,M], N <= M, least.

    Successive shortest augmenting paths with potentials: R. Jonker, A. Volgenant, A Shortest Augmenting Path Algorithm
    for Dense and Sparse Linear Assignment Problems, Computing 38, 1987. Column 0 is a dummy from which paths start.
    """
    rows, columns = cost.shape
    of_row, of_column = np.zeros(rows + 1), np.zeros(columns + 1)
    owner = np.zeros(columns + 1, np.int64)
    for row in range(1, rows + 1):
        owner[0], column = row, 0
        least = np.full(columns + 1, np.inf)
        before = np.zeros(columns + 1, np.int64)
        used = np.zeros(columns + 1, bool)
        while True:
            used[column] = True
            reduced = cost[owner[column] - 1] - of_row[owner[column]] - of_column[1:]
            better = ~used[1:] & (reduced < least[1:])
            least[1:][better], before[1:][better] = reduced[better], column
            following = int(np.argmin(np.where(used, np.inf, least)))
            step = least[following]
            of_row[owner[used]] += step
            of_column[used] -= step
            least[~used] -= step
            column = following
            if owner[column] == 0:
                break
        while column:
            owner[column] = owner[before[column]]
            column = before[column]
    result = np.zeros(rows, np.int64)
    taken = np.flatnonzero(owner[1:]) + 1
    result[owner[taken] - 1] = taken - 1
    return result

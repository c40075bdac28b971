"""FrameResult: what a running tracker says about one frame."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class FrameResult(NamedTuple):
    """Answers for M points on one frame; positions are pixels of the original video, corner origin.

    Points are known by integer rows: their number in the order in which they were first asked for, in a session as in
    the `Tracks` that come of it. Names are looked up only where a person or a file wants them (`ids`).
    """

    frame: int
    rows: np.ndarray
    """[M] int64."""
    xy: np.ndarray
    """[M,2] float32."""
    visible: np.ndarray
    """[M] float32, P(visible)."""
    confidence: np.ndarray
    """[M] float32, P(error within the card's radius)."""
    final: bool = True
    """False: a provisional answer, which a later result for the same frame replaces."""
    names: np.ndarray | None = None
    """[N] str: the ids of all points, by row; shared between results, never copied. None: rows are the names."""
    keyframe: np.ndarray | None = None
    """[M] bool: positions that a human set; None: none of them."""

    @property
    def ids(self) -> np.ndarray:
        """Names of the points, [M] str.

        >>> none = np.zeros(0)
        >>> FrameResult(3, np.array([1, 0]), none, none, none, names=np.array(["nose", "tail"])).ids.tolist()
        ['tail', 'nose']
        """
        return self.rows.astype(np.str_) if self.names is None else self.names[self.rows]

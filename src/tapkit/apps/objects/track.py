"""One object that is being followed: its last box, its points."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from tapkit.apps.objects.propagation import AGREE, move_box

SEEN = 0.5
"""Visibility from which on a point carries its box along."""

SUPPORT = 0.3
"""Share of an object's points that must be seen, and agree, for its box to move with them."""


def _carried_points(before: np.ndarray, after: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Where points [n,2] of a box [4] are once it has become another one."""
    share = (xy - before[:2]) / (before[2:] - before[:2])
    return np.asarray(after[:2] + share * (after[2:] - after[:2]))


def _no_points() -> np.ndarray:
    return np.zeros((0, 2), np.float64)


@dataclass(eq=False)
class Track:
    """State of one object; changed by `PointMOT` only."""

    number: int
    box: np.ndarray
    """[4] of the last detection that matched."""
    score: float
    area: float
    """Of the last match: of its mask or box, square pixels."""
    first: int
    """Frame of its first detection."""
    last: int
    """Frame of its last detection."""
    labels: Counter[str]
    matches: int = 1
    confirmed: bool = False
    lost: bool = False
    carried: np.ndarray = field(default_factory=lambda: np.zeros(4))
    """[4]: `box`, carried to the frame at hand by the points."""
    keys: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """[n] int64 names of the points."""
    xy: np.ndarray = field(default_factory=_no_points)
    """[n,2] on the frame at hand."""
    visible: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """[n] P(visible) on the frame at hand."""
    anchor: np.ndarray = field(default_factory=_no_points)
    """[n,2] where they were when `box` was."""
    outside: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """[n] frames in a row for which they have been outside."""
    supported: bool = False
    """Whether enough points agree on where `carried` is."""
    renewed: int = 0
    """Frame of the last new grid."""

    @property
    def label(self) -> str:
        """The class most of its detections had; of equally many the one met first."""
        return self.labels.most_common(1)[0][0]

    @property
    def seen(self) -> np.ndarray:
        """[n] bool: points that are visible."""
        return self.visible >= SEEN

    def carry(self) -> None:
        """Move `carried` to where the visible points say, if they are enough and agree; otherwise it stays.

        A point that is hidden may be found again on something that looks like its object. One by one such points are
        outvoted; what is left of an object that is nearly hidden is not allowed to take its box along.
        """
        seen = self.seen
        moved = move_box(self.box, self.anchor[seen], self.xy[seen])
        follow = np.linalg.norm(_carried_points(self.box, moved, self.anchor[seen]) - self.xy[seen], axis=1)
        agreed = int((follow <= max(AGREE, 0.05 * float(np.hypot(*(self.box[2:] - self.box[:2]))))).sum())
        self.supported = agreed >= max(2.0, SUPPORT * len(self.keys), 0.5 * float(seen.sum()))
        if self.supported:
            self.carried = moved

    def add(self, keys: np.ndarray, xy: np.ndarray) -> None:
        """New points, on the frame at hand."""
        self.keys = np.concatenate([self.keys, keys])
        self.xy = np.concatenate([self.xy, xy])
        self.visible = np.concatenate([self.visible, np.ones(len(keys))])
        self.anchor = np.concatenate([self.anchor, xy])
        self.outside = np.concatenate([self.outside, np.zeros(len(keys), np.int64)])

    def keep(self, which: np.ndarray) -> np.ndarray:
        """Keep the points [n] bool; returns the names of the others."""
        gone: np.ndarray = self.keys[~which]
        for name in ("keys", "xy", "visible", "anchor", "outside"):
            setattr(self, name, getattr(self, name)[which])
        return gone

"""One object that is being followed: its last box, its points."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from tapkit.apps.objects.propagation import move_box

SEEN = 0.5
"""Visibility from which on a point carries its box along."""


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
        """Move `carried` to where the visible points say."""
        seen = self.seen
        self.carried = move_box(self.box, self.anchor[seen], self.xy[seen])

    def add(self, keys: np.ndarray, xy: np.ndarray) -> None:
        """New points, on the frame at hand."""
        self.keys = np.concatenate([self.keys, keys])
        self.xy = np.concatenate([self.xy, xy])
        self.visible = np.concatenate([self.visible, np.ones(len(keys))])
        self.anchor = np.concatenate([self.anchor, xy])
        self.outside = np.concatenate([self.outside, np.zeros(len(keys), np.int64)])

    def keep(self, which: np.ndarray) -> np.ndarray:
        """Keep the points [n] bool; returns the names of the others."""
        gone = self.keys[~which]
        for name in ("keys", "xy", "visible", "anchor", "outside"):
            setattr(self, name, getattr(self, name)[which])
        return gone

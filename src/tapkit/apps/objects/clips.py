"""Points of trackers that take whole clips: tracked clip by clip, later ones from where they were added."""

from __future__ import annotations

import numpy as np

from tapkit.apps.objects.association import Changes, Points
from tapkit.engine.tracker import Tracker
from tapkit.types import Queries


class PointsOfClips:
    """Where points are in each frame of a clip; they are carried on to the next clip, whose first frame is this one's
    last.

    New points of a frame are tracked through the rest of the clip in a run of their own.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._images = np.zeros((0, 1, 1, 3), np.uint8)
        self._parts: list[tuple[np.ndarray, int, np.ndarray, np.ndarray]] = []
        """(keys [n], first frame, xy [n,T,2], visible [n,T])."""
        self._gone: set[int] = set()
        self._last = Points.none()

    def begin(self, images: np.ndarray) -> None:
        """Take the next clip [T,H,W,3] uint8; its first frame is the last one of the clip before, if there was one."""
        self._images, self._parts = images, []
        if len(self._last.keys):
            self._track(0, self._last.keys, self._last.xy.astype(np.float32))

    def at(self, t: int) -> Points:
        """The points that are alive on frame `t` of the clip."""
        parts = [Points.none()]
        for keys, first, xy, visible in self._parts:
            if first <= t:
                parts.append(Points(keys, xy[:, t - first].astype(np.float64), visible[:, t - first]))
        keys, xy, visible = (np.concatenate([part[i] for part in parts]) for i in range(3))
        alive = np.array([key not in self._gone for key in keys.tolist()], bool)
        return Points(keys[alive], xy[alive], visible[alive])

    def change(self, t: int, changes: Changes) -> None:
        """Add and remove points on frame `t` of the clip."""
        self._gone |= set(changes.remove.tolist())
        last = t == len(self._images) - 1
        if len(changes.keys) and not last:
            self._track(t, changes.keys, changes.xy)
        if last:
            now = self.at(t)
            ones = np.ones(len(changes.keys))
            both = (
                np.concatenate([now.keys, changes.keys]),
                np.concatenate([now.xy, changes.xy]),
                np.concatenate([now.visible, ones]),
            )
            size = np.array(self._images.shape[2:0:-1])
            inside = np.isfinite(both[1]).all(1) & (both[1] >= 0).all(1) & (both[1] <= size).all(1)
            self._last = Points(*(part[inside] for part in both))
            self._gone.clear()

    def _track(self, t: int, keys: np.ndarray, xy: np.ndarray) -> None:
        tracks = self._tracker.track(self._images[t:], Queries.at(0, xy, keys.tolist()), "forward")
        self._parts.append((keys, t, tracks.xy, tracks.visible))

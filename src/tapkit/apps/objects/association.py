"""PointMOT: per-frame detections become objects with identities, by points tracked inside every object.

Sources: NetTrack (arXiv 2403.11186, CVPR 2024), Sec. 3; the simpler rules of its successor LBM (NeurIPS 2025),
App. A.2; passes and life of tracks as in ByteTrack (arXiv 2110.06864). No Kalman filter:
the points say where objects are.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np

from tapkit.apps.objects.assignment import assign
from tapkit.apps.objects.detections import Detections, iou
from tapkit.apps.objects.options import ObjectOptions
from tapkit.apps.objects.places import grid_places, random_places
from tapkit.apps.objects.similarity import similarity
from tapkit.apps.objects.table import Rows
from tapkit.apps.objects.track import Track


class Points(NamedTuple):
    """Where points are on one frame."""

    keys: np.ndarray
    """[P] int64, as `Changes.keys` named them."""
    xy: np.ndarray
    """[P,2] pixels, corner origin."""
    visible: np.ndarray
    """[P] P(visible)."""

    @classmethod
    def none(cls) -> Points:
        """No points."""
        return cls(np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros(0))


class Changes(NamedTuple):
    """What is to be tracked from this frame on."""

    keys: np.ndarray
    """[A] int64, new, counted up from 0 without gaps."""
    xy: np.ndarray
    """[A,2] float32, on this frame."""
    remove: np.ndarray
    """[R] int64, no longer needed."""


class PointMOT:
    """Follows objects frame by frame. It knows no tracker: positions of the points are handed in.

        mot = PointMOT(info.size)
        changes = mot.step(0, detections, Points.none())
        # have changes.xy tracked; then, on the next frame:
        changes = mot.step(1, detections, Points(keys, xy, visible))

    Args:
        size: (height, width) of the frames.
        options: the rule and its settings.
        free: objects live on their points alone: a track without detections is kept as long as its points are seen,
            and its boxes are results. For boxes that are given on one frame only.
    """

    def __init__(self, size: tuple[int, int], options: ObjectOptions | None = None, *, free: bool = False) -> None:
        self.size, self.options, self.free = size, options or ObjectOptions(), free
        self.rows = Rows()
        self.tracks: list[Track] = []
        self.left_out = 0
        """Detections that lay wholly outside the frame."""
        self._random = np.random.default_rng(self.options.seed)
        self._numbers = self._keys = 0
        self._gone: list[np.ndarray] = []
        """Points to be removed on the frame at hand."""
        self._begun = False

    def step(self, frame: int, found: Detections, points: Points, refill: bool = True) -> Changes:
        """Take the detections of the next frame, and where the points are on it.

        Args:
            frame: counted from 0, later than that of the call before.
            found: detections, perhaps none.
            points: of all that `Changes` asked for and did not remove; others are ignored.
            refill: whether points that left their object are replaced on this frame already.

        Returns what is to be tracked from this frame on.
        """
        found = self._usable(found)
        self._take(points)
        table = similarity(self.tracks, found, self.options)
        matched = self._associate(table, found)
        self._gone = [np.zeros(0, np.int64)]
        for track, row in matched:
            self._match(track, frame, found, row)
        for track in [each for each in self.tracks if each.last != frame]:
            self._miss(track, frame)
        self._merge()
        added = [self._fill(track, frame, found, row) for track, row in matched if refill and track in self.tracks]
        used = {row for _, row in matched}
        for row in range(len(found)):
            if row not in used and found.score[row] >= max(self.options.start, self.options.high):
                added.append(self._fill(self._begin(frame, found, row), frame, found, row))
        self._begun |= len(found) > 0
        xy = np.concatenate([np.zeros((0, 2)), *added])
        keys = np.arange(self._keys - len(xy), self._keys)
        return Changes(keys, xy.astype(np.float32), np.concatenate(self._gone))

    def finish(self) -> None:
        """There are no more frames."""
        if self.free:
            for track in self.tracks:
                self.rows.confirm(track.number)

    # -- one frame --------------------------------------------------------------------------------

    def _usable(self, found: Detections) -> Detections:
        inside = found.within(self.size)
        self.left_out += int((~inside).sum())
        return found[inside & (found.score >= self.options.low)]

    def _take(self, points: Points) -> None:
        """Move the points of all tracks to the frame at hand. One that has no position is invisible where it was."""
        order = np.argsort(points.keys)
        sorted_keys = points.keys[order]
        for track in self.tracks:
            if len(track.keys):
                place = np.searchsorted(sorted_keys, track.keys)
                place = np.minimum(place, max(len(sorted_keys) - 1, 0))
                known = sorted_keys[place] == track.keys if len(sorted_keys) else np.zeros(len(track.keys), bool)
                rows = order[place[known]]
                xy, visible = points.xy[rows], points.visible[rows]
                finite = np.isfinite(xy).all(1) & np.isfinite(visible)
                track.visible = np.zeros(len(track.keys))
                where = np.flatnonzero(known)[finite]
                track.xy = track.xy.copy()
                track.xy[where], track.visible[where] = xy[finite], visible[finite]
            track.carry()

    def _associate(self, table: np.ndarray, found: Detections) -> list[tuple[Track, int]]:
        """Three passes: confirmed and lost tracks with sure detections, tracks left over with unsure ones, new tracks
        with what is left of the sure ones."""
        first, second, third = self.options.of_rule.minimum
        sure = found.score >= self.options.high
        confirmed = np.array([track.confirmed for track in self.tracks], bool)
        lost = np.array([track.lost for track in self.tracks], bool)
        matched: list[tuple[int, int]] = []
        for tracks, detections, minimum in (
            (confirmed, sure, first),
            (confirmed & ~lost, ~sure, second),
            (~confirmed, sure, third),
        ):
            rows = np.array([t for t in np.flatnonzero(tracks) if t not in {m[0] for m in matched}], np.int64)
            columns = np.array([d for d in np.flatnonzero(detections) if d not in {m[1] for m in matched}], np.int64)
            pairs = assign(table[np.ix_(rows, columns)], minimum) if len(rows) and len(columns) else []
            matched += [(int(rows[r]), int(columns[c])) for r, c in pairs]
        return [(self.tracks[t], d) for t, d in matched]

    def _match(self, track: Track, frame: int, found: Detections, row: int) -> None:
        """The track is where the detection is. Points that have been outside for too long go."""
        track.box = track.carried = found.xyxy[row].copy()
        track.score, track.area = float(found.score[row]), float(found.area[row])
        track.labels[str(found.label[row])] += 1
        track.last, track.lost, track.matches = frame, False, track.matches + 1
        track.confirmed |= track.matches >= self.options.confirm
        track.anchor = track.xy.copy()
        inside = found[[row]].contains(track.xy)[:, 0] >= 0.5
        if track.seen.sum() < 0.5 * len(track.xy):
            # The object is detected and most points are hidden: they lie on another part than the one that is seen.
            inside &= track.seen
        track.outside = np.where(inside, 0, track.outside + 1)
        self.rows.add(frame, track)
        if track.confirmed:
            self.rows.confirm(track.number)
        if not self.options.of_rule.grid:
            self._gone.append(track.keep(track.outside <= self.options.timeout))

    def _miss(self, track: Track, frame: int) -> None:
        """The track has no detection on this frame; it lives on its points."""
        track.lost = True
        away = frame - track.last > self.options.max_lost
        if track.supported:
            self.rows.add(frame, track, interpolated=True)
        if self.free and track.supported:
            track.renewed = frame  # here: when it was seen last
        if self.free:
            away = frame - max(track.renewed, track.last) > self.options.max_lost
        if not track.confirmed or away:
            self._drop(track)

    def _drop(self, track: Track) -> None:
        if self.free:
            self.rows.confirm(track.number)
        self.rows.forget(track.number)
        self.tracks = [each for each in self.tracks if each is not track]
        self._gone.append(track.keys)

    def _merge(self) -> None:
        """Of a tracked and a lost box that are one object, the one with the shorter life goes."""
        least = self.options.of_rule.merge
        tracked = [track for track in self.tracks if not track.lost]
        lost = [track for track in self.tracks if track.lost]
        if least is None or not tracked or not lost:
            return
        overlap = iou(np.stack([t.box for t in tracked]), np.stack([t.box for t in lost]))
        gone: list[Track] = []
        for i, j in zip(*np.nonzero(overlap > least), strict=True):
            one, other = tracked[int(i)], lost[int(j)]
            shorter = one if one.last - one.first < other.last - other.first else other
            gone += [shorter] if shorter not in gone else []
        for track in gone:
            self._drop(track)

    def _begin(self, frame: int, found: Detections, row: int) -> Track:
        """A new track, which counts at once on the first frame with detections."""
        self._numbers += 1
        box = found.xyxy[row].copy()
        track = Track(
            self._numbers, box, float(found.score[row]), float(found.area[row]), frame, frame,
            Counter([str(found.label[row])]), carried=box, renewed=frame,
        )  # fmt: skip
        track.confirmed = not self._begun or self.options.confirm == 1
        self.tracks.append(track)
        self.rows.add(frame, track)
        if track.confirmed:
            self.rows.confirm(track.number)
        return track

    def _fill(self, track: Track, frame: int, found: Detections, row: int) -> np.ndarray:
        """Points for what the track lacks; returns their places [A,2]."""
        rule, count = self.options.of_rule, self.options.count
        if rule.grid:
            if len(track.keys) and frame - track.renewed < rule.renew:
                return np.zeros((0, 2))
            track.renewed = frame
            self._gone.append(track.keep(np.zeros(len(track.keys), bool)))
            places = grid_places(found.xyxy[row], count, self.size)
        else:
            lacking = count - len(track.keys)
            places = np.zeros((0, 2))
            if lacking > 0:
                places = random_places(found, row, lacking, self.size, self._random)
        keys = np.arange(self._keys, self._keys + len(places))
        self._keys += len(places)
        track.add(keys, places)
        return places

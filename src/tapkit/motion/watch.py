"""Doubts frame by frame, while results come in: what `doubts` finds in whole tracks, known `DELAY` frames later."""

from __future__ import annotations

from collections import deque

import numpy as np

from tapkit.motion import doubt
from tapkit.motion.jumps import AROUND, LEAST, TIMES
from tapkit.types import FrameResult, Provenance, Tracks, VideoInfo

UNSURE, JUMPED = 1, 2
"""Codes of a point on a frame; 0: nothing is in doubt."""
SHOWN = 12
"""Frames for which a point counts as jumped."""
DELAY = max(AROUND, (doubt.SHORTEST - 1) * (doubt.BREAK + 1))
"""Frames that must follow before all is known of a frame."""


def codes(tracks: Tracks) -> np.ndarray:
    """Codes of all points on all frames, [N,T] uint8."""
    found = doubt.doubts(tracks)
    marks = np.zeros((len(tracks), tracks.frames), np.uint8)
    for unsure in found.unsure:
        marks[unsure.point, unsure.first : unsure.last + 1] = UNSURE
    for jump in found.jumps:
        marks[jump.point, jump.frame : jump.frame + SHOWN] = JUMPED
    return marks


class Watch:
    """Takes the results of `count` points, every frame once and in order, and gives them back with their codes.

    Holds the results of some 20 frames, whatever the length of the video.
    """

    def __init__(self, count: int, info: VideoInfo, source: Provenance) -> None:
        self._source, self._count = source, count
        self._square = np.array([float(info.pixel_aspect), 1.0])
        self._diagonal = float(np.hypot(info.width * float(info.pixel_aspect), info.height))
        self._results: deque[FrameResult] = deque()
        self._doubtful: deque[np.ndarray] = deque()
        self._steps: deque[np.ndarray] = deque()
        """[N] lengths of the steps to the frames that wait, and of the `AROUND` before them; NaN where unknown."""
        self._judged = 0
        self._last = np.full((count, 2), np.nan)
        self._shown = np.zeros(count, np.int64)
        self._run = np.zeros(count, np.int64)
        self._gap = np.full(count, doubt.BREAK + 1)

    def take(self, result: FrameResult) -> list[tuple[FrameResult, np.ndarray]]:
        """The next result; returns those of which all is known now, each with codes of its rows."""
        rows = result.rows
        seen = self._source.visible_at(result.visible, result.confidence)
        xy = np.full((self._count, 2), np.nan)
        xy[rows[seen]] = result.xy[seen] * self._square
        moved = xy - self._last
        self._steps.append(np.hypot(moved[:, 0], moved[:, 1]))
        self._last = xy
        doubtful = np.zeros(self._count, bool)
        doubtful[rows] = (result.visible > 0.5) & (result.confidence < doubt.SURE)
        self._doubtful.append(doubtful)
        self._results.append(result)
        return [self._judge()] if len(self._results) > DELAY else []

    def finish(self) -> list[tuple[FrameResult, np.ndarray]]:
        """No more results come: what is left."""
        return [self._judge() for _ in range(len(self._results))]

    def _judge(self) -> tuple[FrameResult, np.ndarray]:
        """The oldest that waits."""
        unsure = self._unsure()
        self._shown = np.where(self._jumped(), SHOWN, self._shown - 1)
        marks = np.where(self._shown > 0, JUMPED, np.where(unsure, UNSURE, 0)).astype(np.uint8)
        result = self._results.popleft()
        self._doubtful.popleft()
        if self._judged < AROUND:
            self._judged += 1
        else:
            self._steps.popleft()
        return result, marks[result.rows]

    def _jumped(self) -> np.ndarray:
        now = self._steps[self._judged]
        jumped: np.ndarray = np.nan_to_num(now) > LEAST * self._diagonal
        for row in np.flatnonzero(jumped).tolist():
            near = [float(step[row]) for step in list(self._steps)[: self._judged + AROUND + 1]]
            del near[self._judged]
            known = [length for length in near if np.isfinite(length)]
            jumped[row] = not known or now[row] > TIMES * float(np.median(known))
        return jumped

    def _unsure(self) -> np.ndarray:
        """Whether the oldest frame that waits lies in a stretch of doubt, [N]."""
        now = self._doubtful[0]
        self._gap = np.where(now, 0, self._gap + 1)
        alive = self._gap <= doubt.BREAK
        self._run = np.where(alive, self._run + now, 0)
        total, gap, within = self._run.copy(), self._gap.copy(), now.copy()
        for later in list(self._doubtful)[1:]:
            gap = np.where(later, 0, gap + 1)
            alive = alive & (gap <= doubt.BREAK)
            total += later & alive
            within |= later & alive
        return np.asarray(within & (total >= doubt.SHORTEST))

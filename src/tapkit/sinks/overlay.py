"""The overlay as a sink: each frame is drawn as soon as what is known of it is final."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tapkit.motion.watch import Watch
from tapkit.types import FrameResult, Provenance, Queries, VideoInfo
from tapkit.types.skeleton import Skeleton
from tapkit.video.base import Frame
from tapkit.video.writer import VideoWriter
from tapkit.viz.draw import Drawer, Style


class Overlay:
    """Writes a video with the tracks drawn over it. Interrupted, the video is shorter but valid.

    Args:
        path: where to; see `VideoWriter` for what its ending means.
        info: size and rate of the video.
        latency: frames after which a result is final (of the tracker's card). Pictures wait so long for theirs.
        pictures: the video at its own size, read beside the run, for runs whose frames are smaller (whole clips);
            None: the frames of the run are drawn on.
        queries: the points asked for, if known; colours then come from the query positions.
        source: where the results come from; its rule and threshold decide what is visible.
        style: how it looks.
        sound: whether the sound of the video's file goes along, if it has any.
        skeleton: pairs of ids of `queries`, between which lines are drawn.
    """

    def __init__(
        self,
        path: str | Path,
        info: VideoInfo,
        *,
        latency: int = 0,
        pictures: Iterator[Frame] | None = None,
        queries: Queries | None = None,
        source: Provenance | None = None,
        style: Style | None = None,
        sound: bool = False,
        skeleton: Skeleton = (),
    ) -> None:
        file = Path(info.path) if sound and info.path and Path(info.path).is_file() else None
        self._writer = VideoWriter(path, info, audio_from=file)
        self._writer.__enter__()
        self._drawer = Drawer(info, style, queries=queries, source=source, skeleton=skeleton)
        self._latency = latency
        self._pictures = pictures
        self._waiting: deque[Frame] = deque()
        self._known: dict[int, list[FrameResult]] = {}
        # Over a whole clip pictures are read when they are drawn, so that they can wait until it is known what is in
        # doubt; on a live picture there is no time for it.
        self._watch: Watch | None = None
        if pictures is not None and queries is not None and self._drawer.style.marks:
            self._watch = Watch(len(queries), info, source or Provenance())

    def frame(self, frame: Frame) -> None:
        """See `Sink`."""
        if self._pictures is not None:
            return
        self._waiting.append(frame)
        # One more than the latency: a point may still be added on the frame that was stepped last.
        while self._waiting and self._waiting[0].index + self._latency + 1 < frame.index:
            self._draw(self._waiting.popleft())

    def result(self, result: FrameResult) -> None:
        """See `Sink`."""
        if not result.final:
            return
        if self._pictures is None:
            self._known.setdefault(result.frame, []).append(result)
            return
        if self._watch is None:
            self._onto_picture(result, None)
            return
        for known, doubt in self._watch.take(result):
            self._onto_picture(known, doubt)

    def _onto_picture(self, result: FrameResult, doubt: np.ndarray | None) -> None:
        """Draw the pictures up to that of the result."""
        assert self._pictures is not None
        for picture in self._pictures:
            own = picture.index == result.frame
            self._known[picture.index] = [result] if own else []
            self._draw(picture, doubt if own else None)
            if picture.index >= result.frame:
                break

    def _draw(self, picture: Frame, doubt: np.ndarray | None = None) -> None:
        known = merged(picture.index, self._known.pop(picture.index, []))
        self._writer.write(self._drawer.draw(picture.image, known, doubt), picture.time)

    def finish(self) -> None:
        """Draw the frames that still wait, and close the video."""
        try:
            for known, doubt in self._watch.finish() if self._watch is not None else ():
                self._onto_picture(known, doubt)
            while self._waiting:
                self._draw(self._waiting.popleft())
        finally:
            self._writer.__exit__(None, None, None)


def merged(frame: int, results: list[FrameResult]) -> FrameResult:
    """All that was said about one frame as one result; of two answers for a point the later one counts.

    >>> one = np.ones(1, np.float32)
    >>> said = [FrameResult(4, np.array([0]), np.array([[x, 2.0]]), one, one) for x in (1.0, 5.0)]
    >>> merged(4, said).xy.tolist()
    [[5.0, 2.0]]
    """
    if len(results) == 1:
        return results[0]
    empty = np.zeros(0, np.float32)
    parts = [FrameResult(frame, np.zeros(0, np.int64), np.zeros((0, 2), np.float32), empty, empty), *results]
    rows = np.concatenate([part.rows for part in parts])
    last = len(rows) - 1 - np.unique(rows[::-1], return_index=True)[1]
    names = results[-1].names if results else None
    xy, visible, confidence = (
        np.concatenate([getattr(part, name) for part in parts])[last] for name in ("xy", "visible", "confidence")
    )
    return FrameResult(frame, rows[last], xy, visible, confidence, names=names)

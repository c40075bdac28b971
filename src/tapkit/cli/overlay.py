"""An overlay that is drawn while tracking runs: each frame as soon as nothing about it can change any more."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tapkit._version import __version__
from tapkit.engine.results import Record
from tapkit.engine.tracker import Tracker
from tapkit.types import FrameResult, Provenance, Queries
from tapkit.video.base import Source
from tapkit.video.writer import VideoWriter
from tapkit.viz.draw import Drawer, Style

OnComplete = Callable[[int, Record], None]


def frame_result(queries: Queries, frame: int, record: Record) -> FrameResult:
    """One frame of the collected results as a session would have said it."""
    rows = np.flatnonzero(record.valid)
    return FrameResult(frame, queries.ids[rows], record.xy[rows], record.visible[rows], record.confidence[rows])


@contextlib.contextmanager
def overlay(
    path: Path, source: Source, tracker: Tracker, queries: Queries, style: Style | None = None
) -> Iterator[OnComplete]:
    """Gives the `on_complete` of `Tracker.track_to` that draws to `path`.

    The frames are decoded a second time, at full size, one behind the other as results are completed. Interrupted,
    the video is shorter but valid.
    """
    provenance = Provenance.of(tracker.card, __version__)
    drawer = Drawer(source.info, style, queries=queries, source=provenance)
    audio = Path(source.info.path) if source.info.path and Path(source.info.path).is_file() else None
    frames = source.frames()
    with VideoWriter(path, source.info, audio_from=audio) as writer:

        def draw(frame: int, record: Record) -> None:
            picture = next(frames)
            writer.write(drawer.draw(picture.image, frame_result(queries, frame, record)), picture.time)

        yield draw

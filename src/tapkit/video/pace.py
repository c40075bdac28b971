"""At which pace a video is read: as it was recorded, or for some time only."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tapkit.video.base import Frame, Source


def as_it_plays(source: Source) -> Iterator[Frame]:
    """Frames of a file at the times they are shown, numbered as they are given; those whose time has passed are left
    out, as a camera would."""
    began: float | None = None
    number = 0
    for frame in source.frames():
        now = time.perf_counter()
        began = now - frame.time if began is None else began
        late = now - began - frame.time
        if late > 0.5 / float(source.info.fps) and number:
            continue
        if late < 0:
            time.sleep(-late)
        yield frame._replace(index=number)
        number += 1


def for_seconds(frames: Iterator[Frame], seconds: float | None) -> Iterator[Frame]:
    """The frames that come within so many seconds of real time, one at least; None: all."""
    began = time.perf_counter()
    for frame in frames:
        yield frame
        if seconds is not None and time.perf_counter() - began > seconds:
            return

"""A part of a video, or every n-th frame of it, as a video of its own."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from tapkit.coords import Size
from tapkit.errors import MissingExtra, UsageError, VideoError, VideoWarning
from tapkit.types import VideoInfo
from tapkit.video.base import DeepFrame, Depth, Frame, Source, check_index, frame_range


class Span(Source):
    """Frames start, start + step, ... of a source, before `end`, counted from 0 again.

    `info.start_frame` is the number that the footage gives to the first of them, and times are those of the footage,
    so that exports and sound fall where they belong. With a step above 1 the frames are still numbered one by one
    from there (frame k of the part is frame start + k * step of the footage), fps is that of the kept frames, and
    `info.frame_step` says so.
    """

    def __init__(self, source: Source, start: int = 0, end: int | None = None, step: int = 1) -> None:
        """Take a part of `source`, which is closed with it. A live source is passed over up to `start`.

        Raises UsageError for a part with no frame in it.
        """
        self._source, self._start, self._step = source, start, step
        self.live, self.rate_known = source.live, source.rate_known
        whole = source.info
        if step < 1:
            raise UsageError(f"step must be 1 or more, got {step}: reading backwards is up to the tracker's direction")
        if start < 0:
            raise UsageError(f"start must be a frame from 0 on, got {start}")
        if whole.frames is not None and start >= whole.frames:
            raise UsageError(f"start is frame {start}, but the video's frames are 0..{whole.frames - 1}")
        if end is not None and end <= start:
            raise UsageError(f"there is no frame from {start} up to, but not including, {end}")
        if whole.frames is not None:
            end = whole.frames if end is None else min(end, whole.frames)
        self._end = end
        frames = None if end is None or whole.frames is None else len(range(start, end, step))
        self.info = replace(
            whole,
            fps=whole.fps / step,
            frames=frames,
            times=_times(whole, start, end, step) if frames is not None else None,
            start_frame=whole.start_frame + start * whole.frame_step,
            frame_step=whole.frame_step * step,
        )
        self._passed = 0  # frames of a live source that have gone by

    def frames(
        self, start: int = 0, stop: int | None = None, step: int = 1, size: Size | None = None
    ) -> Iterator[Frame]:
        """See `Source.frames`."""
        if self.info.frames is None:
            return self._live(start, stop, step, size)
        return self._known(frame_range(self.info.frames, start, stop, step), size)

    def read(self, index: int, size: Size | None = None) -> Frame:
        """See `Source.read`: as cheap as it is for the whole source."""
        if self.info.frames is None:
            return super().read(index, size)
        check_index(self.info.frames, index)
        return self._own(self._source.read(self._start + index * self._step, size))

    def peek(self) -> Frame:
        """See `Source.peek`. A live source is read up to the first frame of the part."""
        if self.info.frames is not None:
            return self.read(0)
        while (frame := self._source.peek()).index < self._start:
            next(iter(self._source.frames(stop=frame.index + 1)))
        return self._own(frame)

    @property
    def depth(self) -> Depth | None:
        """See `Source.depth`."""
        return self._source.depth

    def deep_frames(self, start: int = 0, stop: int | None = None) -> Iterator[DeepFrame]:
        """See `Source.deep_frames`."""
        if self.info.frames is None or self.depth is None:
            yield from super().deep_frames(start, stop)
            return
        wanted = frame_range(self.info.frames, start, stop)
        if not wanted:
            return
        for frame in self._source.deep_frames(
            self._start + wanted[0] * self._step, self._start + wanted[-1] * self._step + 1
        ):
            if (frame.index - self._start) % self._step == 0:
                yield frame._replace(index=(frame.index - self._start) // self._step)

    def identity(self) -> dict[str, Any]:
        """See `Source.identity`."""
        return {"start": self._start, "end": self._end, "step": self._step, "of": self._source.identity()}

    def close(self) -> None:
        """Close the whole source; a second call does nothing."""
        self._source.close()

    def _known(self, wanted: range, size: Size | None) -> Iterator[Frame]:
        if not wanted:
            return
        first, last = (self._start + self._step * index for index in (wanted[0], wanted[-1]))
        stride = self._step * wanted.step
        stop = last + (1 if stride > 0 else -1)
        for frame in self._source.frames(first, stop if stop >= 0 else None, stride, size):
            yield self._own(frame)

    def _live(self, start: int, stop: int | None, step: int, size: Size | None) -> Iterator[Frame]:
        if step < 1:
            yield from self._source.frames(start, stop, step, size)  # it says why that is not possible
        stops = [end for end in (self._end, stop and self._start + stop * self._step) if end is not None]
        begin = self._start + start * self._step if start else max(self._start, self._passed)
        for frame in self._source.frames(begin, min(stops, default=None), 1, size):
            self._passed = frame.index + 1
            if (frame.index - self._start - start * self._step) % (self._step * step) == 0:
                yield self._own(frame)

    def _own(self, frame: Frame) -> Frame:
        """A frame of the whole source, numbered as it is here."""
        return frame._replace(index=(frame.index - self._start) // self._step)


def part_of(source: Source, start: int | None = None, end: int | None = None, step: int = 1) -> Source:
    """The source itself if all of it is asked for, else that part of it."""
    if not start and end is None and step == 1:
        return source
    return Span(source, start or 0, end, step)


def footage_of(info: VideoInfo, **options: Any) -> Source:
    """The video that `info` describes, opened again from its path: if it describes a part, that part.

    The part is found by its first frame's number, its times and its rate. Raises UsageError if the file does not
    hold such frames (any more), VideoError if it cannot be opened.
    """
    from tapkit.video.open import open_video

    if info.path is None:
        raise UsageError("the tracks do not know which video they are of")
    source = open_video(info.path, **options)
    whole = source.info
    if whole.frames is None or info.frames is None or whole.frames == info.frames:
        return source
    step = max(round(float(whole.fps / info.fps)), 1)
    start = (info.start_frame - whole.start_frame) // whole.frame_step
    if info.times is not None and len(info.times):
        known = np.array([whole.time_of(index) for index in range(whole.frames)])
        start = int(np.argmin(np.abs(known - info.times[0])))
    if not 0 <= start < whole.frames or len(range(start, whole.frames, step)) < info.frames:
        source.close()
        raise UsageError(
            f"{info.path} has {whole.frames} frames now, which cannot be those of the tracks ({info.frames} frames)"
        )
    return Span(source, start, start + (info.frames - 1) * step + 1, step)


def file_names(info: VideoInfo) -> list[str] | None:
    """The names of the files of the frames, without folders; None unless the video is a sequence of images."""
    from tapkit.video.folder import find_images

    if info.path is None or not info.frames:
        return None
    try:
        files = find_images(info.path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VideoWarning)  # they were given when the video was tracked
            with footage_of(info) as source:
                part = source.identity()
    except (VideoError, UsageError, MissingExtra, OSError):
        return None
    start, step = part.get("start", 0), part.get("step", 1)
    chosen = files[start : start + (info.frames - 1) * step + 1 : step]
    return [file.name for file in chosen] if len(chosen) == info.frames else None


def _times(whole: VideoInfo, start: int, end: int | None, step: int) -> np.ndarray | None:
    """The times of the kept frames in the footage; None if they are evenly spaced from 0."""
    if whole.times is not None:
        return whole.times[start:end:step]
    return np.array([whole.time_of(index) for index in range(start, end or 0, step)]) if start else None

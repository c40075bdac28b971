"""Decoding from any frame of an indexed file onwards."""

from __future__ import annotations

from collections.abc import Iterator

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from tapkit.video.container import open_stream
from tapkit.video.index import FrameIndex, decode_on


class Reader:
    """One open file with one decoder."""

    def __init__(self, path: str, stream: int | None, index: FrameIndex) -> None:
        self._path, self._stream, self._index = path, stream, index
        self._open: tuple[InputContainer, VideoStream] | None = None
        self.linear = True
        """Whether decoding began at the start of the file: pictures right after a seek may be incomplete by nature."""

    def pictures(self, first: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """(frame index, picture as stored) in order, beginning at or before frame `first`; ends an earlier call's.

        Some formats and streams land behind where a seek was to go; it is then tried from further and further back.
        """
        back = 0
        while True:
            key = self._index.key_before(first, back)
            pictures = self._from(key)
            head = next(pictures, None)
            if key == 0 or (head is not None and head[0] <= first):
                break
            back = 2 * back + 1
        if head is not None:
            yield head
            yield from pictures

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._open is not None:
            self._open[0].close()
            self._open = None

    def _from(self, key: int) -> Iterator[tuple[int, av.VideoFrame]]:
        self.linear = from_start = key == 0 or not self._seek(key)
        if from_start:
            self._reopen()
        assert self._open is not None  # one of the two opened it
        container, video = self._open
        last = -1
        number = 0 if from_start else None  # of the next picture, where timestamps do not tell
        for frame in decode_on(container, video, from_key=not from_start):
            if not self._index.counted:
                index = None if frame.pts is None else self._index.find(frame.pts)
            else:
                if number is None and frame.pts == int(self._index.pts[key]):
                    number = key  # what comes before it after a seek belongs to the group before
                index = number
                number = None if number is None else number + 1
            # A timestamp that is not in the index belongs to a picture that is not to be shown (edit lists).
            if index is not None and last < index < len(self._index):
                last = index
                yield index, frame

    def _seek(self, key: int) -> bool:
        if self._open is None:
            self._reopen()
        assert self._open is not None  # just opened
        container, video = self._open
        try:
            container.seek(int(self._index.pts[key]), stream=video, backward=True)
        except av.FFmpegError:
            return False
        return True

    def _reopen(self) -> None:
        self.close()
        container, video = open_stream(self._path, self._stream)
        # Frame threads make the order of failures depend on chance; a damaged file is decoded with slice threads.
        video.thread_type = "SLICE" if self._index.damage else "AUTO"
        self._open = container, video

"""Video files: decoded lazily, forwards, backwards and by index."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from tapkit.coords import Size
from tapkit.errors import VideoError, VideoWarning
from tapkit.types import VideoInfo
from tapkit.video.base import DeepFrame, Depth, Frame, Source, check_index, frame_range, three_channels
from tapkit.video.cache import FrameCache, FrameStack
from tapkit.video.clock import NO_RATE
from tapkit.video.deep import own_values
from tapkit.video.index import GUESSED, index_file
from tapkit.video.layout import to_rgb
from tapkit.video.reader import Reader
from tapkit.video.resize import resize_array, resize_picture
from tapkit.video.value_range import Levels, find_levels, stated_levels

JUMP = 16
"""Seeking pays if it saves decoding at least so many frames (it empties the decoder's pipeline)."""
RUN = 32
"""Frames that reading backwards decodes at a time where groups of pictures are shorter."""


class FileSource(Source):
    """A video file. Its frames are all that can be decoded, in the order in which they are shown.

    Memory: `cache_bytes` at most for frames kept, beside the decoder. Reading backwards decodes one group of
    pictures at a time and keeps its resized frames, on disk (`spill_bytes` at most) once they exceed `cache_bytes`;
    still longer groups are decoded several times, part by part.
    Any number of iterators may be alive at once; each decodes on its own.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        fps: Fraction | None = None,
        pixel_aspect: Fraction | None = None,
        start_frame: int = 0,
        stream: int | None = None,
        value_range: float | tuple[float, float] | None = None,
        cache_bytes: int = 256 << 20,
        spill_bytes: int = 4 << 30,
    ) -> None:
        """Open `path`; `fps` overrides the file's own timing (frame t is then shown at t / fps).

        `stream`: None is the one that the file marks as default. `value_range`: (black, white) in the values of the
        file; None: as the file says, for grey and RGB of more than 8 bits as in `tapkit.video.value_range`.

        Raises VideoError if nothing in it can be decoded; a damaged file gives one VideoWarning.
        """
        self._path, self._stream = str(path), stream
        self._index, self._stored = index_file(self._path, stream)
        turned = self._stored.orientation.transpose
        aspect = 1 / self._stored.pixel_aspect if turned else self._stored.pixel_aspect
        width, height = self._stored.width, self._stored.height
        self.info = VideoInfo(
            width=height if turned else width,
            height=width if turned else height,
            fps=fps or self._index.fps,
            frames=len(self._index),
            times=None if fps or not self._index.timed else self._index.times,
            pixel_aspect=pixel_aspect or aspect,
            start_frame=start_frame,
            path=self._path,
        )
        self._cache_bytes, self._spill_bytes = cache_bytes, spill_bytes
        self._cache = FrameCache(cache_bytes)
        self._cursor: _Cursor | None = None
        self._last_read = -1
        self._warned = False
        if self._index.damage:
            self._warn(self._index.damage)
        self._levels = self._find_levels(value_range) if self._stored.deep or value_range is not None else None
        for note in [*self._index.notes, self._levels and self._levels.note]:
            if note and not (fps and NO_RATE in note):
                warnings.warn(note, VideoWarning, stacklevel=4)

    def frames(
        self, start: int = 0, stop: int | None = None, step: int = 1, size: Size | None = None
    ) -> Iterator[Frame]:
        """See `Source.frames`. Backwards, the first frame comes after its whole group of pictures was decoded."""
        wanted = frame_range(len(self._index), start, stop, step)
        size = size or self.info.size
        return self._forwards(wanted, size) if step > 0 else self._backwards(wanted, size)

    def read(self, index: int, size: Size | None = None) -> Frame:
        """One frame by its index; cheap for a frame read lately, and for stepping on or back from the one before."""
        check_index(len(self._index), index)
        size = size or self.info.size
        cached = self._cache.get(index, size)
        if cached is None:
            cached = self._read_back(index, size) if index == self._last_read - 1 else self._read_on(index, size)
        self._last_read = index
        return cached

    @property
    def depth(self) -> Depth | None:
        """See `Source.depth`. Values of 9 to 16 bits are uint16, black and white those of their type unless stated."""
        full = self._stored.full
        if full is not None and full <= 255:
            return None
        if self._levels is not None:
            return Depth(
                np.dtype(np.float32 if full is None else np.uint16),
                self._levels.range.black,
                self._levels.range.white,
                False,
            )
        return Depth(np.dtype(np.uint16), 0.0, float(full or 65535), False)

    def deep_frames(self, start: int = 0, stop: int | None = None) -> Iterator[DeepFrame]:
        """See `Source.deep_frames`."""
        if self.depth is None:
            yield from super().deep_frames(start, stop)
            return
        reader = Reader(self._path, self._stream, self._index)
        try:
            for index, picture in self._pictures(reader, frame_range(len(self._index), start, stop)):
                values = self._stored.orientation.apply(three_channels(own_values(picture)))
                yield DeepFrame(index, self.info.time_of(index), np.ascontiguousarray(values))
        finally:
            reader.close()

    def identity(self) -> dict[str, Any]:
        """See `Source.identity`."""
        file = Path(self._path).stat()
        levels = None if self._levels is None else [self._levels.range.black, self._levels.range.white]
        return {"stream": self._stream, "levels": levels, "bytes": file.st_size, "changed": file.st_mtime_ns}

    def close(self) -> None:
        """Release the file; a second call does nothing."""
        self._cache.clear()
        self._drop_cursor()

    # -- ways of reading --------------------------------------------------------------------------

    def _forwards(self, wanted: Iterable[int], size: Size) -> Iterator[Frame]:
        """Frames at `wanted` (ascending) indices, which are asked for one by one."""
        reader = Reader(self._path, self._stream, self._index)
        reformatter = VideoReformatter()
        stored = (size[1], size[0]) if self._stored.orientation.transpose else size
        try:
            for index, picture in self._pictures(reader, wanted):
                if (picture.width, picture.height) != (self._stored.width, self._stored.height):
                    self._resized(index, picture)
                if self._levels is None:
                    image = resize_picture(picture, stored, reformatter)
                else:
                    image = resize_array(to_rgb(self._levels.to_uint8(own_values(picture))), stored)
                yield Frame(index, self.info.time_of(index), self._stored.orientation.apply(image))
        finally:
            reader.close()

    def _find_levels(self, value_range: float | tuple[float, float] | None) -> Levels:
        """Black and white of the clip, as stated or from its values."""
        reader = Reader(self._path, self._stream, self._index)
        values = _OwnValues(lambda wanted: self._pictures(reader, wanted))
        try:
            if value_range is not None:
                return stated_levels(value_range, values.read(0), self._path)
            return find_levels(values.read, len(self._index), values.read(0), self._stored.full, self._path)
        finally:
            reader.close()

    def _resized(self, index: int, picture: av.VideoFrame) -> None:
        """A frame of another size: a warning if it only has another resolution, an error if it has another shape."""
        was, now = (self._stored.width, self._stored.height), (picture.width, picture.height)
        what = f"frame {index} of {self._path} is {now[0]}x{now[1]}, but the video began with {was[0]}x{was[1]}"
        if abs(was[0] * now[1] - was[1] * now[0]) > max(*was, *now):
            raise VideoError(f"{what}: a part with one picture size can be read with start= and end= (--start, --end)")
        self._warn(f"{what}: it is scaled to that size, as is every further one")

    def _backwards(self, wanted: range, size: Size) -> Iterator[Frame]:
        frame_bytes = size[0] * size[1] * 3
        at_most = max((self._cache_bytes + self._spill_bytes) // frame_bytes, 1)
        for part in self._parts(wanted, at_most):
            with FrameStack(self._cache_bytes) as stack:
                for frame in self._forwards(reversed(part), size):
                    stack.push(frame)
                yield from stack.pop_all()

    def _parts(self, wanted: range, at_most: int) -> Iterator[range]:
        """Descending indices cut where decoding can start, into parts of RUN to `at_most` frames."""
        while wanted:
            count = min(RUN, at_most, len(wanted))
            key = self._index.key_before(wanted[count - 1])
            while count < min(at_most, len(wanted)) and wanted[count] >= key:
                count += 1
            yield wanted[:count]
            wanted = wanted[count:]

    def _pictures(self, reader: Reader, wanted: Iterable[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Pictures at `wanted` (ascending) indices; one that cannot be decoded is replaced by the one before."""
        decoded: Iterator[tuple[int, av.VideoFrame]] | None = None
        at, before, picture = -1, None, None
        for index in wanted:
            if decoded is None or self._index.key_before(index) > at + JUMP:
                decoded, at, before, picture = reader.pictures(index), -1, None, None
            while at < index and (step := next(decoded, None)) is not None:
                before, (at, picture) = picture, step
            shown = picture if at <= index else before or picture
            if shown is None:
                raise VideoError(f"frame {index} of {self._path} cannot be decoded, nor any near it")
            if at != index:
                self._damaged(index, "it cannot be decoded and shows the frame before, as does every further one")
            elif shown.is_corrupt and reader.linear:
                self._damaged(index, GUESSED)
            yield index, shown

    def _read_on(self, index: int, size: Size) -> Frame:
        cursor = self._cursor
        if cursor is None or cursor.size != size or index < cursor.at:
            self._drop_cursor()
            cursor = self._cursor = _Cursor(self._forwards, size)
        frame = cursor.read(index)
        self._cache.put(frame, size)
        return frame

    def _read_back(self, index: int, size: Size) -> Frame:
        """A step back: the frames on the way there are kept, since the next steps will ask for them."""
        room = max(self._cache_bytes // 2 // (size[0] * size[1] * 3), 1)
        start = max(self._index.key_before(index), index - room + 1)
        frame = None
        for frame in self._forwards(range(start, index + 1), size):
            self._cache.put(frame, size)
        assert frame is not None  # the range is not empty
        return frame

    def _drop_cursor(self) -> None:
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None

    def _damaged(self, index: int, what: str) -> None:
        """Warn of damage found while reading; from now on decoding always starts at the beginning of the file, since
        what a picture after the damage looks like depends on where it started."""
        self._index = replace(self._index, keys=self._index.keys[:1])
        self._warn(f"{self._path} is damaged at {self.info.time_of(index):.2f} s (frame {index}): {what}")

    def _warn(self, message: str) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(message, VideoWarning, stacklevel=2)


class _OwnValues:
    """Frame after frame (ascending) in the file's own values."""

    def __init__(self, pictures: Callable[[Iterable[int]], Iterator[tuple[int, av.VideoFrame]]]) -> None:
        self._asked: deque[int] = deque()
        self._pictures = pictures(iter(self._asked.popleft, None))
        self._last: tuple[int, np.ndarray] | None = None

    def read(self, index: int) -> np.ndarray:
        """The values [H,W] or [H,W,3] of a frame that does not lie before the last one asked for."""
        if self._last is None or self._last[0] != index:
            self._asked.append(index)
            self._last = index, own_values(next(self._pictures)[1])
        return self._last[1]


class _Cursor:
    """A forward iterator that is told the next index each time."""

    def __init__(self, forwards: Callable[[Iterable[int], Size], Iterator[Frame]], size: Size) -> None:
        self.size = size
        self.at = -1
        self._asked: deque[int] = deque()
        self._frames = forwards(iter(self._asked.popleft, None), size)

    def read(self, index: int) -> Frame:
        """The frame at `index`, which must not lie before `at`."""
        self.at = index
        self._asked.append(index)
        return next(self._frames)

    def close(self) -> None:
        """Close the file that the iterator reads."""
        self._frames.close()  # type: ignore[attr-defined]

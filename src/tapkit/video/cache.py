"""Places for decoded frames that never outgrow a given number of bytes of memory."""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np

from tapkit.coords import Size
from tapkit.errors import StorageError
from tapkit.video.base import Frame

Key = tuple[int, Size | None]


class FrameCache:
    """The frames used last, up to `capacity` bytes; the one unused for longest goes first."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.bytes = 0
        self._frames: OrderedDict[Key, Frame] = OrderedDict()

    def get(self, index: int, size: Size | None) -> Frame | None:
        """The frame, its image copied (the caller may change it), or None."""
        frame = self._frames.get((index, size))
        if frame is None:
            return None
        self._frames.move_to_end((index, size))
        return frame._replace(image=frame.image.copy())

    def put(self, frame: Frame, size: Size | None) -> None:
        """Keep a copy of `frame`, which was read at `size`; frames larger than the whole cache are not kept."""
        key = (frame.index, size)
        if key in self._frames or frame.image.nbytes > self.capacity:
            return
        self._frames[key] = frame._replace(image=frame.image.copy())
        self.bytes += frame.image.nbytes
        while self.bytes > self.capacity:
            _, oldest = self._frames.popitem(last=False)
            self.bytes -= oldest.image.nbytes

    def clear(self) -> None:
        """Forget all frames."""
        self._frames.clear()
        self.bytes = 0


class FrameStack:
    """Frames of one size, put in one by one and taken out in reverse; what exceeds `memory` bytes is on disk.

    The file is temporary, has no name where the system allows that, and vanishes with the stack.
    """

    def __init__(self, memory: int, folder: str | Path | None = None) -> None:
        self._room = memory
        self._folder = folder
        self._held: list[Frame] = []
        self._spilled: list[tuple[int, float, tuple[int, ...]]] = []
        self._file: IO[bytes] | None = None

    def push(self, frame: Frame) -> None:
        """Put a frame on top. Raises StorageError when the disk is full."""
        if self._file is None and self._room >= frame.image.nbytes:
            self._room -= frame.image.nbytes
            self._held.append(frame)
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="tapkit-frames-", dir=self._folder)  # noqa: SIM115
            self._file.seek(0, 2)
            self._file.write(np.ascontiguousarray(frame.image).data)
        except OSError as error:
            folder = self._folder or tempfile.gettempdir()
            raise StorageError(
                f"frames read backwards cannot be kept in {folder} ({error.strerror}): free some space there, "
                "or set TMPDIR to a folder that has it"
            ) from error
        self._spilled.append((frame.index, frame.time, frame.image.shape))

    def pop_all(self) -> Iterator[Frame]:
        """Take the frames out, the last one first."""
        while self._spilled:
            index, time, shape = self._spilled.pop()
            image = np.empty(shape, np.uint8)
            assert self._file is not None  # something was spilled
            self._file.seek(len(self._spilled) * image.nbytes)
            self._file.readinto(image.data)  # type: ignore[attr-defined]
            yield Frame(index, time, image)
        while self._held:
            yield self._held.pop()

    def close(self) -> None:
        """Forget all frames and delete the file."""
        self._held.clear()
        self._spilled.clear()
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

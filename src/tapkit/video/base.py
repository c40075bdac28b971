"""What a video is to the rest of tapkit: frames on demand, one at a time, at the size asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np

from tapkit.types import VideoInfo

Size = tuple[int, int]
"""(height, width)."""


class Frame(NamedTuple):
    """One decoded frame."""

    index: int
    """Counted from 0 in presentation order."""
    time: float
    """Seconds at which it is shown."""
    image: np.ndarray
    """[H,W,3] uint8, RGB, read-only or the caller's to change: nobody else keeps it."""


class Source(ABC):
    """A video. Nothing here ever holds all of its full-resolution frames."""

    info: VideoInfo
    live: bool = False
    """Whether frames arrive only once, in order (cameras, streams, iterators)."""

    @abstractmethod
    def frames(self, start: int = 0, stop: int | None = None, step: int = 1, size: Size | None = None) -> Iterator[Frame]:
        """Frames start, start + step, ... before stop, resized to `size` (height, width) while decoding.

        A negative step reads backwards (start is then the first one delivered; stop=None ends with frame 0).
        Live sources only read forwards from where they are.
        """

    def read(self, index: int, size: Size | None = None) -> Frame:
        """One frame by its index."""
        return next(iter(self.frames(index, index + 1, size=size)))

    def close(self) -> None:
        """Release files and devices; a second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

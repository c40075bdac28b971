"""What a video is to the rest of tapkit: frames on demand, one at a time, at the size asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

from tapkit.coords import Size
from tapkit.errors import UsageError
from tapkit.types import VideoInfo


class Frame(NamedTuple):
    """One decoded frame."""

    index: int  # type: ignore[assignment]  # mypy sees tuple.index
    """Counted from 0 in presentation order."""
    time: float
    """Seconds at which it is shown."""
    image: np.ndarray
    """[H,W,3] uint8, RGB, read-only or the caller's to change: nobody else keeps it."""


class Depth(NamedTuple):
    """What the values of a video of more than 8 bits mean."""

    dtype: np.dtype
    black: float
    white: float
    linear: bool
    """Whether values are linear light; else they go through the curve of sRGB, or of television."""


class DeepFrame(NamedTuple):
    """One frame in the video's own values."""

    index: int  # type: ignore[assignment]  # mypy sees tuple.index
    time: float
    values: np.ndarray
    """[H,W,3], of the video's own type; grey three times, alpha left out. The caller's to change."""


class Source(ABC):
    """A video. Nothing here ever holds all of its full-resolution frames."""

    info: VideoInfo
    live: bool = False
    """Whether frames arrive only once, in order (cameras, streams, iterators)."""
    rate_known: bool = True
    """Whether `info.fps` was stated by the video or the caller; False: it is the 25 that is taken for want of it."""

    @abstractmethod
    def frames(
        self, start: int = 0, stop: int | None = None, step: int = 1, size: Size | None = None
    ) -> Iterator[Frame]:
        """Frames start, start + step, ... before stop, resized to `size` (height, width) while decoding.

        A negative step reads backwards (start is then the first one delivered; stop=None ends with frame 0).
        Live sources only read forwards from where they are.
        """

    def read(self, index: int, size: Size | None = None) -> Frame:
        """One frame by its index. Raises UsageError if the video has no such frame."""
        if self.info.frames is not None:
            check_index(self.info.frames, index)
        return next(iter(self.frames(index, index + 1, size=size)))

    def peek(self) -> Frame:
        """The first frame that `frames()` will give, which gives it all the same."""
        return self.read(0)

    @property
    def depth(self) -> Depth | None:
        """What values of more than 8 bits mean; None where there are none, or where they are not kept."""
        return None

    def deep_frames(self, start: int = 0, stop: int | None = None) -> Iterator[DeepFrame]:
        """Frames `start` to `stop` (excluded), forwards, in their own values (8-bit RGB unless there is a `depth`)."""
        return (DeepFrame(*frame) for frame in self.frames(start, stop))

    def identity(self) -> dict[str, Any]:
        """What was chosen of the video beside what `info` says (stream, value range, part), in JSON values.

        Two sources of one file with the same `info` and identity give the same pictures.
        """
        return {}

    def close(self) -> None:  # noqa: B027  (nothing to release is the usual case)
        """Release files and devices; a second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_index(frames: int, index: int) -> None:
    """Raise UsageError unless a video of `frames` frames has a frame `index`."""
    if not 0 <= index < frames:
        raise UsageError(f"frame {index} is not in the video: its frames are 0..{frames - 1}")


def three_channels(values: np.ndarray) -> np.ndarray:
    """A picture [H,W] or [H,W,C] as [H,W,3] of the same type, a new array: grey three times, alpha left out."""
    if values.ndim == 3 and values.shape[2] >= 3:
        return values[..., :3].copy()
    grey = values if values.ndim == 2 else values[..., 0]
    return np.repeat(grey[..., None], 3, axis=2)


def frame_range(frames: int, start: int = 0, stop: int | None = None, step: int = 1) -> range:
    """The frame indices that `Source.frames(start, stop, step)` delivers from a video of `frames` frames.

    A stop beyond either end is cut to that end. Raises UsageError for a start outside the video or a step of 0.

    >>> list(frame_range(5, 3, step=-2)), list(frame_range(5, 2, 100))
    ([3, 1], [2, 3, 4])
    """
    if step == 0:
        raise UsageError("step must not be 0: use a positive step to read forwards, a negative one to read backwards")
    if not (step > 0 and start == frames):
        check_index(frames, start)
    if step > 0:
        return range(start, frames if stop is None else min(stop, frames), step)
    return range(start, -1 if stop is None else max(stop, -1), step)

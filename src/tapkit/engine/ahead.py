"""Frames made ready in threads of their own while those before are tracked: read (decoded, resized) by one, brought to
the device and encoded by another, while the first reads on.

A processor is used better by two threads that work on different things than by one that asks for help in each of its
hundreds of short operations: those helpers wait for each other at the end of every operation, for as long as the
slowest of them is kept from running by somebody else's program.

Small frames are encoded several at once. Python lets one thread at a time begin an operation; the more of them the one
that encodes begins, the longer the other waits for its turn.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tapkit.video.base import Frame


class Ready(NamedTuple):
    """A frame that a session need only track."""

    frame: Frame
    tensor: Tensor
    """uint8 [3,h,w] of the session's size, on the model's device."""
    prepared: Any
    """What the session's driver made of it; None: nothing."""
    mark: Any = None
    """Where, in the stream that sent it, it has arrived (`nn.transfer.arrived`); None: it is there."""


class _Some(NamedTuple):
    """Frames that follow each other."""

    frames: Sequence[Any]
    """Read, or made ready."""
    end: Exception | None = None
    """What comes after them in place of a frame: `StopIteration`, or an error. None: more frames may."""


class Ahead:
    """An iterator over frames that are made ready `at_once` at a time: while some are taken the next ones are encoded,
    and those after them read. `close` it, or let it end.

    Errors come out where the frame would have come out.
    """

    def __init__(
        self, frames: Iterable[Frame], prepare: Callable[[Sequence[Frame]], list[Ready]], at_once: int = 1
    ) -> None:
        self._frames, self._prepare, self._at_once = iter(frames), prepare, at_once
        self._end = ExitStack()
        """Undoes everything, the last first."""
        threads = self._end.enter_context(_halved())
        self._end.callback(self._close_frames)
        self._reader, self._thread = self._start(threads), self._start(threads)
        self._read = self._reader.submit(self._next)
        self._coming: Future[_Some] | None = self._thread.submit(self._some)
        self._ready: deque[Ready] = deque()
        self._last: Exception = StopIteration()
        """What comes where no frame is ready, and none is coming."""

    def _start(self, threads: int) -> ThreadPoolExecutor:
        """One thread more; ending waits for what it is at."""
        thread = ThreadPoolExecutor(1, "tapkit ahead", torch.set_num_threads, (threads,))
        self._end.callback(thread.shutdown)
        return thread

    def __iter__(self) -> Iterator[Ready]:
        return self

    def __next__(self) -> Ready:
        if not self._ready and self._coming is not None:
            coming, self._coming = self._coming, None
            self._take(coming)
        if self._ready:
            return self._ready.popleft()
        last, self._last = self._last, StopIteration()
        self.close()
        raise last

    def _take(self, coming: Future[_Some]) -> None:
        """Wait for the next frames, and have those after them made ready."""
        try:
            frames, end = coming.result()
        except BaseException:
            self.close()
            raise
        self._ready.extend(frames)
        if end is None:
            self._coming = self._thread.submit(self._some)
        else:
            self._last = end

    @torch.inference_mode()
    def _some(self) -> _Some:
        read = self._read.result()
        if read.end is None:
            self._read = self._reader.submit(self._next)
        if not read.frames:
            return read
        try:
            return read._replace(frames=self._prepare(read.frames))
        except Exception as error:
            return _Some((), error) if len(read.frames) == 1 else self._one_by_one(read)

    def _one_by_one(self, read: _Some) -> _Some:
        """Frames one of which cannot be made ready: those before it come out first."""
        ready: list[Ready] = []
        for frame in read.frames:
            try:
                ready += self._prepare([frame])
            except Exception as error:
                return _Some(ready, error)
        return _Some(ready, read.end)

    @torch.inference_mode()
    def _next(self) -> _Some:
        frames: list[Frame] = []
        try:
            while len(frames) < self._at_once:
                frames.append(next(self._frames))
        except Exception as end:
            return _Some(frames, end)
        return _Some(frames)

    def close(self) -> None:
        """End the threads, then the frames. A second call does nothing."""
        self._coming = None
        self._ready.clear()
        self._end.close()

    def _close_frames(self) -> None:
        close = getattr(self._frames, "close", None)
        if close is not None:
            close()


_LOCK = threading.Lock()
_before: list[int] = []
"""Threads of torch as they were, once for each iterator at work."""


@contextmanager
def _halved() -> Iterator[int]:
    """Torch's threads are shared between the two that work: each has half of them. Gives how many that is."""
    with _LOCK:
        whole = _before[0] if _before else torch.get_num_threads()
        _before.append(whole)
        half = max(whole // 2, 1)
        torch.set_num_threads(half)
    try:
        yield half
    finally:
        with _LOCK:
            _before.pop()
            torch.set_num_threads(half if _before else whole)

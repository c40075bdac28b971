"""Frames made ready in threads of their own while the one before is tracked: read (decoded, resized) by one, brought to
the device and encoded by another, while the first reads on.

A processor is used better by two threads that work on different things than by one that asks for help in each of its
hundreds of short operations: those helpers wait for each other at the end of every operation, for as long as the
slowest of them is kept from running by somebody else's program.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
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


class Ahead:
    """An iterator over frames that are made ready one ahead of the one taken last, and read two ahead. `close` it, or
    let it end.

    Errors come out where the frame would have come out.
    """

    def __init__(self, frames: Iterable[Frame], prepare: Callable[[Frame], Ready]) -> None:
        self._frames, self._prepare = iter(frames), prepare
        self._end = ExitStack()
        """Undoes everything, the last first."""
        threads = self._end.enter_context(_halved())
        self._end.callback(self._close_frames)
        self._reader, self._thread = self._start(threads), self._start(threads)
        self._read = self._reader.submit(self._next)
        self._coming: Future[Ready | None] | None = self._thread.submit(self._one)

    def _start(self, threads: int) -> ThreadPoolExecutor:
        """One thread more; ending waits for what it is at."""
        thread = ThreadPoolExecutor(1, "tapkit ahead", torch.set_num_threads, (threads,))
        self._end.callback(thread.shutdown)
        return thread

    def __iter__(self) -> Iterator[Ready]:
        return self

    def __next__(self) -> Ready:
        if self._coming is None:
            raise StopIteration
        coming, self._coming = self._coming, None
        try:
            ready = coming.result()
        except BaseException:
            self.close()
            raise
        if ready is None:
            self.close()
            raise StopIteration
        self._coming = self._thread.submit(self._one)
        return ready

    @torch.inference_mode()
    def _one(self) -> Ready | None:
        frame = self._read.result()
        if frame is None:
            return None
        self._read = self._reader.submit(self._next)
        return self._prepare(frame)

    @torch.inference_mode()
    def _next(self) -> Frame | None:
        return next(self._frames, None)

    def close(self) -> None:
        """End the threads, then the frames. A second call does nothing."""
        self._coming = None
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

"""Ctrl-C and SIGTERM at a moment of our choosing: between two frames, where nothing is half done."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class SafePoint:
    """Within this context the first SIGINT or SIGTERM only sets `interrupted`; a second one strikes at once.

    Signal handlers can only be set in the main thread; elsewhere this does nothing.
    """

    def __init__(self) -> None:
        self.interrupted: int | None = None
        self._old: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        if kind is None and self.interrupted is not None:
            self.leave()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted is not None:
            self.leave()
        self.interrupted = number

    def forget(self) -> None:
        """The signal has been answered in another way."""
        self.interrupted = None

    def leave(self) -> None:
        """Do now what the signal asked for."""
        if self.interrupted == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)
        raise KeyboardInterrupt

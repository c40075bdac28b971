"""SingleUser: refuses a second thread while one is at work."""

from __future__ import annotations

import threading
from types import TracebackType

from tapkit.errors import UsageError


class SingleUser:
    """`with user:` around what must not run twice at once; whoever comes meanwhile is refused, and has changed nothing.

    A session may be handed from one thread to another between two calls; only calls that overlap are refused.
    """

    def __init__(self, what: str, advice: str) -> None:
        self._what, self._advice = what, advice
        self._lock = threading.Lock()
        self._owner = ""

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            here, there = threading.current_thread().name, self._owner
            raise UsageError(
                f"{self._what} is being used by thread {there or '(another)'!r}, so thread {here!r} cannot use it at "
                f"the same time; nothing was changed: {self._advice}"
            )
        self._owner = threading.current_thread().name

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._owner = ""
        self._lock.release()

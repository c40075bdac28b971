"""What happens to clips, told to everybody who looks at them: queues between the threads of the server and sockets."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import Any

MOST = 256
"""Messages that a listener may be behind; one that is further behind is let go, and comes back to look at all anew."""


class Listener:
    """One open page: messages for it, in order; None means that it has to come anew."""

    def __init__(self, loop: asyncio.AbstractEventLoop, user: int | None) -> None:
        self._loop = loop
        self.user = user
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self._behind = False

    def put(self, message: Any) -> None:
        """From any thread."""
        with suppress(RuntimeError):  # the server is closing
            self._loop.call_soon_threadsafe(self._put, message)

    def _put(self, message: Any) -> None:
        if self._behind:
            return
        if self._queue.qsize() >= MOST:
            self._behind = True
            message = None
        self._queue.put_nowait(message)

    async def get(self) -> Any:
        """The next message."""
        return await self._queue.get()


Audience = Callable[[set[int | None]], set[int | None]]
"""Of these users, those who may hear a message."""


class Hub:
    """Listeners by clip."""

    def __init__(self) -> None:
        self._listeners: defaultdict[int, set[Listener]] = defaultdict(set)
        self._lock = threading.Lock()

    def join(self, clip: int, user: int | None) -> Listener:
        """Listen to what happens to a clip, as `user`; to be called from the event loop."""
        listener = Listener(asyncio.get_running_loop(), user)
        with self._lock:
            self._listeners[clip].add(listener)
        return listener

    def leave(self, clip: int, listener: Listener) -> None:
        """Listen no more."""
        with self._lock:
            self._listeners[clip].discard(listener)

    def tell(self, clip: int, message: dict[str, Any], audience: Audience) -> None:
        """Tell those who look at that clip and are of the audience; from any thread, without waiting for anybody."""
        listeners = self._of(clip)
        hearing = audience({each.user for each in listeners})
        self._tell([each for each in listeners if each.user in hearing], message)

    def tell_user(self, clip: int, user: int | None, message: dict[str, Any]) -> None:
        """Tell the windows of one user: positions of others are not for those who work blind to each other."""
        self._tell([each for each in self._of(clip) if each.user == user], message)

    def listeners(self) -> list[Listener]:
        """All of them."""
        with self._lock:
            return [each for listeners in self._listeners.values() for each in listeners]

    def _of(self, clip: int) -> list[Listener]:
        with self._lock:
            return list(self._listeners.get(clip, ()))

    def _tell(self, listeners: list[Listener], message: dict[str, Any]) -> None:
        for listener in listeners:
            listener.put(message)

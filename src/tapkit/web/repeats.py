"""Changes that are sent twice and made once.

An answer can get lost on its way. Whoever waited for it cannot know whether the change was made, and sends it again,
under the name (the header Idempotency-Key) that it had the first time.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from tapkit.annotate.values import Change

MOST = 256
"""Changes that are remembered; the one asked for longest ago is forgotten first."""


@dataclass
class _Once:
    """One change: whoever asks for it while it is being made waits for it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    change: Change | None = None


class Repeats:
    """The latest changes by their names. They live as long as the server, as its sessions do: after a restart nobody
    is let in under the old name."""

    def __init__(self) -> None:
        self._named: OrderedDict[str, _Once] = OrderedDict()
        self._lock = threading.Lock()

    def once(self, name: str | None, make: Callable[[], Change]) -> Change:
        """What `make` returns, or returned when it was called under that name; None: a change without a name.

        A change that fails is not remembered: nothing of it was done, and it may be tried again.
        """
        if name is None:
            return make()
        with self._lock:
            one = self._named.setdefault(name, _Once())
            self._named.move_to_end(name)
            while len(self._named) > MOST:
                self._named.popitem(last=False)
        with one.lock:
            if one.change is None:
                one.change = make()
            return one.change

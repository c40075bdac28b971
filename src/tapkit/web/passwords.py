"""Passwords by argon2, and log-ins that become slower the more of them fail."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from tapkit.errors import UsageError
from tapkit.web.refusals import TooMany

SHORTEST, LONGEST = 8, 200
"""Characters of a password."""
FREE = 3
"""Failures after which nobody has to wait: fingers slip."""
FIRST, MOST = 1.0, 60.0
"""Seconds to wait after the next failure, doubled with each further one, up to the last."""
KEPT = 10_000
"""Names and addresses whose failures are remembered; the oldest are forgotten first."""

_BUSY = threading.Semaphore(2)
"""argon2 takes 64 MB a piece: no more of them at once."""


def hashed(password: str) -> str:
    """What is stored of a password. Raises `UsageError` for one that is too short or too long."""
    from argon2 import PasswordHasher

    if not SHORTEST <= len(password) <= LONGEST:
        raise UsageError(f"a password has {SHORTEST} to {LONGEST} characters")
    with _BUSY:
        return PasswordHasher().hash(password)


def right(stored: str | None, password: str) -> bool:
    """Whether the password is the one of which `stored` was made. None (no such user) takes as long as a wrong one."""
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError

    with _BUSY:
        try:
            return PasswordHasher().verify(stored or _nobody(), password[:LONGEST]) and stored is not None
        except (VerificationError, InvalidHashError):
            return False


_dummy: list[str] = []


def _nobody() -> str:
    """A hash that belongs to no user."""
    if not _dummy:
        from argon2 import PasswordHasher

        _dummy.append(PasswordHasher().hash("nobody has this password"))
    return _dummy[0]


class Attempts:
    """Failed log-ins by name and by address: after a few, each further one has to wait longer.

    A name is slowed for its owner too; an attacker cannot lock anybody out for more than a minute at a time.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """Key -> (failures, earliest time of the next attempt)."""
        self._lock = threading.Lock()

    def check(self, *keys: str) -> None:
        """Raise `TooMany` if one of them has to wait. An attempt counts as failed until `succeeded`: many at once are
        no way around."""
        with self._lock:
            now = self._clock()
            wait = max((self._failures.get(key, (0, 0.0))[1] - now for key in keys), default=0.0)
            if wait > 0:
                seconds = max(round(wait), 1)
                raise TooMany(f"too many attempts: try again in {seconds} s", seconds)
            for key in keys:
                count = self._failures.pop(key, (0, 0.0))[0] + 1
                pause = 0.0 if count <= FREE else min(FIRST * 2 ** min(count - FREE - 1, 30), MOST)
                self._failures[key] = (count, now + pause)
            while len(self._failures) > KEPT:
                self._failures.popitem(last=False)

    def succeeded(self, *keys: str) -> None:
        """Forget the failures of these."""
        with self._lock:
            for key in keys:
                self._failures.pop(key, None)

"""Who asks: sessions by cookie, the secret in the address, and the token that every write carries."""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field

LASTS = 14 * 24 * 3600.0
"""Seconds after which an unused session ends."""
MOST = 1000
"""Sessions at once; the one unused for longest goes first."""


@dataclass
class Session:
    """One browser that has been let in."""

    id: str
    """What the cookie holds."""
    token: str
    """What the header X-Tapkit-Token of every write must hold."""
    user: int | None
    """Who it is; None: nobody yet (a team's page before the log-in has no session at all)."""
    used: float = field(default_factory=time.monotonic)


class Sessions:
    """The sessions of a server. They live as long as it: after a restart everybody signs in again.

    `secret` is in the address that the server prints; whoever has it is the one person at this machine.
    """

    def __init__(self) -> None:
        self.secret = secrets.token_urlsafe(24)
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()

    def knows(self, secret: str) -> bool:
        """Whether that is the secret of the address."""
        return hmac.compare_digest(secret.encode("utf-8", "replace"), self.secret.encode())

    def begin(self, user: int | None) -> Session:
        """A fresh session."""
        session = Session(secrets.token_urlsafe(32), secrets.token_urlsafe(32), user)
        with self._lock:
            self._sessions[session.id] = session
            while len(self._sessions) > MOST:
                self._sessions.popitem(last=False)
        return session

    def get(self, id: str | None) -> Session | None:
        """The session of a cookie, if it is in force."""
        with self._lock:
            session = self._sessions.get(id or "")
            if session is None:
                return None
            now = time.monotonic()
            if now - session.used > LASTS:
                del self._sessions[session.id]
                return None
            session.used = now
            self._sessions.move_to_end(session.id)
            return session

    def end(self, id: str | None) -> None:
        """End a session, if there is one."""
        with self._lock:
            self._sessions.pop(id or "", None)

    def end_all_of(self, user: int) -> None:
        """End the sessions of a user: the password was changed, or the user may not come in any more."""
        with self._lock:
            for id in [session.id for session in self._sessions.values() if session.user == user]:
                del self._sessions[id]


def carries(session: Session, token: str | None) -> bool:
    """Whether a write carries the token of its session."""
    return hmac.compare_digest((token or "").encode("utf-8", "replace"), session.token.encode())

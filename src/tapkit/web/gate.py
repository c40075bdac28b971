"""Who may do what, decided in one place: sessions, the token of writes, and who a request is from."""

from __future__ import annotations

from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Annotated, Any
from urllib.parse import parse_qs, quote

from fastapi import Depends, Request

from tapkit.annotate import NotAllowed
from tapkit.errors import TapkitError
from tapkit.web.answers import problem
from tapkit.web.guard import SAFE
from tapkit.web.refusals import NotSignedIn
from tapkit.web.sessions import Session, carries
from tapkit.web.studio import Studio

OPEN = frozenset({"/api/session", "/api/login"})
"""Addresses that answer without a session: they say who one is, or let one in."""
TOKEN = "x-tapkit-token"
WINDOW = "x-tapkit-window"
CHANGE = "idempotency-key"
"""What a change is called, so that it is made once (an Internet draft of the IETF: The Idempotency-Key HTTP Header
Field)."""


@dataclass(frozen=True)
class Who:
    """From whom a request is."""

    user: int | None
    """Their account; None in a project without accounts."""
    window: str
    """Which of their windows."""
    change: str | None = None
    """What this change is called, of all changes of this server; None: it has no name."""


class Gate:
    """An ASGI application around another one, which gets only what someone who is known asks for.

    The secret in the address ("/?key=...") becomes a cookie, and disappears from the address. Everything under /api
    needs that cookie; what writes needs the session's token too, which other sites cannot read.
    """

    def __init__(self, app: Any, studio: Studio) -> None:
        self.app, self.studio = app, studio

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """See ASGI."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {key.lower(): value.decode("latin-1") for key, value in scope["headers"]}
        session = self.studio.sessions.get(cookie(headers.get(b"cookie", ""), self.studio.cookie))
        scope.setdefault("state", {})["session"] = session
        if scope["type"] == "http" and scope["path"] == "/" and b"key=" in scope["query_string"]:
            await self._let_in(scope, receive, send)
            return
        refusal = self._refusal(scope, headers, session)
        if refusal is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4401, "reason": str(refusal)})
        else:
            await problem(refusal)(scope, receive, send)

    def _refusal(self, scope: Any, headers: dict[bytes, str], session: Session | None) -> TapkitError | None:
        path = scope["path"]
        if not path.startswith("/api/") or path in OPEN:
            return None
        if session is None:
            if self.studio.team:
                return NotSignedIn("sign in first")
            return NotSignedIn("open the address that tapkit studio printed when it started: it holds the key")
        if session.user is None and self.studio.team and path not in ("/api/users", "/api/logout"):
            return NotSignedIn("make an account first")
        if (
            scope["type"] == "http"
            and scope["method"] not in SAFE
            and not carries(session, headers.get(TOKEN.encode()))
        ):
            return NotAllowed("the request lacks the token of this session: load the page again")
        return None

    async def _let_in(self, scope: Any, receive: Any, send: Any) -> None:
        """The address with its key: a session for whoever has it, in a project without accounts."""
        given = parse_qs(scope["query_string"].decode("latin-1")).get("key", [""])[-1]
        studio = self.studio
        headers = [(b"location", b"/"), (b"cache-control", b"no-store"), (b"content-length", b"0")]
        if studio.sessions.knows(given) and (not studio.team or studio.setting_up):
            session = studio.sessions.begin(None)
            headers.append((b"set-cookie", baked(studio.cookie, session.id).encode()))
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def baked(name: str, value: str, lasts: int | None = None) -> str:
    """A Set-Cookie header: not to be read by scripts, and not sent along with what other sites ask for."""
    age = "" if lasts is None else f"; Max-Age={lasts}"
    return f"{name}={quote(value)}; Path=/; HttpOnly; SameSite=Strict{age}"


def cookie(header: str, name: str) -> str | None:
    """The value of one cookie of a Cookie header."""
    try:
        found = SimpleCookie(header).get(name)
    except CookieError:
        return None
    return found.value if found else None


def the_studio(request: Request) -> Studio:
    """The studio of an application."""
    studio: Studio = request.app.state.studio
    return studio


def the_session(request: Request) -> Session:
    """The session of a request that `Gate` has let in."""
    session: Session | None = request.scope["state"]["session"]
    if session is None:
        raise NotSignedIn("sign in first")
    return session


def asker(request: Request) -> Who:
    """From whom a request is; the window is what the page calls itself, else the session."""
    session = the_session(request)
    window = request.headers.get(WINDOW, "")[:64]
    change = request.headers.get(CHANGE)
    # Names are a session's own, and tell the address: one that is used again elsewhere means something else.
    name = None if change is None else f"{session.id} {request.url.path} {change}"
    return Who(session.user, f"{session.id[:16]}{window}", name)


OfStudio = Annotated[Studio, Depends(the_studio)]
From = Annotated[Who, Depends(asker)]

"""The door of the server: what every request must fulfil before anything looks at it.

- Its Host must be a name of this server. A page of a foreign name that is made to point at this machine (DNS rebinding)
  sends its own name.
- Its Origin, where a browser sends one, must be this server; for a WebSocket there must be one or none at all. There is
  no CORS: other sites can neither read nor write.
- Its body is bounded, whatever Content-Length says.

Answers carry headers that keep the page to itself (no frames of others, no address outside).
"""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from tapkit.web.refusals import TooLarge

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; "
    "font-src 'self'; connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Names:
    """The names under which this server may be asked for.

    Args:
        host: what it listens on.
        more: names that are given to it elsewhere (a reverse proxy's).

    On loopback only the names of loopback count. On other interfaces also every address in numbers (which no foreign
    name can pretend to be) and the name of this machine.
    """

    def __init__(self, host: str = "127.0.0.1", more: Collection[str] = ()) -> None:
        self.numbers = not is_loopback(host)
        self.known = {"localhost", "127.0.0.1", "::1", host.lower(), *(name.lower() for name in more)}
        if self.numbers:
            self.known |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    def __contains__(self, name: str) -> bool:
        """Whether `name` (a Host header, with its port or without) is one of them."""
        try:
            plain = (urlsplit(f"//{name}").hostname or "").lower()
        except ValueError:
            return False
        return plain in self.known or (self.numbers and _is_address(plain))


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that interface."""
    if host.lower() == "localhost":
        return True
    return _is_address(host) and ipaddress.ip_address(host).is_loopback


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Guard:
    """An ASGI application around another one.

    Args:
        app: gets what is let in.
        names: of this server.
        limits: largest bodies in bytes, by the beginning of the path; the longest that fits holds.
    """

    def __init__(self, app: Any, names: Names, limits: Mapping[str, int]) -> None:
        self.app, self.names = app, names
        self.limits = sorted(limits.items(), key=lambda entry: -len(entry[0]))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """See ASGI."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if scope["type"] == "websocket":
            if refusal is None:
                await self.app(scope, receive, send)
            else:
                await receive()
                await send({"type": "websocket.close", "code": 4403, "reason": refusal})
            return
        limit = next(size for start, size in self.limits if scope["path"].startswith(start))
        body = _Body(receive, limit, _values(scope, b"content-length"))
        answer = _Answer(send, body)
        if refusal is not None:
            await answer.refuse(403, refusal)
            return
        try:
            await self.app(scope, body, answer)
        except TooLarge as error:
            await answer.refuse(413, str(error))

    def _refusal(self, scope: Any) -> str | None:
        """Why a request is not let in; None: it is."""
        hosts = _values(scope, b"host")
        if len(hosts) != 1 or hosts[0] not in self.names:
            return "this server does not go by that name: use the address that it printed when it started"
        origins = _values(scope, b"origin")
        if origins and (len(origins) > 1 or not _same(origins[0], hosts[0])):
            return "the request comes from another site, and is refused"
        sites = _values(scope, b"sec-fetch-site")
        foreign = bool(sites) and sites[-1] not in ("same-origin", "none")
        navigation = scope["type"] == "http" and scope["method"] == "GET" and not scope["path"].startswith("/api/")
        if foreign and not navigation:
            return "the request comes from another site, and is refused"
        return None


def _values(scope: Any, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


def _same(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


class _Body:
    """`receive` that raises `TooLarge` beyond `limit` bytes, at once if they are announced."""

    def __init__(self, receive: Any, limit: int, announced: Sequence[str]) -> None:
        self._receive, self._limit, self._taken = receive, limit, 0
        self.too_large = any(not each.isdigit() or int(each) > limit for each in announced)

    async def __call__(self) -> Any:
        """The next message."""
        if not self.too_large:
            message = await self._receive()
            self._taken += len(message.get("body", b""))
            self.too_large = self._taken > self._limit
        if self.too_large:
            raise TooLarge(self.said)
        return message

    @property
    def said(self) -> str:
        """The sentence of the refusal."""
        return f"that is more than the {max(self._limit / 1e6, 0.01):.2g} MB that are taken here"


class _Answer:
    """`send` that adds the headers, and that answers 413 instead of whatever is made of a body cut short."""

    def __init__(self, send: Any, body: _Body) -> None:
        self.send, self.body, self.begun, self.refused = send, body, False, False

    async def __call__(self, message: Any) -> None:
        if self.refused:
            return
        if message["type"] == "http.response.start":
            if self.body.too_large and message["status"] != 413:
                await self.refuse(413, self.body.said)
                return
            self.begun = True
            has = {key.lower() for key, _ in message["headers"]}
            more = [(key.encode(), value.encode()) for key, value in HEADERS.items() if key.encode() not in has]
            message = {**message, "headers": [*message["headers"], *more]}
        await self.send(message)

    async def refuse(self, status: int, said: str) -> None:
        """Answer with a sentence, unless another answer has begun."""
        if self.begun:
            return
        body = json.dumps({"error": said}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if status == 413:
            headers.append((b"connection", b"close"))  # the rest of the body is not read
        await self({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})
        self.refused = True

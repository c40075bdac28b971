"""A browser as far as HTTP goes: what the tests of the server ask it with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.testclient import TestClient

from tapkit.web.studio import Studio

ADDRESS = "http://127.0.0.1:8010"


class Browser(TestClient):
    """A browser at the studio: keeps its cookie, and carries the token of its session."""

    def __init__(self, app: Any, window: str = "", client: str = "testclient") -> None:
        super().__init__(
            app, base_url=ADDRESS, headers={"x-tapkit-window": window} if window else {}, client=(client, 50000)
        )

    def enter(self, studio: Studio) -> Browser:
        """Open the address with its key."""
        self.get(f"/?key={studio.sessions.secret}", follow_redirects=False)
        self.refresh()
        return self

    def refresh(self) -> dict[str, Any]:
        """Ask who one is, and take up the token."""
        session: dict[str, Any] = self.get("/api/session").json()
        self.headers["x-tapkit-token"] = session["token"] or ""
        return session

    def says(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """The JSON answer, which must have that status."""
        answer = self.request(method, path, json=body)
        assert answer.status_code == status, (answer.status_code, answer.text)
        return answer.json()

    def live(self, clip: int = 1, origin: str = ADDRESS) -> Any:
        """The socket of a clip. (The test client itself would ask for "testserver".)"""
        return self.websocket_connect(
            ADDRESS.replace("http", "ws") + f"/api/clips/{clip}/live", headers={"origin": origin}
        )

    def edit(self, *edits: dict[str, Any], base: int | None = None, force: bool = False, status: int = 200) -> Any:
        """Edits of the first clip."""
        body = {"base": base, "force": force, "edits": list(edits)}
        return self.says("POST", "/api/clips/1/edits", body, status)

    def add(self, x: float = 40, y: float = 30, t: int = 0, **more: Any) -> int:
        """A point of the first clip; returns its id."""
        return int(self.edit({"op": "add_point", "t": t, "x": x, "y": y, **more})["points"][0]["id"])


Opener = Callable[..., Studio]
"""Opens the studio of the test's project with other settings."""

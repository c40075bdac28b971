"""Nobody without the key sees anything, and nothing is written without the token: of every address there is."""

from typing import Any

import pytest
from starlette.routing import Route
from starlette.websockets import WebSocketDisconnect
from studio_client import ADDRESS, Browser, Opener

from tapkit.web.app import ROUTERS, make_app
from tapkit.web.gate import OPEN
from tapkit.web.studio import Studio


def addresses() -> list[tuple[str, str]]:
    """(method, path) of all addresses under /api."""
    found = []
    for route in (route for router in ROUTERS for route in router.routes):
        if isinstance(route, Route):
            path = route.path.replace("{what}", "pause")
            for name in ("clip", "t", "job", "user", "assignment", "event"):
                path = path.replace(f"{{{name}}}", "1")
            found += [(method, path) for method in route.methods or () if method != "HEAD"]
    return found


def test_the_addresses_are_found() -> None:
    found = addresses()
    assert {("POST", "/api/clips/1/edits"), ("GET", "/api/clips/1/frame/1"), ("POST", "/api/upload")} <= set(found)
    assert all(path.startswith("/api/") for _, path in found) and len(found) > 30


def test_nothing_is_seen_without_the_key(app: Any) -> None:
    stranger = Browser(app)
    for method, path in addresses():
        if path not in OPEN:
            answer = stranger.request(method, path)
            assert answer.status_code == 401 and "error" in answer.json(), (method, path)
    session = stranger.get("/api/session").json()
    assert session["token"] is None and "trackers" not in session and "project" not in session


def test_nothing_is_written_without_the_token(app: Any, browser: Browser, studio: Studio) -> None:
    other = Browser(app).enter(studio).headers["x-tapkit-token"]
    before = studio.project.clip(1).revision
    for token in ("", "wrong", other):
        browser.headers["x-tapkit-token"] = token
        for method, path in addresses():
            if method != "GET" and path not in OPEN:
                answer = browser.request(method, path, json={})
                assert answer.status_code == 403 and "token" in answer.json()["error"], (method, path)
    assert studio.project.clip(1).revision == before


def test_the_key_becomes_a_cookie_and_leaves_the_address(app: Any, studio: Studio) -> None:
    browser = Browser(app)
    answer = browser.get(f"/?key={studio.sessions.secret}", follow_redirects=False)
    assert answer.status_code == 303 and answer.headers["location"] == "/"
    made = answer.headers["set-cookie"]
    assert made.startswith("tapkit_8010=") and "HttpOnly" in made and "SameSite=Strict" in made
    assert studio.sessions.secret not in made
    assert browser.get("/api/clips").status_code == 200


@pytest.mark.parametrize("key", ["", "wrong", "%00", "a&key=b"])
def test_a_wrong_key_opens_nothing(app: Any, key: str) -> None:
    browser = Browser(app)
    answer = browser.get(f"/?key={key}", follow_redirects=False)
    assert answer.status_code == 303 and "set-cookie" not in answer.headers
    assert browser.get("/api/clips").status_code == 401


def test_another_site_gets_nothing_even_with_the_cookie(browser: Browser) -> None:
    for headers in ({"origin": "http://evil.example"}, {"host": "evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert browser.get("/api/clips/1/frame/0", headers=headers).status_code == 403
        assert browser.post("/api/clips/1/edits", json={"edits": []}, headers=headers).status_code == 403
        assert browser.options("/api/clips", headers=headers).status_code == 403
    assert browser.get("/api/clips", headers={"origin": ADDRESS, "sec-fetch-site": "same-origin"}).status_code == 200


def test_a_socket_needs_the_cookie_and_the_same_site(app: Any, browser: Browser) -> None:
    with browser.live():
        pass
    for client, origin in ((Browser(app), ADDRESS), (browser, "http://evil.example")):
        with pytest.raises(WebSocketDisconnect), client.live(origin=origin):
            pass


def test_signing_out_ends_the_session(browser: Browser) -> None:
    cookie = browser.cookies["tapkit_8010"]
    browser.says("POST", "/api/logout")
    browser.cookies.set("tapkit_8010", cookie, domain="127.0.0.1")
    assert browser.get("/api/clips").status_code == 401


def test_no_file_of_the_machine_is_served(browser: Browser) -> None:
    for path in (
        "/../app.py",
        "/%2e%2e/app.py",
        "/..%2fapp.py",
        "//etc/passwd",
        "/page/../../app.py",
        "/js/%2e%2e/%2e%2e/app.py",
    ):
        answer = browser.get(path)
        assert answer.status_code in (403, 404) and "error" in answer.json(), path


def test_strangers_on_other_interfaces_need_accounts(opener: Opener) -> None:
    from tapkit.errors import UsageError

    with pytest.raises(UsageError, match="--team"):
        opener(host="0.0.0.0")
    assert opener(host="0.0.0.0", team=True).team


def test_a_login_is_of_no_use_without_accounts(app: Any) -> None:
    answer = Browser(app).post("/api/login", json={"name": "ann", "password": "correct horse"})
    assert answer.status_code == 401 and "set-cookie" not in answer.headers


def test_an_app_of_a_team_asks_who_one_is(opener: Opener) -> None:
    studio = opener(team=True)
    browser = Browser(make_app(studio)).enter(studio)
    assert browser.get("/api/session").json()["setup"] is True
    assert browser.get("/api/clips").status_code == 401

"""The door of the server by itself: names, other sites, bodies, cookies, passwords, folders, uploads."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tapkit.annotate import NotAllowed, Unknown
from tapkit.errors import UsageError
from tapkit.web import passwords, uploads
from tapkit.web.gate import baked, cookie
from tapkit.web.guard import Guard, Names, is_loopback
from tapkit.web.passwords import FREE, Attempts
from tapkit.web.places import Places
from tapkit.web.refusals import NoVideo, TooLarge, TooMany
from tapkit.web.sessions import Sessions, carries

HERE = b"127.0.0.1:8010"


async def reads_all(scope: Any, receive: Any, send: Any) -> None:
    """An application that takes a whole body and says how long it was."""
    taken, more = 0, True
    while more:
        message = await receive()
        taken += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(taken).encode()})


def ask(
    *headers: tuple[bytes, bytes],
    method: str = "GET",
    path: str = "/api/clips",
    body: tuple[bytes, ...] = (b"",),
    names: Names | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body that the guard answers with."""
    messages: list[Any] = []
    parts = [{"type": "http.request", "body": part, "more_body": True} for part in body]
    parts[-1]["more_body"] = False

    async def receive() -> Any:
        return parts.pop(0)

    async def send(message: Any) -> None:
        messages.append(message)

    guard = Guard(reads_all, names or Names(), {"/": 100, "/api/upload": 1000})
    scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
    asyncio.run(guard(scope, receive, send))
    assert [message["type"] for message in messages] == ["http.response.start", "http.response.body"]
    return messages[0]["status"], {k.decode(): v.decode() for k, v in messages[0]["headers"]}, messages[1]["body"]


@pytest.mark.parametrize("host", [HERE, b"localhost:8010", b"[::1]:8010", b"LOCALHOST"])
def test_its_own_names_are_let_in(host: bytes) -> None:
    assert ask((b"host", host))[0] == 200


@pytest.mark.parametrize("host", [b"evil.example:8010", b"127.0.0.1.evil.example", b"192.168.0.7:8010", b"", b"a b[:"])
def test_a_foreign_name_that_points_here_is_refused(host: bytes) -> None:
    status, _, body = ask((b"host", host))
    assert status == 403 and "does not go by that name" in json.loads(body)["error"]


def test_no_host_or_two_are_refused() -> None:
    assert ask()[0] == 403
    assert ask((b"host", HERE), (b"host", b"evil.example"))[0] == 403


def test_on_other_interfaces_numbers_and_given_names_count() -> None:
    names = Names("0.0.0.0", ["studio.example"])
    assert ask((b"host", b"192.168.0.7:8010"), names=names)[0] == 200
    assert ask((b"host", b"studio.example"), names=names)[0] == 200
    assert ask((b"host", b"evil.example"), names=names)[0] == 403
    assert is_loopback("127.0.0.1") and is_loopback("::1") and not is_loopback("0.0.0.0")


@pytest.mark.parametrize("origin", [b"http://evil.example", b"null", b"http://127.0.0.1:9999", b"file://", b"http://["])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_origin_is_refused(origin: bytes, method: str) -> None:
    status, headers, body = ask((b"host", HERE), (b"origin", origin), method=method)
    assert status == 403 and "another site" in json.loads(body)["error"]
    assert not any(name.startswith("access-control") for name in headers)


def test_what_a_browser_says_of_the_asking_site_counts() -> None:
    assert ask((b"host", HERE), (b"origin", b"http://" + HERE), (b"sec-fetch-site", b"same-origin"))[0] == 200
    assert ask((b"host", HERE), (b"sec-fetch-site", b"cross-site"))[0] == 403
    assert ask((b"host", HERE), (b"sec-fetch-site", b"cross-site"), path="/")[0] == 200  # a link to the studio
    assert ask((b"host", HERE), (b"sec-fetch-site", b"same-site"), path="/", method="POST")[0] == 403


def test_a_body_is_bounded_by_what_it_says_and_by_what_it_is() -> None:
    host = (b"host", HERE)
    assert ask(host, method="POST", body=(b"x" * 100,))[0] == 200
    status, _, body = ask(host, (b"content-length", b"101"), method="POST")
    assert status == 413 and "MB" in json.loads(body)["error"]
    assert ask(host, (b"content-length", b"3"), method="POST", body=(b"x" * 60, b"x" * 60))[0] == 413
    assert ask(host, method="POST", path="/api/upload", body=(b"x" * 900,))[2] == b"900"
    assert ask(host, method="POST", path="/api/upload", body=(b"x" * 900, b"x" * 200))[0] == 413


def test_every_answer_keeps_the_page_to_itself() -> None:
    for _, headers, _ in (ask((b"host", HERE)), ask((b"host", b"evil.example"))):
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "http" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"


def test_a_socket_from_another_site_is_closed() -> None:
    said: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        said.append(message)

    for origin in (b"http://evil.example", b"null"):
        said.clear()
        scope = {"type": "websocket", "path": "/api/clips/1/live", "headers": [(b"host", HERE), (b"origin", origin)]}
        asyncio.run(Guard(reads_all, Names(), {"/": 100})(scope, receive, send))
        assert said[0]["type"] == "websocket.close"


def test_the_cookie_is_for_this_page_alone() -> None:
    made = baked("tapkit_8010", "abc")
    assert "HttpOnly" in made and "SameSite=Strict" in made and "Path=/" in made and "Domain" not in made
    assert cookie("other=1; tapkit_8010=abc", "tapkit_8010") == "abc"
    assert cookie("tapkit_8010=", "tapkit_8010") == "" and cookie("", "tapkit_8010") is None
    assert cookie("a=b; c=\x00;;;=;", "tapkit_8010") is None


def test_sessions_are_known_by_what_cannot_be_guessed() -> None:
    sessions = Sessions()
    one, other = sessions.begin(1), sessions.begin(2)
    assert len({one.id, other.id, one.token, other.token, sessions.secret}) == 5 and len(one.id) >= 40
    assert sessions.get(one.id) is one and sessions.get("") is None and sessions.get(None) is None
    assert carries(one, one.token) and not carries(one, other.token) and not carries(one, None)
    assert sessions.knows(sessions.secret) and not sessions.knows("") and not sessions.knows("é")
    sessions.end_all_of(1)
    assert sessions.get(one.id) is None and sessions.get(other.id) is other


def test_passwords_are_argon2() -> None:
    made = passwords.hashed("correct horse")
    assert made.startswith("$argon2id$") and "correct" not in made and passwords.hashed("correct horse") != made
    assert passwords.right(made, "correct horse") and not passwords.right(made, "wrong horse")
    assert not passwords.right(None, "nobody has this password") and not passwords.right("no hash", "x")
    with pytest.raises(UsageError, match="8 to 200"):
        passwords.hashed("short")


def test_log_ins_that_fail_are_slowed() -> None:
    now = [0.0]
    attempts = Attempts(lambda: now[0])
    for _ in range(FREE + 1):
        attempts.check("name ann", "address 1")
    with pytest.raises(TooMany, match="try again in 1 s"):
        attempts.check("name ann", "address 2")
    with pytest.raises(TooMany):
        attempts.check("name bob", "address 1")
    attempts.check("name bob", "address 2")
    now[0] = 1.5
    attempts.check("name ann", "address 3")
    now[0] = 2.5
    with pytest.raises(TooMany, match="in 1 s"):
        attempts.check("name ann")
    for _ in range(20):
        now[0] += 1000
        attempts.check("name ann")
    with pytest.raises(TooMany, match="in 60 s"):
        attempts.check("name ann")
    attempts.succeeded("name ann")
    attempts.check("name ann")


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """Folders opened and not, with links from one to the other."""
    (tmp_path / "open" / "inner").mkdir(parents=True)
    (tmp_path / "open-too").mkdir()  # its name begins with that of the opened one
    (tmp_path / "secret").mkdir()
    for name in ("open/a.mp4", "open/inner/b.mp4", "secret/c.mp4", "open-too/d.mp4"):
        (tmp_path / name).write_bytes(b"video")
    (tmp_path / "open" / "link.mp4").symlink_to(tmp_path / "secret" / "c.mp4")
    (tmp_path / "open" / "door").symlink_to(tmp_path / "secret")
    (tmp_path / "open" / "fine.mp4").symlink_to(tmp_path / "open" / "a.mp4")
    (tmp_path / "open" / "loop").symlink_to(tmp_path / "open" / "loop")
    return tmp_path


def test_what_lies_in_the_folders_is_found(house: Path) -> None:
    places = Places([house / "open"])
    assert places.inside(str(house / "open" / "a.mp4")) == house / "open" / "a.mp4"
    assert places.inside("inner/b.mp4") == house / "open" / "inner" / "b.mp4"
    assert places.inside("fine.mp4") == house / "open" / "a.mp4"
    assert [path.name for path in places.found()] == ["a.mp4", "fine.mp4"]
    with pytest.raises(Unknown, match=r"there is no missing\.mp4"):
        places.inside("missing.mp4")


@pytest.mark.parametrize(
    "name",
    [
        "{house}/secret/c.mp4", "{house}/open-too/d.mp4", "link.mp4", "door/c.mp4", "{house}/open/door/c.mp4",
        "../secret/c.mp4", "{house}/open/../secret/c.mp4", "inner/../../secret/c.mp4", "..", "/", "/etc/passwd",
        "/etc/no-such-file", "~/x.mp4", "http://127.0.0.1/x.mp4", "file:///etc/passwd", "camera:0", "concat:a|b", "",
        " ", "a\0b", "{house}", "x" * 5000,
    ],
)  # fmt: skip
def test_what_lies_outside_is_refused(house: Path, name: str) -> None:
    with pytest.raises(NotAllowed):
        Places([house / "open"]).inside(name.format(house=house))


def test_a_link_to_itself_is_no_file(house: Path) -> None:
    with pytest.raises((NotAllowed, Unknown)):
        Places([house / "open"]).inside("loop")


def test_what_is_outside_is_refused_whether_it_exists_or_not(house: Path) -> None:
    said = []
    for name in ("/etc/passwd", "/etc/no-such-file"):
        with pytest.raises(NotAllowed) as refusal:
            Places([house / "open"]).inside(name)
        said.append(str(refusal.value).replace(name, ""))
    assert said[0] == said[1]


VIDEO = b"\0\0\0\x20ftypisom" + b"\0" * 500


def upload(body: list[bytes], name: str, folder: Path, largest: int = 10_000) -> Path:
    async def parts() -> AsyncIterator[bytes]:
        for part in body:
            yield part

    return asyncio.run(uploads.receive(parts(), name, folder, largest))


def test_an_upload_gets_a_name_of_its_own(tmp_path: Path) -> None:
    names = [upload([VIDEO[:7], VIDEO[7:]], "clip.mp4", tmp_path).name for _ in range(3)]
    assert names == ["clip.mp4", "clip-2.mp4", "clip-3.mp4"]
    assert (tmp_path / "clip-3.mp4").read_bytes() == VIDEO and len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    "name", ["../../x.mp4", "/etc/x.mp4", "..\\..\\x.mp4", "C:\\x.mp4", "..", ".bashrc", "a\0b.mp4"]
)
def test_a_name_never_leads_out(tmp_path: Path, name: str) -> None:
    made = upload([VIDEO], name, tmp_path / "in")
    assert made.parent == tmp_path / "in" and not made.name.startswith(".") and os.listdir(tmp_path) == ["in"]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"#EXTM3U\n#EXTINF:1\n/etc/passwd\n", b"ffconcat version 1.0\nfile /etc/passwd\n", b"v=0\r\no=- 0",
        b"<?xml version='1.0'?><MPD/>", b"<svg/>", b"MZ\x90\0", b"#!/bin/sh\n", b"PK\x03\x04", b"G" * 10,
        b"Good morning" * 50,
    ],
)  # fmt: skip
def test_what_is_no_video_is_refused_and_nothing_stays(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(NoVideo):
        upload([body], "clip.mp4", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_too_large_is_refused_and_nothing_stays(tmp_path: Path) -> None:
    with pytest.raises(TooLarge):
        upload([VIDEO, b"x" * 6000, b"x" * 6000], "clip.mp4", tmp_path)
    assert list(tmp_path.iterdir()) == []
